"""Installs keras_stitch, editable, with one of its extras into the Python that runs this; shows what is under way.

    .venv/bin/python .ci/install.py dev
    .venv/bin/python .ci/install.py demo --light

``--light`` is for a new environment that is to run the demo and nothing else: TensorFlow without its GPU part, and
without what only compiling operations for it needs. That is less than half of the disk space, and of the time.
"""

from __future__ import annotations

import argparse
import configparser
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = Path(__file__).with_name("constraints.txt")
# Makes environments for models that cannot be in this one; the demo has no such models.
_NOT_IN_THE_DEMO = ("uv",)
_BUILDS_OPERATIONS = ("libclang",)
_LARGE = 10.0  # MB: what is worth a line
_DOWNLOAD = re.compile(r"\s*(?:Downloading|Using cached) (\S+?)-\S+ \(([\d.]+) MB\)")


def requirements(*extras: str) -> list[str]:
    """What the package and some extras require, as in ``setup.cfg``, with the smaller TensorFlow where there is one."""
    said = configparser.ConfigParser()
    said.read(ROOT / "setup.cfg", encoding="utf-8")
    smaller = sys.platform == "linux" and platform.machine() == "x86_64"
    wanted: dict[str, None] = {}
    waiting = [said["options"]["install_requires"], *(said["options.extras_require"][extra] for extra in extras)]
    while waiting:
        for line in filter(None, waiting.pop(0).split("\n")):
            if own := re.fullmatch(r"keras_stitch\[([\w,]+)\]", line):
                waiting += [said["options.extras_require"][extra] for extra in own[1].split(",")]
            else:
                wanted[re.sub(r"^tensorflow\b(?!-)", "tensorflow-cpu", line) if smaller else line] = None
    return list(wanted)


def light_requirements(extra: str) -> list[str]:
    """What the demo requires of the package and an extra."""
    return [line for line in requirements(extra) if re.match(r"[\w.-]+", line)[0] not in _NOT_IN_THE_DEMO]


def install(arguments: Sequence[str]) -> None:
    """Run ``pip install`` and say what large files it fetches; all that it says, where it fails."""
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar=off"]
    command += ["--constraint", str(CONSTRAINTS)]
    said: list[str] = []
    options = {"cwd": ROOT, "env": {**os.environ, "PYTHONUNBUFFERED": "1"}, "text": True}
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options) as pip:
        for line in pip.stdout or ():
            said.append(line)
            found = _DOWNLOAD.match(line)
            if found and float(found[2]) >= _LARGE:
                print(f"  {found[1]}, {found[2]} MB", flush=True)
            elif line.startswith("Installing collected packages:") and "," in line:
                print(f"  unpacking {line.count(',') + 1} packages", flush=True)
    if pip.returncode:
        sys.exit("".join(said))


def trim() -> None:
    """Take away what only compiling operations for TensorFlow needs: its C++ headers, and libclang."""
    subprocess.run(
        [sys.executable, "-m", "pip", "uninstall", "--quiet", "--yes", *_BUILDS_OPERATIONS],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    shutil.rmtree(Path(sysconfig.get_path("platlib"), "tensorflow", "include"), ignore_errors=True)


def main() -> None:
    """Read the command line and install."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("extra")
    parser.add_argument("--light", action="store_true")
    options = parser.parse_args()
    begin = time.monotonic()
    if options.light:
        # Python compiles what is imported when it is imported, which is a small part of it.
        install(["--no-compile", *light_requirements(options.extra)])
        trim()
        install(["--no-compile", "--no-deps", "--no-build-isolation", "--editable", "."])
    else:
        install(["--editable", f".[{options.extra}]"])
    print(f"  installed in {time.monotonic() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
