"""Parts with ids, placeholders or nothing: no row is out of step without a word, and no healthy part fails."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from id_mixtures import FAULTS, HOLDERS, IDS, RANGES, Mixture, PartOf, outcome, some_mixture

PARTS = st.builds(PartOf, st.sampled_from(HOLDERS), st.sampled_from(IDS), st.sampled_from(RANGES))
MIXTURES = st.builds(
    Mixture,
    st.booleans(),
    st.lists(PARTS, min_size=2, max_size=4).map(tuple),
    st.integers(0, 1),
    st.sampled_from(FAULTS),
    st.sampled_from([1, 2, 5, 20]),
)


def verdict(mixture: Mixture) -> str:
    """What happens with a mixture; fails where the oracle says that something else has to."""
    happened, said = outcome(mixture)
    if happened == "out of step":
        assert mixture.moved() <= said, f"nobody says that {mixture.moved() - said} are out of step"
    if mixture.fault == "none":
        assert (happened == "error") == mixture.is_refused()
        assert happened == "error" or said == mixture.by_number()
    kind = "healthy" if mixture.fault == "none" else "fault"
    return f"{kind}: {happened}, {'said' if said else 'nothing said'}" if happened != "error" else f"{kind}: error"


@given(MIXTURES)
def test_what_happens_is_what_the_oracle_says(mixture: Mixture):
    assert verdict(mixture) != "fault: out of step, nothing said"


@pytest.mark.slow
def test_a_table_of_mixtures():
    source = random.Random(18)
    counted = Counter(verdict(some_mixture(source)) for _ in range(1500))
    print(counted)
    assert counted["fault: error"] > 500 and counted["fault: out of step, said"] > 100
    assert counted["healthy: in step, nothing said"] > 20
    assert "fault: out of step, nothing said" not in counted
