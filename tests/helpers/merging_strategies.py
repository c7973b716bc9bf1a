"""Random parts of a merged dataloader: loaders of all of Kipoi's kinds, with the arrays that each has to give.

A part gives the rows that ``order`` lists, cut into batches by ``sizes``, and may raise at some place; a fault is
another order. Nothing here asks the code under test what is right.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from keras_stitch.kipoi.templates import template_module

M = template_module("kipoi.merging")
# Kipoi's own classes where it is installed, and classes like them where it is not.
DATALOADERS = template_module("kipoi.merging.dataloader_kinds")
BatchDataset, BatchIterator, Dataset = DATALOADERS.BatchDataset, DATALOADERS.BatchIterator, DATALOADERS.Dataset
PreloadedDataset, SampleIterator = DATALOADERS.PreloadedDataset, DATALOADERS.SampleIterator
GenomicRanges = DATALOADERS.GenomicRanges

KINDS = (
    "PreloadedDataset", "Dataset", "BatchDataset", "SampleIterator", "SampleGenerator", "BatchIterator",
    "BatchGenerator",
)  # fmt: skip
STREAMS = KINDS[3:]
DTYPES = ("float32", "float64", "int8", "int64", "uint16", "bool", "U3")
SHAPES = ((), (1,), (3,), (2, 2), (2, 0))


@dataclass(frozen=True)
class Given:
    """A part, and what its rows are.

    Attributes:
        inputs: Arrays of all rows, in dicts and lists as the loader has them.
        feeds: The path in ``inputs`` for every graph input.
        metadata: Arrays of all rows; None if the loader has none.
        order: The rows that it gives, one after another.
        sizes: Rows in its batches, again and again.
        own: Whether it is written another way: its own ``__getitem__``, or an iterator that starts anew.
        error: Where and what it raises.
        joined: ``align_on`` and ``missing``.
    """

    name: str
    kind: str
    inputs: Any
    feeds: dict[str, tuple]
    metadata: dict[str, Any] | None
    order: tuple[int, ...]
    sizes: tuple[int, ...] = (4,)
    own: bool = False
    in_order: bool = False
    error: tuple[int, Callable[[], Exception]] | None = None
    joined: tuple[str | None, str] = (None, "error")

    @property
    def is_stream(self) -> bool:
        return self.in_order or self.kind in STREAMS

    def keys(self) -> set[str]:
        return {"id", "ranges"} & set(self.metadata or ())

    def part(self) -> Any:
        """The part as the merged dataloader takes it."""
        return M.Part(
            self.name,
            loader_of(self),
            {},
            self.feeds,
            metadata=self.metadata is not None,
            ids=("id",) if "id" in self.keys() else None,
            ranges=("ranges",) if "ranges" in self.keys() else None,
            in_order=self.in_order,
            align_on=self.joined[0],
            missing=self.joined[1],
        )

    def expected(self) -> dict[tuple, np.ndarray]:
        """All rows in their order, by path in a merged batch."""
        found = {}
        for name, path in self.feeds.items():
            array = self.inputs
            for key in path:
                array = array[key]
            found["inputs", name] = array
        found |= {("metadata", self.name, *path): array for path, array in flat(self.metadata or {})}
        return {path: array[list(self.order)] for path, array in found.items()}

    def but(self, **changes: Any) -> Given:
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True)
class Case:
    """Parts with the same rows.

    Attributes:
        ids: The names of all rows.
        ranges: Chromosome, start, end and strand of all rows.
    """

    rows: int
    parts: tuple[Given, ...]
    ids: tuple[str, ...]
    ranges: dict[str, np.ndarray]
    batch_size: int
    drop_last: bool
    iterated: bool

    def merged(self, *more: Any) -> Any:
        """The merged dataloader."""
        iterated = self.iterated or any(part.is_stream for part in self.parts)
        return (M.MergedIterator if iterated else M.MergedDataset)(*(part.part() for part in self.parts), *more)

    def expected(self) -> dict[tuple, np.ndarray]:
        return {path: array for part in self.parts for path, array in part.expected().items()}

    def with_part(self, changed: Given) -> Case:
        return dataclasses.replace(
            self, parts=tuple(changed if part.name == changed.name else part for part in self.parts)
        )


def flat(nested: Any, path: tuple = ()) -> Iterator[tuple[tuple, Any]]:
    """Path and array of everything in dicts, lists and ranges."""
    if hasattr(nested, "keys"):
        for key in nested:
            yield from flat(nested[key], (*path, key))
    elif isinstance(nested, list):
        for number, item in enumerate(nested):
            yield from flat(item, (*path, number))
    else:
        yield path, nested


def at(nested: Any, rows: Any, *, scalar_strand: bool = False) -> Any:
    """One row, or several, of nested arrays."""
    if isinstance(nested, GenomicRanges):
        fields = {key: at(nested[key], rows) for key in nested}
        if scalar_strand and set(nested["strand"].tolist()) == {"*"}:
            del fields["strand"]
        return GenomicRanges(**fields)
    if isinstance(nested, dict):
        return {key: at(item, rows, scalar_strand=scalar_strand) for key, item in nested.items()}
    if isinstance(nested, list):
        return [at(item, rows, scalar_strand=scalar_strand) for item in nested]
    return nested[rows]


def cut(count: int, sizes: Sequence[int]) -> list[range]:
    """The places in batches of some sizes, which are used again and again."""
    found, start = [], 0
    for size in itertools.cycle(sizes):
        if start == count:
            return found
        found.append(range(start, min(start + size, count)))
        start = found[-1].stop


def loader_of(given: Given) -> type:
    """The loader class of a part."""
    order, batches = list(given.order), cut(len(given.order), given.sizes)
    place, error = given.error or (None, None)

    def item(rows: Any, *, scalar_strand: bool) -> dict[str, Any]:
        found = {"inputs": at(given.inputs, rows)}
        if given.metadata is not None:
            found["metadata"] = at(given.metadata, rows, scalar_strand=scalar_strand)
        return found

    def raise_at(places: Sequence[int]) -> None:
        if place is not None and place in places:
            raise error()

    def sample(number: int) -> dict[str, Any]:
        raise_at([number])
        return item(order[number], scalar_strand=False)

    def batch(places: range) -> dict[str, Any]:
        raise_at(places)
        return item(order[places.start : places.stop], scalar_strand=True)

    def samples() -> Iterator[dict[str, Any]]:
        for number in range(len(order)):  # map() would end at a StopIteration, which no one could see
            yield sample(number)
        raise_at([len(order)])

    def all_batches() -> Iterator[dict[str, Any]]:
        for places in batches:
            yield batch(places)
        raise_at([len(order)])

    def everything() -> dict[str, Any]:
        raise_at(range(len(order) + 1))
        return item(order, scalar_strand=False)

    class Rows(Dataset):
        def __len__(self) -> int:
            return len(order)

        def __getitem__(self, index: int) -> dict[str, Any]:
            return sample(index)

    class Batches(BatchDataset):
        def __len__(self) -> int:
            return len(batches)

        def __getitem__(self, index: int) -> dict[str, Any]:
            return batch(batches[index])

    class Walk:
        """Iterates over itself; from the start again only if it is written so."""

        def __init__(self) -> None:
            self.number = 0

        def __iter__(self) -> Any:
            self.number = 0 if given.own else self.number
            return self

        def __next__(self) -> dict[str, Any]:
            numbers = range(len(order)) if isinstance(self, SampleIterator) else batches
            if self.number == len(numbers):
                raise_at([len(order)])
                raise StopIteration
            self.number += 1
            return sample(self.number - 1) if numbers is not batches else batch(batches[self.number - 1])

    class Own(PreloadedDataset):
        data_fn = staticmethod(everything)

        def __getitem__(self, index: int) -> dict[str, Any]:
            return sample(index)

    match given.kind:
        case "Dataset":
            return Rows
        case "BatchDataset":
            return Batches
        case "SampleIterator":
            return type("Samples", (Walk, SampleIterator), {})
        case "BatchIterator":
            return type("BatchWalk", (Walk, BatchIterator), {})
        case "PreloadedDataset":
            return Own if given.own else M.from_function(everything)
        case "SampleGenerator":
            return M.from_function(samples, "SampleGenerator")
    return M.from_function(all_batches, "BatchGenerator")


def some_array(seed: int, rows: int, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers, or texts, of which hardly two are the same."""
    rng = np.random.default_rng(seed)
    if dtype.startswith("float"):
        found = rng.normal(size=(rows, *shape)).astype(dtype)
        found[rng.random(found.shape) < 0.1] = np.nan
        found[rng.random(found.shape) < 0.1] = -0.0
        return found
    numbers = rng.integers(0, 2 if dtype == "bool" else 100, size=(rows, *shape))
    return numbers.astype(dtype)


