"""Ids of rows as texts: which of them are the same, and which say nothing.

This is the only place of these rules, for the metadata of dataloaders, for files of every format and for files with
predictions. A row whose id says nothing has no id; here, that is an empty text.
"""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Any

import numpy as np
import pandas as pd

from .blocks import as_text
from .data_errors import problem

# What BED, GFF and VCF write where a row has no name. An empty text and a missing value have no id either.
PLACEHOLDER = "."
# What programs write for a missing value, in lower case. Each may be a name, too: NA is a gene of influenza, and nan
# one of the fruit fly. So each is a name, except where several rows have it.
WORDS = frozenset(("na", "n/a", "nan", "none", "null", "<na>", "nat", "-", "*", "?"))

_WHOLE = re.compile(r"(0|-?[1-9][0-9]*)\.0+")
# ASCII without spaces: such texts are ids as they are, but for what a point may mean.
_PLAIN = np.asarray([code == 0 or 32 < code < 127 for code in range(128)])
_POINTS = re.compile(r"^\.$|\.0+$", re.MULTILINE)


def as_ids(array: Any, part: str) -> np.ndarray:
    """Returns the ids of some rows, each as the text that all ids that are the same have; empty where there is none.

    ==============================  ==========================================================
    7, 7.0, "7", b"7", "7.0"        the same, in integers and floats of any width
    "07", "7e0", "+7"               texts like any other
    True                            "True"; it is not 1
    " a", "a ", also other spaces   "a"; white space within an id counts, and so do capitals
    two Unicode forms of a text     the same if they are canonically equivalent (NFC); full-width letters are others
    "", ".", None, NaN, NA, NaT     no id
    ==============================  ==========================================================

    Args:
        array: Ids of rows; several values for a row are one id together.
        part: The name of their part, for messages.

    Raises:
        DataError: If floats are too large to be exact, or two ids differ although they count as the same.
    """
    array = np.asarray(array)
    array = array.reshape(len(array), math.prod(array.shape[1:]))  # -1 would not do for a batch without rows
    if array.shape[1] != 1:
        columns = [as_ids(column, part) for column in array.T]
        return np.asarray(["\t".join(row) if any(row) else "" for row in zip(*columns, strict=True)], dtype="U")
    array = array[:, 0]
    if array.dtype.kind in "iub":
        return array.astype("U")
    if array.dtype.kind == "f":
        return _of_floats(array, part)
    if array.dtype.kind == "O":
        missing = pd.isna(array)
        array = np.asarray(["" if no else _of_object(item, part) for item, no in zip(array, missing, strict=True)], "O")
    elif array.dtype.kind in "mM":
        array = np.where(np.isnat(array), "", array.astype("U"))
    return _of_texts(as_text(array, part), part)


def is_word(ids: np.ndarray) -> np.ndarray:
    """Returns which ids are words for a missing value, which may be names."""
    return np.asarray([text.lower() in WORDS for text in ids.tolist()], bool)


def say_something(ids: np.ndarray) -> np.ndarray:
    """Returns for which rows ids name something: not for those without one, nor for a word that several rows have."""
    named, words = ids != "", is_word(ids)
    if words.any():
        texts, counts = np.unique(ids[words], return_counts=True)
        named &= ~np.isin(ids, texts[counts > 1])
    return named


def look_alike(one: str, other: str) -> bool:
    """Whether two ids may be the same to people, although they are not."""
    return one != other and loosely(one) == loosely(other)


def loosely(text: str) -> str:
    """Returns an id without what people may not see in it: capitals, white space, width, leading zeros."""
    folded = "".join(unicodedata.normalize("NFKC", text).casefold().split())
    return (folded.lstrip("0") or "0") if folded.isdecimal() else folded


def _of_floats(array: np.ndarray, part: str) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        whole, numbers = array == np.floor(array), array.astype("int64")
    inexact = whole & (np.abs(array) >= 2.0 ** (np.finfo(array.dtype).nmant + 1))
    if inexact.any():
        raise problem(
            f"The ids of '{part}' are floats that are too large to be exact: they may have been others.",
            expected="whole numbers as integers, or as text",
            received=f"{array[np.argmax(inexact)]!r} in {array.dtype}",
        )
    return np.where(np.isnan(array), "", np.where(whole, numbers.astype("U"), array.astype("U")))


def _of_object(item: Any, part: str) -> str:
    if isinstance(item, float | np.floating):
        return str(_of_floats(np.asarray([item]), part)[0])
    return item.decode("utf-8", "backslashreplace") if isinstance(item, bytes) else str(item)


def _of_texts(given: np.ndarray, part: str) -> np.ndarray:
    codes = np.ascontiguousarray(given).view("uint32") if given.dtype.itemsize else np.zeros(0, "uint32")
    texts = given.tolist()
    if codes.max(initial=0) < 128 and _PLAIN[codes].all() and not _POINTS.search("\n".join(texts)):
        return given
    found = list(map(_of_text, texts))
    if found == texts:
        return given
    written: dict[str, str] = {}
    for text, own in zip(found, texts, strict=True):
        if text and written.setdefault(text, own) != own:
            raise problem(
                f"Two ids of '{part}' count as the same, but are written differently.",
                expected="one way of writing for each id",
                received=f"{written[text]!r} and {own!r}",
            )
    return np.asarray(found, dtype="U")


def _of_text(text: str) -> str:
    text = (text if text.isascii() else unicodedata.normalize("NFC", text)).strip()
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else "" if text == PLACEHOLDER else text
