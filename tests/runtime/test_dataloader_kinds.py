"""The kinds of dataloaders without Kipoi: they give what Kipoi's do, and have its names while a file is loaded."""

import sys

import kipoi.data
import kipoi.metadata
import numpy as np
import pytest
from kipoi_utils.data_utils import numpy_collate

from keras_stitch.kipoi.templates import template_module

KINDS = template_module("kipoi.merging.dataloader_kinds")
NAMES = template_module("kipoi.merging.kipoi_names")
OWN = template_module("kipoi.merging.own_dataloaders")
FILES = template_module("kipoi.merging.python_files")
ROWS = 7


def row(number):
    inputs = {"a": np.full((2, 3), number, "float32"), "b": [number, np.float64(number / 2)]}
    return {"inputs": inputs, "targets": (number,), "metadata": {"id": f"row {number}", "raw": b"x", "none": None}}


def batches():
    for start in range(0, ROWS, 3):
        yield numpy_collate([row(number) for number in range(start, min(start + 3, ROWS))])


def loader(module, kind):
    """A dataloader of some kind whose rows are the same for all kinds, made with the classes of a module."""
    base, everything = module.AVAILABLE_DATALOADERS[kind], list(map(row, range(ROWS)))
    as_function = {
        "PreloadedDataset": ("data_fn", lambda: numpy_collate(everything)),
        "SampleGenerator": ("generator_fn", lambda: iter(everything)),
        "BatchGenerator": ("generator_fn", batches),
    }
    if kind in as_function:
        attribute, function = as_function[kind]
        return type(kind, (base,), {attribute: staticmethod(function)})()
    items = list(batches()) if kind == "BatchDataset" else everything
    iterated = batches() if kind == "BatchIterator" else iter(everything)
    methods = {
        "__len__": lambda self: len(items),
        "__getitem__": lambda self, index: items[index],
        "__iter__": lambda self: iterated,
        "__next__": lambda self: next(iterated),
    }
    chosen = list(methods)[:2] if kind.endswith("Dataset") else list(methods)[2:]
    return type(kind, (base,), {name: methods[name] for name in chosen})()


def assert_same(own, kipois):
    assert type(own) is type(kipois) and (not isinstance(own, np.ndarray) or own.dtype == kipois.dtype)
    if isinstance(own, dict):
        assert own.keys() == kipois.keys()
        for name in own:
            assert_same(own[name], kipois[name])
    elif isinstance(own, list | tuple):
        for one, other in zip(own, kipois, strict=True):
            assert_same(one, other)
    else:
        np.testing.assert_array_equal(own, kipois)


@pytest.mark.parametrize("kind", OWN.AVAILABLE_DATALOADERS)
def test_kinds_give_what_those_of_kipoi_do(kind):
    for options in ({}, {"batch_size": 2}, {"batch_size": 3, "drop_last": True}, {"batch_size": 3, "num_workers": 2}):
        own, kipois = (list(loader(module, kind).batch_iter(**options)) for module in (OWN, kipoi.data))
        assert_same(own, kipois)
    own, kipois = (loader(module, kind).load_all() for module in (OWN, kipoi.data))
    assert_same(own, kipois)
    own, kipois = (list(loader(module, kind).batch_train_iter(cycle=False)) for module in (OWN, kipoi.data))
    assert_same(own, kipois)
    own, kipois = (list(loader(module, kind).batch_predict_iter()) for module in (OWN, kipoi.data))
    assert_same(own, kipois)


def test_the_kinds_are_those_of_kipoi_in_its_order():
    assert list(OWN.AVAILABLE_DATALOADERS) == list(kipoi.data.AVAILABLE_DATALOADERS)
    for kind, base in kipoi.data.AVAILABLE_DATALOADERS.items():
        bases = [other for other, own in kipoi.data.AVAILABLE_DATALOADERS.items() if issubclass(base, own)]
        assert bases == [n for n, own in OWN.AVAILABLE_DATALOADERS.items() if issubclass(getattr(OWN, kind), own)]


def test_training_batches_go_round_unless_they_are_told_not_to():
    own = loader(OWN, "Dataset").batch_train_iter(batch_size=4)
    assert [len(next(own)[0]["a"]) for _ in range(5)] == [4, 3, 4, 3, 4]


def test_rows_of_other_things_are_refused():
    with pytest.raises(TypeError, match="A row has arrays, numbers and text, in dicts and lists; received object"):
        OWN.numpy_collate([object()])
    uneven = type("Uneven", (OWN.PreloadedDataset,), {"data_fn": staticmethod(lambda: [np.ones(2), np.ones(3)])})
    with pytest.raises(AssertionError, match=r"arrays with \[2, 3\] rows"):
        uneven()
    scalar = type("Scalar", (OWN.PreloadedDataset,), {"data_fn": staticmethod(lambda: {"a": 3})})
    with pytest.raises(ValueError, match="need to be numpy arrays"):
        scalar()


