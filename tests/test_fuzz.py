"""Random specialisations of the fast engine (tests/fuzz.py); tiles; what the draws reach."""

from __future__ import annotations

import numpy as np
import pytest

from snncc.network_text import network_text
from tests.fuzz import attempt
from tests.specialisations import specialisation
from tests.spike_data import data_set


@pytest.mark.parametrize("index", range(40))
def test_fast_engine_is_the_reference(index: int) -> None:
    outcome = attempt(2, index, range(12))
    assert not outcome.fault, outcome.fault
    assert outcome.data_sets == 12


@pytest.mark.slow
@pytest.mark.parametrize("index", range(200))
def test_fast_engine_is_the_reference_thoroughly(index: int) -> None:
    outcome = attempt(3, index, range(50))
    assert not outcome.fault, outcome.fault


def test_same_seed_same_specialisation() -> None:
    one, two = (specialisation(5, 3) for _ in range(2))
    assert network_text(one.network) == network_text(two.network) != network_text(specialisation(5, 4).network)
    for a, b in zip(one.network.projections, two.network.projections, strict=True):
        np.testing.assert_array_equal(a.synapse.weight, b.synapse.weight)
    values = [data_set(made, 2)[0] for made in (one, two)]
    assert all(np.array_equal(values[0][name], values[1][name]) for name in values[0])
