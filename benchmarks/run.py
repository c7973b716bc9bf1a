"""All of the speed benchmarks, one after another, and the page with what they found.

    make bench                                      all, in two to three hours on two cores
    make bench ARGS="--sections throughput"         some of them
    make bench ARGS="--draw"                        only the page and the pictures, of the figures that are there

Each work is measured in a process of its own. Nothing else should run beside: a figure whose interval is wide says so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import report
import works
from figures import Figure, from_json, read, replaced, to_json
from rich.console import Console

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
SECTIONS = {
    "throughput": ("seed", "deepbind10", "deepbind100", "trednet", "images", "spliceai"),
    "starting": ("seed", "deepbind100", "images", "spliceai"),
    "building": ("seed", "deepbind10", "deepbind100", "trednet", "images", "spliceai"),
    "compiling": ("seed", "deepbind10", "deepbind100", "trednet", "images"),
    "pipelines": ("deepbind10", "spliceai"),
    "scaling": ("deepbind500",),
    "growth": ("submodels", "chain", "inputs", "layers"),
    "long_runs": (
        *("dataloader", "training", "training_on_features"),
        *("precomputing", "predicting", "predicting_with_workers", "joining_pieces"),
    ),
}
# These have tables of their own, in place of ratios in rounds.
_TABLES = ("growth", "long_runs")
_PACKAGES = ("tensorflow", "keras", "kipoi", "numpy", "onnxruntime", "onnx")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def measured(section: str, work: str, place: Path) -> tuple[list[Figure], dict[str, Any]]:
    """What one program finds for one work; for scaling with the profile."""
    folder, figures, profile = place / work, place / "figures.json", place / "profile.json"
    folder.mkdir(exist_ok=True)
    given = [str(folder), str(figures), str(profile)] if section == "scaling" else [work, str(folder), str(figures)]
    subprocess.run([sys.executable, str(HERE / f"{section}.py"), *given], check=True)
    return read(figures), json.loads(profile.read_text(encoding="utf-8")) if section == "scaling" else {}


def measured_once(section: str, work: str, place: Path) -> dict[str, Any]:
    """What a program finds that writes a table of its own."""
    folder, figures = place / work, place / "figures.json"
    folder.mkdir(exist_ok=True)
    subprocess.run([sys.executable, str(HERE / f"{section}.py"), work, str(folder), str(figures)], check=True)
    return dict(json.loads(figures.read_text(encoding="utf-8")))


def main() -> None:
    """Measure what was asked for, keep the rest, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument(
        "--works",
        nargs="+",
        choices=sorted({work for of in SECTIONS.values() for work in of}),
        help="only these of each section",
    )
    parser.add_argument("--draw", action="store_true", help="measure nothing")
    options = parser.parse_args()
    console = Console()
    known: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    if not options.draw and known.get("machine", machine()) != machine():
        console.print("The figures that are there are of another machine, or other versions: they are left out.")
        known = {}
    figures = from_json(known.get("figures", []))
    profile, sizes = known.get("profile", {}), known.get("sizes", {})
    tables: dict[str, dict[str, Any]] = {section: known.get(section, {}) for section in _TABLES}
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # accelerator.py is for GPUs
    if not options.draw:
        with tempfile.TemporaryDirectory() as name:
            for section in options.sections:
                for work in SECTIONS[section]:
                    if options.works and work not in options.works:
                        continue
                    console.print(f"{section}: {work}")
                    if section in _TABLES:
                        tables[section][work] = measured_once(section, work, Path(name))
                        found = []
                    else:
                        found, profiled = measured(section, work, Path(name))
                        profile = profiled or profile
                    figures = replaced(figures, found)
                    if section == "starting":
                        folder = Path(name) / work
                        sizes[found[0].work] = report.file_sizes(folder, works.WORKS[work](folder).files.values())
                    known = {"machine": machine(), "figures": to_json(figures), "profile": profile, "sizes": sizes}
                    known |= tables
                    RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    written = report.write(known, figures)
    print(report.targets(figures))
    console.print(f"written: {', '.join(str(path.relative_to(HERE.parent)) for path in written)}")


if __name__ == "__main__":
    main()
