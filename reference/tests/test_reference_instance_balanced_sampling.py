"""Instance-balanced positives: the worked numbers, sizes, and who is kept."""

import numpy as np
import pytest

from steelyard.reference import SpecError, instance_balanced_positives, instance_balanced_probabilities


def drawn(counts, number, seed=0):
    instances = np.repeat(np.arange(len(counts)), counts)
    keys = np.random.default_rng(seed).random((2, instances.size))
    chosen = instance_balanced_positives(instances, *keys, num_positives=number)
    return np.bincount(instances[chosen], minlength=len(counts))


def test_worked_numbers():
    """round(8 / 3) + 1 = 4 of each object; round(4 / 2) + 1 = 3 of each, and two of the six dropped."""
    assert drawn((20, 3, 1), 8).tolist() == [4, 3, 1]
    assert drawn((5, 5), 4).sum() == 4
    np.testing.assert_allclose(instance_balanced_probabilities([0] * 5 + [1] * 5, num_positives=4)[0], 3 / 5 * 4 / 6)


def test_half_goes_to_even():
    """5 / 2 rounds to 2: three of each of two objects, and one of the six dropped; 7 / 2 rounds to 4."""
    np.testing.assert_allclose(instance_balanced_probabilities([0] * 9 + [1] * 9, num_positives=5)[0], 3 / 9 * 5 / 6)
    np.testing.assert_allclose(instance_balanced_probabilities([0] * 9 + [1] * 9, num_positives=7)[0], 5 / 9 * 7 / 10)


def test_as_many_as_asked_none_twice():
    """Where mmdet 3.3.0 fills up with those that it has drawn already: 20 and 1 positives, ten wanted."""
    for seed in range(50):
        counts = drawn((20, 1), 10, seed)
        assert counts.sum() == 10

    single, _ = instance_balanced_probabilities([0] * 20 + [1], num_positives=10)
    np.testing.assert_allclose(single, [9 / 20] * 20 + [1.0])


def test_all_where_there_are_few():
    """No more positives than wanted: all of them, and nothing else."""
    chosen = instance_balanced_positives([-1, 3, -1, 3, 0], [0.1] * 5, [0.1] * 5, num_positives=3)

    assert chosen.tolist() == [False, True, False, True, True]


def test_names_of_objects_do_not_matter():
    """Only which positives belong together."""
    keys = np.random.default_rng(0).random((2, 9))
    one = instance_balanced_positives([0, 0, 0, 1, 1, 2, 2, 2, -1], *keys, num_positives=4)
    two = instance_balanced_positives([7, 7, 7, 0, 0, 3, 3, 3, -1], *keys, num_positives=4)

    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keys": [0.5, -0.1]}, r"keys: expected numbers in \[0, 1\)"),
        ({"instances": [0]}, r"instances: expected shape \(2,\)"),
        ({"instances": [0, -2]}, "instances: expected integers"),
        ({"num_positives": -1}, "num_positives: expected an int >= 0"),
    ],
)
def test_errors_name_argument_expectation_and_value(change, message):
    """Each refusal says what was wrong."""
    arguments = {"instances": [0, 1], "keys": [0.1, 0.2], "fill_keys": [0.1, 0.2], "num_positives": 1}
    with pytest.raises(SpecError, match=message):
        instance_balanced_positives(**{**arguments, **change})