def as_ids(ids: Sequence[str], flavour: str) -> np.ndarray:
    """The same ids as another type."""
    if flavour == "numbers":
        return np.asarray([int(text) for text in ids])
    return np.asarray(ids).astype({"text": "U", "bytes": "S", "objects": "O"}[flavour])


@st.composite
def inputs(draw: Any, name: str, rows: int) -> tuple[Any, dict[str, tuple]]:
    """Nested arrays, and the graph inputs that they feed: an array may feed two, or none."""
    structure = draw(st.sampled_from(["array", "list", "dict", "nested"]))
    count = {"array": 1, "nested": 3}.get(structure, 2)
    kinds = st.tuples(st.integers(0, 99), st.just(rows), st.sampled_from(DTYPES), st.sampled_from(SHAPES))
    arrays = list(itertools.starmap(some_array, draw(st.lists(kinds, min_size=count, max_size=count))))
    tree = {
        "array": lambda: arrays[0],
        "list": lambda: arrays,
        "dict": lambda: {"x": arrays[0], "y": arrays[1]},
        "nested": lambda: {"x": arrays[:2], "y": {"z": arrays[2]}},
    }[structure]()
    paths = [path for path, _ in flat(tree)]
    chosen = draw(st.lists(st.sampled_from(paths), min_size=1, max_size=3))
    return tree, {f"{name}_{number}": path for number, path in enumerate(chosen)}