def test_genomic_ranges_are_those_of_kipoi():
    rows = [{"chr": "chr1", "start": start, "end": start + 5, "id": str(start)} for start in (3, 9)]
    for fields in rows:
        own, kipois = OWN.GenomicRanges(**fields), kipoi.metadata.GenomicRanges(**fields)
        assert dict(own) == dict(kipois) == own.to_dict() and list(own) == list(kipois) and len(own) == 5
        assert (own.chrom, own.stop, own.name, own.strand) == (kipois.chrom, kipois.stop, kipois.name, "*")
    assert_same(*(module.numpy_collate([kind(**fields) for fields in rows]) for module, kind in _both()))
    collated = OWN.GenomicRanges.collate([OWN.GenomicRanges(**fields) for fields in rows])
    assert collated.start.tolist() == [3, 9] and collated.strand.tolist() == ["*", "*"]
    interval = type("Interval", (), {"chrom": "chr2", "start": 1, "end": 2, "name": "n", "strand": "-"})
    assert OWN.GenomicRanges.from_interval(interval) == OWN.GenomicRanges.from_dict(
        {"chr": "chr2", "start": 1, "end": 2, "id": "n", "strand": "-"}
    )
    with pytest.raises(ValueError, match="chr can't be None"):
        OWN.GenomicRanges(None, 1, 2, "x")


def _both():
    collate = type("Kipoi", (), {"numpy_collate": staticmethod(numpy_collate)})
    return (OWN, OWN.GenomicRanges), (collate, kipoi.metadata.GenomicRanges)


def test_classes_are_those_of_kipoi_where_it_is_installed():
    assert KINDS.HAS_KIPOI and KINDS.Dataset is kipoi.data.Dataset
    assert KINDS.GenomicRanges is kipoi.metadata.GenomicRanges
    with NAMES.kipoi_names():
        assert sys.modules["kipoi.data"] is kipoi.data


@pytest.fixture
def without_kipoi(monkeypatch):
    """Lets files be loaded as if there were no Kipoi; the modules themselves stay as they were imported."""
    monkeypatch.setattr(KINDS, "HAS_KIPOI", False)
    monkeypatch.setattr(NAMES, "PACKAGES", ["kipoi", "kipoi_utils"])
    own = {**NAMES.CLASSES["kipoi.data"], **OWN.AVAILABLE_DATALOADERS}
    monkeypatch.setitem(NAMES.CLASSES, "kipoi.data", own)
    monkeypatch.setitem(NAMES.CLASSES, "kipoi.metadata", {"GenomicRanges": OWN.GenomicRanges})
    return dict(sys.modules)


def test_files_written_for_kipoi_find_our_classes_where_it_is_not_installed(without_kipoi, tmp_path):
    code = (
        "import kipoi.data\nfrom kipoi.data import Dataset\nfrom kipoi.metadata import GenomicRanges\n"
        "from kipoi_utils.data_utils import numpy_collate\nclass Rows(Dataset):\n    ranges = GenomicRanges\n"
        "    same = kipoi.data.Dataset is Dataset\n"
    )
    (tmp_path / "dataloader.py").write_text(code)
    found = FILES.load_dataloader(tmp_path / "dataloader.py", "Rows")
    assert issubclass(found, OWN.Dataset) and found.ranges is OWN.GenomicRanges and found.same
    # No trace of it is left.
    assert sys.modules == without_kipoi and sys.modules["kipoi.data"].Dataset is kipoi.data.Dataset


def test_a_directory_within_another_has_its_classes(without_kipoi, tmp_path):
    names = ", ".join(sorted(set(KINDS.__all__) - {"HAS_KIPOI", "GenomicRanges", "numpy_collate"}))
    (tmp_path / "dataloader.py").write_text(f"from kipoi.data import {names}\n")
    assert (
        FILES.load_object(tmp_path / "dataloader.py", "AVAILABLE_DATALOADERS.keys")()
        == KINDS.AVAILABLE_DATALOADERS.keys()
    )


@pytest.mark.parametrize(
    ("line", "package"),
    [
        ("import kipoi.sources", "pip install kipoi"),
        ("from kipoi.data import get_dataloader", "pip install kipoi"),
        ("from kipoi_utils.utils import load_module", "pip install kipoi"),
        ("import kipoi_of_nobody", "pip install kipoi kipoi_of_nobody"),
    ],
)
def test_files_that_need_more_of_kipoi_say_so(without_kipoi, tmp_path, line, package):
    (tmp_path / "dataloader.py").write_text(line)
    with pytest.raises(ValueError, match="needs Kipoi, which is not installed") as raised:
        FILES.load_object(tmp_path / "dataloader.py", "Rows")
    assert str(raised.value).endswith(f"Fix: {package}") and sys.modules == without_kipoi


def test_descriptions_in_docstrings_are_passed_over(without_kipoi, tmp_path):
    code = (
        "from kipoi.data import Dataset, kipoi_dataloader\nfrom kipoi.specs import Author, Dependencies\n"
        "@kipoi_dataloader(override={'dependencies': Dependencies(pip=['a']), 'info.authors': [Author(name='b')]})\n"
        "class Rows(Dataset):\n    'info: {}'\n"
    )
    (tmp_path / "dataloader.py").write_text(code)
    assert issubclass(FILES.load_object(tmp_path / "dataloader.py", "Rows"), OWN.Dataset)


def test_files_that_lack_another_package_say_that(without_kipoi, tmp_path):
    (tmp_path / "dataloader.py").write_text("import nobody_has_it")
    with pytest.raises(ModuleNotFoundError, match="nobody_has_it"):
        FILES.load_object(tmp_path / "dataloader.py", "Rows")
