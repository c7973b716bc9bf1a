"""The one place where text of files becomes data: YAML and JSON that anybody may have made.

Both parsers call themselves for every level, and neither has an end to its numbers, its aliases or its levels.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import yaml

MOST_LEVELS = 200
MOST_DIGITS = 100
MOST_CHARACTERS = 10_000_000  # of YAML, of which PyYAML reads less than a megabyte in a minute where it is at its worst
MOST_REPEATED = 100_000
_TOO_DEEP = f"it is nested more than {MOST_LEVELS} levels deep"
_TOO_LONG = f"a number has more than {MOST_DIGITS} digits"
_NO_TEXT = "it holds half of a surrogate pair, which is no character"
_OF_PYTHON = {
    f"tag:yaml.org,2002:python/{own}": f"tag:yaml.org,2002:{plain}"
    for own, plain in (("tuple", "seq"), ("str", "str"), ("unicode", "str"))
}
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class BadText(ValueError):
    """Text that is no YAML or no JSON, or none that anybody means.

    Args:
        reason: Why, in one line.
        line: Where, counted from 1, if that is known.
    """

    def __init__(self, reason: str, line: int | None = None):
        self.reason, self.line = reason, line
        super().__init__(reason if line is None else f"line {line}: {reason}")


def from_json(text: str | bytes) -> Any:
    """What a JSON text says.

    Raises:
        BadText: If it cannot be read, has a key twice, or nests deeper than any file of Keras does.

    Example:
        >>> from_json('{"keras_version": "3.10.0"}')
        {'keras_version': '3.10.0'}
    """
    try:
        data = json.loads(text, parse_int=_whole_number, object_pairs_hook=_without_repetition)
    except BadText:
        raise
    except RecursionError:
        raise BadText(_TOO_DEEP) from None
    except ValueError as error:  # of JSON, or of the encoding
        raise BadText(str(error)) from error
    level, depth = [data], 0
    while level:
        depth += 1
        if depth > MOST_LEVELS:
            raise BadText(_TOO_DEEP)
        level = [below for item in level for below in _within(item)]
    return data


def from_yaml(text: str, *, of_python: bool = False) -> Any:
    """What a YAML text says; the rules are those of ``from_json``.

    With ``of_python``, tuples and texts that Python marked as its own (``!!python/tuple``) are lists and texts.

    Raises:
        BadText: If it cannot be read, has a key twice, or nests deeper than anybody writes.

    Example:
        >>> from_yaml("type: keras")
        {'type': 'keras'}
    """
    root = yaml_node(text)
    if root is None:
        return None
    for node in _nodes(root):
        if isinstance(node, yaml.MappingNode):
            written: set[tuple[str, str]] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if (key.tag, key.value) in written:
                        raise BadText(f"the key '{_short(key.value)}' stands there twice", _line(key))
                    written.add((key.tag, key.value))
        if of_python:
            node.tag = _OF_PYTHON.get(node.tag, node.tag)
    return _constructed(root)


def yaml_node(text: str) -> yaml.Node | None:
    """What a YAML text says, as nodes with their lines, in which no alias leads back; ``None`` where it says nothing.

    Raises:
        BadText: As ``from_yaml`` does, but not for a key that stands there twice.
    """
    if len(text) > MOST_CHARACTERS:
        raise BadText(f"it has more than {MOST_CHARACTERS:,} characters")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except RecursionError:
        raise BadText(_TOO_DEEP) from None
    except yaml.MarkedYAMLError as error:
        raise _marked(error) from error
    except yaml.reader.ReaderError as error:
        character = f"the character {chr(error.character)!r} must not be in it"
        raise BadText(character, text.count("\n", 0, error.position) + 1) from error
    if root is not None:
        _check_nodes(root)
    return root


def yaml_scalar(node: yaml.Node) -> Any:
    """The value of a node that is neither a mapping nor a list.

    Raises:
        BadText: If its tag and its text do not go together.
    """
    return _constructed(node)


def _constructed(root: yaml.Node) -> Any:
    try:
        return yaml.SafeLoader("").construct_document(root)
    except yaml.MarkedYAMLError as error:
        raise _marked(error) from error
    except Exception as error:  # PyYAML's constructors raise whatever they meet in a text that does not fit its tag
        kind = f", {_short(root.value)!r} as {root.tag.rpartition(':')[2]}" if isinstance(root, yaml.ScalarNode) else ""
        said = str(error) if type(error) is ValueError else f"a value does not fit its tag{kind}"
        raise BadText(said) from error


def _marked(error: yaml.MarkedYAMLError) -> BadText:
    mark, start = error.problem_mark or error.context_mark, error.context_mark
    what = error.problem or error.context or "it cannot be read"
    if error.context and start and mark and start.line != mark.line:
        what += f" ({error.context} that starts in line {start.line + 1})"
    return BadText(what, mark.line + 1 if mark else None)


def _check_nodes(root: yaml.Node) -> None:
    """Refuse what Python could not hold: it would call itself too often, or aliases would make too much of little."""
    known: dict[int, tuple[int, int]] = {}  # how many nodes there are with all aliases written out, and how many levels
    entered: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting[-1]
        below = list(_below(node))
        if id(node) in known:
            waiting.pop()
        elif id(node) not in entered:
            entered.add(id(node))
            _check_text(node)
            if any(id(inner) in entered and id(inner) not in known for inner in below):
                raise BadText("an alias stands within what it stands for, which so holds itself", _line(node))
            waiting += below
        else:
            waiting.pop()
            sizes, levels = zip(*(known[id(inner)] for inner in below), strict=True) if below else ((), ())
            known[id(node)] = size, depth = 1 + sum(sizes), 1 + max(levels, default=0)
            if depth > MOST_LEVELS:
                raise BadText(_TOO_DEEP, _line(node))
            if size > len(entered) + MOST_REPEATED:
                raise BadText("its aliases repeat too much", _line(node))


def _check_text(node: yaml.Node) -> None:
    if isinstance(node, yaml.ScalarNode):
        if node.tag in _NUMBERS and len(node.value) > MOST_DIGITS:
            raise BadText(_TOO_LONG, _line(node))
        if not _is_text(node.value):
            raise BadText(_NO_TEXT, _line(node))


def _below(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _nodes(root: yaml.Node) -> Iterator[yaml.Node]:
    """Every node once."""
    seen, waiting = {id(root)}, [root]
    while waiting:
        node = waiting.pop()
        yield node
        below = [inner for inner in _below(node) if id(inner) not in seen]
        seen.update(map(id, below))
        waiting += below


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _within(item: Any) -> Iterable[Any]:
    """What is one level below, if anything; text that is none is refused."""
    if isinstance(item, dict):
        return [*item, *item.values()]
    if isinstance(item, str) and not _is_text(item):
        raise BadText(_NO_TEXT)
    return item if isinstance(item, list) else ()


def _is_text(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _whole_number(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise BadText(_TOO_LONG)
    return int(text)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise BadText(f"the key '{_short(name)}' stands there twice")
    return found


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}..."
