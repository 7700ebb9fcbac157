"""Draws by keys: the probabilities by enumeration of all orders of both keys."""

from itertools import permutations

import numpy as np
import pytest

from steelyard.reference.hard_sampling.keyed_draws import draw_by_groups, probabilities_by_groups, smallest_keys


def enumerated(groups, quota, total):
    """Shares of all orders of the keys and of the second keys, for candidates and pairs."""
    size = len(groups)
    orders = [np.array(order) / size for order in permutations(range(size))]
    counts = np.zeros((size, size))
    for keys in orders:
        for fill_keys in orders:
            drawn = draw_by_groups(groups, keys, fill_keys, quota=quota, total=total).astype(float)
            counts += np.outer(drawn, drawn)
    return counts / len(orders) ** 2


@pytest.mark.parametrize(
    ("groups", "quota", "total"),
    [((0, 0, 0, 1), 1, 3), ((0, 0, 0, 1), 2, 2), ((0, 0, 3, 3, -1), 1, 2), ((0, 0, 0, 1), 1, 1), ((2, 2, 2), 0, 2)],
    ids=["some join", "some dropped", "neither", "one stays", "no quota"],
)
def test_probabilities_by_enumeration(groups, quota, total):
    """Of candidates and of pairs, exactly."""
    groups = np.array(groups)

    single, pair = probabilities_by_groups(groups, quota=quota, total=total)

    exact = enumerated(groups, quota, total)
    np.testing.assert_allclose(pair, exact, atol=1e-12)
    np.testing.assert_allclose(single, np.diag(exact), atol=1e-12)


def test_of_equal_keys_the_first():
    """A stable order; nothing outside the group, and not more than it holds."""
    keys = np.array([0.5, 0.0, 0.5, 0.5])
    group = np.array([True, False, True, True])

    assert smallest_keys(keys, group, 2).tolist() == [True, False, True, False]
    assert smallest_keys(keys, group, 9).tolist() == group.tolist()
