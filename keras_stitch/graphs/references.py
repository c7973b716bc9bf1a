"""What users write to point at tensors, such as ``"model1.port[0:3]"``, as a value."""

from __future__ import annotations

import re
from dataclasses import dataclass

from keras_stitch.errors import StitchError
from keras_stitch.graphs.slices import WHOLE, Slice

_REFERENCE = re.compile(r"(?P<node>[^\[\].]+)(\.(?P<port>[^\[\]]+))?(\[(?P<part>[^\[\]]*)\])?", re.DOTALL)


@dataclass(frozen=True)
class Reference:
    """A parsed reference.

    Attributes:
        node: What stands before the first dot: a submodel or a graph input.
        port: What stands behind it, if anything.
        part: The part of it that is meant.
    """

    node: str
    port: str | None = None
    part: Slice = WHOLE

    def __str__(self) -> str:
        return f"{self.whole}{self.part}"

    @property
    def whole(self) -> str:
        """The text of the whole tensor."""
        return f"{self.node}.{self.port}" if self.port else self.node


def node_of(text: str) -> str:
    """The submodel or graph input that a text names, even where the rest cannot be read."""
    return re.split(r"[.\[]", text)[0].strip()


def parse_reference(text: object) -> Reference:
    """Parse what the user wrote.

    Raises:
        StitchError: If it cannot be read.

    Example:
        >>> parse_reference("model1.out[0:3]")
        Reference(node='model1', port='out', part=Slice(ranges=(Range(start=0, stop=3),)))
    """
    match = _REFERENCE.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is not None:
        part = WHOLE if match["part"] is None else Slice.parse(match["part"])
        if part is not None:
            return Reference(match["node"], match["port"], part)
    shown = repr(text)[:200]
    raise StitchError(
        f"Cannot read {shown} as the name of a tensor.",
        expected="'submodel', 'submodel.port' or 'graph_input', and behind it, if only a part is meant, '[0]', '[0:3]' "
        "or '[-2:]' of the last axis, or one of these for each axis, '[:, 0:3]'",
        received=shown,
    )
