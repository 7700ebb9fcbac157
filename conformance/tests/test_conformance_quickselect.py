"""A quickselect takes the largest losses, and of equal ones those that its swaps leave in front."""

import numpy as np
import pytest

from steelyard.conformance.hard_sampling.quickselect import quickselected


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("distinct", [1, 2, 8, 10_000])
def test_it_takes_the_largest_of_a_group(seed, distinct):
    """As many as asked for, none that is not of the group, and none left out that is larger."""
    random = np.random.default_rng(seed)
    size = int(random.integers(1, 60))
    losses, group = random.integers(0, distinct, size).astype(np.float64), random.random(size) < 0.8
    number = int(random.integers(0, size + 1))

    chosen = quickselected(group, losses, number)

    assert chosen.sum() == min(number, group.sum())
    assert not (chosen & ~group).any()
    assert losses[chosen].min(initial=np.inf) >= losses[group & ~chosen].max(initial=-np.inf)


def test_of_equal_losses_it_takes_what_its_swaps_leave_in_front():
    """Of four the third goes to the front as the median of three, then second and fourth change places: 2 3 0 1."""
    everyone = np.ones(4, bool)

    assert quickselected(everyone, np.zeros(4), 2).tolist() == [False, False, True, True]
    assert quickselected(everyone, np.zeros(4), 3).tolist() == [True, False, True, True]


def test_one_in_64_is_no_quickselect():
    """The first of equal losses, where a part would be sorted."""
    assert np.flatnonzero(quickselected(np.ones(128, bool), np.zeros(128), 2)).tolist() == [0, 1]
    assert np.flatnonzero(quickselected(np.ones(127, bool), np.zeros(127), 2)).tolist() != [0, 1]
