"""A Python environment like this one, without some packages: links to what is installed here."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Collection, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KIPOI = ("kipoi", "kipoi_conda", "kipoi_utils", "kipoiseq")


class PythonWithout:
    """Runs programs in an environment in which packages and their metadata are not there.

    Args:
        folder: A new folder for the links.
        packages: The packages that are left out, as they are imported.
        with_keras_stitch: Whether this package is there.
    """

    def __init__(self, folder: Path, packages: Collection[str] = KIPOI, *, with_keras_stitch: bool = True) -> None:
        self.folder = folder
        folder.mkdir()
        left_out = {*packages, *(name.replace("_", "-") for name in packages), "keras_stitch"}
        for item in Path(sysconfig.get_path("purelib")).iterdir():
            own = item.name.partition("-")[0].partition(".")[0]
            if own not in left_out and item.suffix != ".pth" and "editable" not in item.name:
                (folder / item.name).symlink_to(item)
        if with_keras_stitch:
            package = folder / "keras_stitch"
            package.mkdir()
            for item in (ROOT / "keras_stitch").iterdir():
                (package / item.name).symlink_to(item)
            (package / "model_templates").symlink_to(ROOT / "model_templates")

    def run(self, arguments: Sequence[str], cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run Python with some arguments; it must succeed."""
        # -S: only the links are there, and the standard library.
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(
            [sys.executable, "-S", *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done
