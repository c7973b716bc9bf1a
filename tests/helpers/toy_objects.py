"""Files and packages with custom objects."""

from __future__ import annotations

from pathlib import Path

LAYERS = """
import keras


class Times(keras.layers.Layer):
    def call(self, x):
        return x * FACTOR

    def compute_output_shape(self, shape):
        return shape


@keras.saving.register_keras_serializable(package="zoo")
class Plus(Times):
    def call(self, x):
        return x + FACTOR


def twice(x):
    return 2 * x


def _helper(x):
    return x

"""
LISTED = 'OBJECTS = {"Times": Times, "Plus": Plus, "twice": twice}\n'


def write_layers(path: Path, factor: int = 3, listed: str = LISTED) -> Path:
    path.write_text(LAYERS.replace("FACTOR", str(factor)) + listed)
    return path


def write_package(folder: Path, name: str, factor: int = 3, listed: str = "", installed: bool = True) -> str:
    """A package on a temporary place in sys.path, as pip would leave it; returns the name of its module."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text("")
    write_layers(folder / name / "layers.py", factor, listed)
    if installed:
        info = folder / f"{name}-1.2.3.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2.3\n")
        (info / "top_level.txt").write_text(f"{name}\n")
    return f"{name}.layers"