@st.composite
def givens(draw: Any, name: str, case: Case, keys: frozenset[str] | None = None, kinds: Any = KINDS) -> Given:
    """A part with all rows of a case, in order; ``keys`` of "id" and "ranges", else any."""
    kind = draw(st.sampled_from(kinds))
    tree, feeds = draw(inputs(name, case.rows))
    if keys is None:
        keys = draw(
            st.sampled_from([frozenset(), frozenset({"id"}), frozenset({"ranges"}), frozenset({"id", "ranges"})])
        )
    metadata: dict[str, Any] | None = {}
    if "id" in keys:
        numeric = all(text.isdigit() for text in case.ids)
        metadata["id"] = as_ids(case.ids, draw(st.sampled_from(["text", "bytes", "objects"] + ["numbers"] * numeric)))
    if "ranges" in keys:
        stranded = draw(st.booleans())
        ranges = case.ranges if stranded else case.ranges | {"strand": np.full(case.rows, "*")}
        if draw(st.booleans()):
            ranges = ranges | {"chr": np.asarray([text.removeprefix("chr") for text in ranges["chr"]])}
        metadata["ranges"] = GenomicRanges(**ranges, id=np.arange(case.rows).astype("U"))
    if draw(st.booleans()):
        metadata["more"] = {
            "score": some_array(7, case.rows, "float64", (2,)),
            "label": some_array(8, case.rows, "U3", ()),
        }
    in_order = kind not in STREAMS and draw(st.integers(0, 3)) == 0
    sizes = [draw(st.integers(1, case.rows + 3))]
    if kind in ("BatchIterator", "BatchGenerator") or (kind == "BatchDataset" and in_order):
        sizes += draw(st.lists(st.integers(0, 9), max_size=4))
    return Given(
        name,
        kind,
        tree,
        feeds,
        metadata or None,
        tuple(range(case.rows)),
        tuple(sizes),
        own=draw(st.booleans()),
        in_order=in_order,
    )


@st.composite
def cases(
    draw: Any, min_parts: int = 1, max_parts: int = 5, min_rows: int = 1, keys: Any = None, kinds: Any = KINDS
) -> Case:
    """Parts of any kinds; ``keys`` of the first two, where rows have to be comparable."""
    rows = draw(st.integers(min_rows, 40))
    numeric = draw(st.booleans())
    ids = tuple(str(number * 7) if numeric else f"row{number}" for number in range(rows))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    start = rng.permutation(rows) * 10
    ranges = {
        "chr": np.asarray([f"chr{number % 3 + 1}" for number in range(rows)]),
        "start": start,
        "end": start + rng.integers(1, 10, rows),
        "strand": rng.choice(["+", "-"], rows),
    }
    blank = Case(rows, (), ids, ranges, draw(st.integers(1, rows + 3)), draw(st.booleans()), draw(st.booleans()))
    count = draw(st.integers(min_parts, max_parts))
    parts = [givens(f"part{number}", blank, keys if number < 2 else None, kinds) for number in range(count)]
    return dataclasses.replace(blank, parts=draw(st.tuples(*parts)))
