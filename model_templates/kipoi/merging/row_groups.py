"""Which parts are in step by what names their rows, and which by the numbers of their rows alone."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from .blocks import Block
from .data_errors import DataError, problem, say_once
from .keys import compare, range_is_known, shown
from .part_base import BasePart, FilePart, Reader
from .row_ids import is_word, say_something

# Names of parts: the rows of those in one group are in step by ids or genomic ranges.
Grouping: TypeAlias = tuple[tuple[str, ...], ...]
_Pair: TypeAlias = tuple[int, int]
_LISTED = 6  # pairs in a message
_said: set[tuple[str, str]] = set()


@dataclass(frozen=True)
class _Naming:
    """What names the rows of a block: a part, or a field of its file.

    Attributes:
        part: The number of the part.
        naming: Itself.
        known: Which rows have an id that may be compared; None if none is there.
        says: Which of these ids name something.
        ranged: Which rows have a genomic range; None if none is there.
    """

    part: int
    naming: BasePart
    known: np.ndarray | None
    says: np.ndarray | None
    ranged: np.ndarray | None


class RowCheck:
    """Compares the rows of all parts, and finds those that only their number holds together.

    Args:
        parts: The parts.
        readers: Their readers; parts that one reader reads are in step, and so are those that read one file.
        require_ids: Whether all parts have to be in step by ids or genomic ranges.
    """

    def __init__(self, parts: Sequence[BasePart], readers: Sequence[Reader], require_ids: bool) -> None:
        self.parts, self.require_ids = parts, require_ids
        sets = [{parts.index(part) for part in reader.parts} for reader in readers]
        for one, other in itertools.combinations(range(len(parts)), 2):
            if _read_one_file(parts[one], parts[other]):
                sets.append({one, other})
        self.together = sets
        self.found: dict[Any, list[set[int]]] = {}
        self.words: dict[tuple[str, str], int | None] = {}  # in which row a part has a word as its id; None for several

    def check(self, block: Block, rows: Sequence[int] | np.ndarray) -> set[Grouping]:
        """Compares some rows, and returns the groups of parts of which only the numbers of rows are compared.

        Args:
            block: Rows of all parts.
            rows: Their numbers.

        Raises:
            DataError: With the first row in which two parts differ, or that has no id where another part has one.
        """
        compare(block, self.parts, rows)
        found = set()
        namings, counting, patterns = self._patterns(block, rows)
        for chosen, groups in patterns:
            if len(groups) > 1:
                self._check_ids(block, namings, counting, chosen, groups, rows)
                found.add(self._grouping(groups))
        found = {grouping for grouping in found if len(grouping) > 1}
        if found and self.require_ids:
            raise self._not_in_step(_pairs(min(found))[0], namings)
        return found

    def in_step(self, block: Block, rows: Sequence[int] | np.ndarray) -> list[list[str]]:
        """Returns the names of the parts in groups: those that are in step in any row of a block belong together."""
        sets: list[set[int]] = []
        for _, groups in self._patterns(block, rows)[2]:
            sets += groups
        named = ((self.parts[number] for number in sorted(own)) for own in _joined(len(self.parts), sets))
        kept = ([part.name for part in own if not part.random] for own in named)
        return [own for own in kept if own]

    def _grouping(self, groups: Iterable[Collection[int]]) -> Grouping:
        """Returns groups by name, without parts that nobody wants to be compared, unless all have to be."""
        named = ((self.parts[number] for number in sorted(own)) for own in groups)
        kept = (
            tuple(part.name for part in own if (part.compared or self.require_ids) and not part.random) for own in named
        )
        return tuple(own for own in kept if own)

    def _patterns(self, block: Block, rows: Sequence[int] | np.ndarray) -> tuple[list[_Naming], list[_Pair], list[Any]]:
        """Returns what is known of the rows.

        Returns:
            What names them; the pairs of these of which one only counts rows; and, for all rows of which the same is
            known, which they are, and the numbers of the parts that are in step there.
        """
        namings = [self._known(block, at, it, rows) for at, part in enumerate(self.parts) for it in part.namings]
        counting = _counting(block, namings, rows)
        count = len(np.asarray(rows))
        masks = [mask for it in namings for mask in (it.says, it.ranged)]
        if all(mask is None or mask.all() for mask in masks):  # as mostly
            states, places = np.asarray([[mask is not None for mask in masks]]), np.zeros(count, "int64")
        else:
            columns = [np.zeros(count, bool) if mask is None else mask for mask in masks]
            states, places = np.unique(np.asarray(columns).T, axis=0, return_inverse=True)
        patterns = []
        for number in range(int(places.max()) + 1):
            key = (tuple(states[number].tolist()), tuple(counting))
            if key not in self.found:
                self.found[key] = self._groups([it.part for it in namings], *key)
            patterns.append((places.ravel() == number, self.found[key]))
        return namings, counting, patterns

    def _known(self, block: Block, number: int, naming: BasePart, rows: Sequence[int] | np.ndarray) -> _Naming:
        ids = block.get(("keys", naming.name, "ids"))
        known = None if ids is None else ids != ""
        if ids is None or known is None or (naming.named_by_ranges and not known.any()):
            return _Naming(number, naming, None, None, range_is_known(block, naming))
        says = say_something(ids)
        for at in np.flatnonzero(is_word(ids)).tolist():  # several rows may have it that are not read together
            word, row = (naming.name, str(ids[at])), int(rows[at])
            if self.words.setdefault(word, row) != row:
                self.words[word], says[at] = None, False
        return _Naming(number, naming, known, says, range_is_known(block, naming))

    def _groups(self, owners: Sequence[int], state: Sequence[bool], counting: Sequence[_Pair]) -> list[set[int]]:
        """Returns the parts that are in step, by their numbers.

        Args:
            owners: The part of everything that names rows.
            state: Whether each of these gives an id, and a genomic range.
            counting: The pairs of these whose ids are not compared.
        """
        sets = list(self.together)
        for one, other in itertools.combinations(range(len(owners)), 2):
            by_ids = state[2 * one] and state[2 * other] and (one, other) not in counting
            if by_ids or (state[2 * one + 1] and state[2 * other + 1]):
                sets.append({owners[one], owners[other]})
        return _joined(len(self.parts), sets)

    def _check_ids(
        self,
        block: Block,
        namings: Sequence[_Naming],
        counting: Sequence[_Pair],
        chosen: np.ndarray,
        groups: Sequence[set[int]],
        rows: Sequence[int] | np.ndarray,
    ) -> None:
        """Raises if a part that has ids has none in a row, where one that is not in step with it does."""
        group = {part: number for number, own in enumerate(groups) for part in own}
        for lacking in range(len(self.parts)):
            own = {at: it.known for at, it in enumerate(namings) if it.part == lacking and it.known is not None}
            if not own:
                continue
            nothing = chosen & ~np.any(list(own.values()), axis=0)
            for at, it in enumerate(namings):
                compared = any((min(at, mine), max(at, mine)) not in counting for mine in own)
                if it.says is None or group[it.part] == group[lacking] or not compared:
                    continue
                wrong = nothing & it.says
                if wrong.any():
                    wrong &= ~is_word(block["keys", it.naming.name, "ids"])
                if wrong.any():
                    raise self._without_id(block, self.parts[lacking], it, wrong, rows)

    def _not_in_step(self, pair: tuple[str, str], namings: Sequence[_Naming]) -> DataError:
        """Returns the error for two parts that have to have ids or genomic ranges in common, and have not."""
        numbers = [next(at for at, part in enumerate(self.parts) if part.name == name) for name in pair]
        has = [self._shown(number, [it for it in namings if it.part == number]) for number in numbers]
        return problem(
            f"Only the number of a row says which rows of '{pair[0]}' and '{pair[1]}' belong together.",
            expected="ids or genomic ranges that they have in common, as the directory was made with require_ids=True",
            received=f"{has[0]} in '{pair[0]}', {has[1]} in '{pair[1]}'",
            files=[text for number in numbers for text in self.parts[number].files("ids")],
            fix="Give both the same ids: a table in a column id, an HDF5 file in a dataset id, a dataloader in its "
            "metadata.",
        )

    def _shown(self, part: int, namings: Sequence[_Naming]) -> str:
        """Returns what names the rows of a part, for a message."""
        kinds = ["ids"] * any(it.known is not None for it in namings)
        kinds += ["ranges"] * any(it.ranged is not None for it in namings)
        return (" and ".join(kinds) or "no ids or ranges") if self.parts[part].compared else "align_on=False"

    def _without_id(
        self, block: Block, lacking: BasePart, having: _Naming, wrong: np.ndarray, rows: Sequence[int] | np.ndarray
    ) -> DataError:
        position, others = int(np.argmax(wrong)), int(wrong.sum()) - 1
        more = f", nor {'has' if others == 1 else 'have'} {others} more of the {len(wrong)} read with it"
        return problem(
            f"Row {rows[position]} of '{lacking.name}' has no id" + (f"{more}." if others else "."),
            expected=f"an id, as '{having.naming.name}' has one",
            received=f"{shown(block, having.naming, 'ids', position)} in '{having.naming.name}', none in "
            f"'{lacking.name}'",
            files=[text for part in (lacking, having.naming) for text in part.files("ids")],
            fix="Give the row its id: an empty text, '.', NaN and None are none. Where only the number of a row can "
            "say where it belongs, make the directory again with align_on=False for one of them.",
        )


def say(groupings: Iterable[Grouping]) -> None:
    """Says, once for every pair of parts in a process, that only the number of a row says which belong together."""
    for grouping in groupings:
        _say(grouping)


@functools.lru_cache(None)
def _say(grouping: Grouping) -> None:
    new = [pair for pair in _pairs(grouping) if pair not in _said]
    _said.update(new)
    if new:
        more = f"; and {len(new) - _LISTED} more pairs" if len(new) > _LISTED else ""
        listed = "; ".join(f"'{one}' and '{other}'" for one, other in new[:_LISTED])
        say_once(
            f"Only the number of a row says which rows belong together in {listed}{more}: they have no ids or genomic "
            "ranges in common, at least in some rows. If one is in another order, nobody notices. A table has ids in a "
            "column id."
        )


def _pairs(grouping: Grouping) -> list[tuple[str, str]]:
    pairs = itertools.combinations(grouping, 2)
    return [pair for one, other in pairs for pair in itertools.product(one, other)]


def _counting(block: Block, namings: Sequence[_Naming], rows: Sequence[int] | np.ndarray) -> list[_Pair]:
    """Returns the pairs of which one has only the numbers of its rows as ids, and the other no such number."""
    ids = {at: block["keys", it.naming.name, "ids"] for at, it in enumerate(namings) if it.known is not None}
    counting = [at for at in ids if namings[at].naming.counts_rows(ids[at], rows)]
    pairs = itertools.product(counting, ids) if counting else ()
    return sorted(
        (min(one, other), max(one, other))
        for one, other in pairs
        if namings[other].naming.smallest_number(ids[other]) >= namings[one].naming.numbers_below
    )


def _joined(count: int, sets: Iterable[set[int]]) -> list[set[int]]:
    """Returns sets of the numbers below ``count`` that share none, from sets that may."""
    found: list[set[int]] = []
    for own in [*sets, *({number} for number in range(count))]:
        touched = [it for it in found if it & own]
        found = [it for it in found if not it & own] + [own.union(*touched)]
    return sorted(found, key=min)


def _read_one_file(one: BasePart, other: BasePart) -> bool:
    """Whether row i of two parts is row i of the same file."""
    if not isinstance(one, FilePart) or not isinstance(other, FilePart):
        return False
    return one.path == other.path and one.align_on is None and other.align_on is None
