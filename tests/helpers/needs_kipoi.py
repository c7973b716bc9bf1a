"""Which test files need Kipoi: those that import it, themselves or by a helper. Without it they are left out."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

from keras_stitch.kipoi.optional_kipoi import has_kipoi

HELPERS = Path(__file__).parent
PACKAGES = {"kipoi", "kipoi_utils", "kipoiseq"}
HAS_KIPOI = has_kipoi()


@functools.cache
def needs_kipoi(file: Path) -> bool:
    """Whether what a file imports when it is imported has Kipoi among it."""
    found = set[str]()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    helpers = [folder / f"{name}.py" for name in found for folder in (HELPERS, file.parent)]
    return bool(found & PACKAGES) or any(needs_kipoi(helper) for helper in helpers if helper.is_file())
