"""Online foreground balanced sampling against rational arithmetic and full enumeration."""

from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import binom

from steelyard.reference import (
    class_count_distribution,
    foreground_balanced_probabilities,
    foreground_balanced_sampling,
)
from steelyard.reference.checks import SpecError


def enumerated(sizes, number):
    """E[d] by all ordered draws, exact: the definition itself."""
    boxes = [c for c, n in enumerate(sizes) for _ in range(n)]
    mass = [Fraction(1, len(sizes) * sizes[c]) for c in boxes]
    expected = [Fraction(0)] * len(sizes)
    for order in permutations(range(len(boxes)), number):
        left, probability = Fraction(1), Fraction(1)
        for i in order:
            probability *= mass[i] / left
            left -= mass[i]
        for i in order:
            expected[boxes[i]] += probability
    return expected


@pytest.mark.parametrize(("sizes", "number"), [((1, 3), 2), ((2, 4), 3), ((4, 2, 1), 3), ((1, 1, 1), 2), ((2, 2), 4)])
def test_the_law_is_that_of_successive_draws(sizes, number):
    """Every ordered draw, enumerated in rational numbers."""
    counts, probability = class_count_distribution(sizes, num_expected=number)

    np.testing.assert_allclose(probability @ counts, [float(e) for e in enumerated(sizes, number)], rtol=1e-14)
    assert probability.sum() == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize(
    ("sizes", "number", "inclusion"),
    [
        ((2, 6), 4, (Fraction(61, 77), Fraction(31, 77))),
        ((5, 2, 1), 3, (Fraction(22579, 94185), Fraction(19514, 37674), Fraction(1602, 2093))),
    ],
)
def test_worked_inclusions(sizes, number, inclusion):
    """Rational values of the dynamic programme, done by hand for the first."""
    labels = np.repeat(np.arange(len(sizes)), sizes)

    single, _ = foreground_balanced_probabilities(labels, num_classes=len(sizes), num_expected=number)

    np.testing.assert_allclose(single, np.repeat([float(p) for p in inclusion], sizes), rtol=1e-14)


@pytest.mark.parametrize(("sizes", "number"), [((9, 4, 2), 5), ((100, 20, 5), 12)])
def test_inclusion_is_the_integral_over_the_clock(sizes, number):
    """Box i is drawn if, when its exponential clock rings, at most n - 1 others have rung: another way to the law."""
    counts, probability = class_count_distribution(sizes, num_expected=number)

    for c, size in enumerate(sizes):

        def integrand(t, c=c, size=size):
            rung = np.ones(1)
            for k, n in enumerate(sizes):
                others = n - (k == c)
                rung = np.convolve(rung, binom.pmf(np.arange(others + 1), others, -np.expm1(-t / n)))
            return np.exp(-t / size) / size * rung[:number].sum()

        integral, _ = quad(integrand, 0, 30 * max(sizes), limit=200, points=[1, max(sizes)])
        assert float(probability @ counts[:, c]) / size == pytest.approx(integral, rel=1e-7)


def test_published_expectations_of_a_skewed_image():
    """90, 8 and 2 boxes, 32 drawn: uniform sampling would expect 28.8, 2.56 and 0.64."""
    counts, probability = class_count_distribution([90, 8, 2], num_expected=32)

    np.testing.assert_allclose(probability @ counts, [22.3473792226077, 7.65266196489405, 1.99995881249820], rtol=1e-14)


def test_keys_give_the_law():
    """The clocks of all keys on a grid: the share of each count vector goes to its probability."""
    points = (np.arange(30) + 0.5) / 30
    keys = np.stack(np.meshgrid(points, points, points, indexing="ij"), axis=-1).reshape(-1, 3)
    labels = np.broadcast_to([0, 1, 1], keys.shape)

    drawn = foreground_balanced_sampling(labels, keys, num_classes=2, num_expected=1)

    assert drawn[:, 0].mean() == pytest.approx(0.5, abs=0.02)


def test_pairs_add_up():
    """Row sums of the pair probabilities are n pi, whatever the classes; only boxes that can be drawn are drawn."""
    labels = [0, 0, 0, 1, 1, 2, 3, -1]

    single, pair = foreground_balanced_probabilities(labels, num_classes=3, num_expected=4)

    assert single.sum() == pytest.approx(4)
    np.testing.assert_allclose(pair.sum(axis=1), 4 * single, atol=1e-14)
    np.testing.assert_array_equal(single[-2:], 0)


def test_classes_are_brought_together_but_never_past_each_other():
    """The smaller class has the larger inclusion and not the larger count; entropy grows."""
    sizes = np.array([20, 5, 1])
    counts, probability = class_count_distribution(sizes, num_expected=8)
    mean = probability @ counts

    assert (np.diff(mean / sizes) > 0).all()
    assert (np.diff(mean) < 0).all()

    def entropy(p):
        return -(p / p.sum() * np.log(p / p.sum())).sum()

    assert entropy(mean) > entropy(sizes)


def test_one_draw_is_uniform_over_classes_and_large_classes_stay_balanced():
    """The law of the first draw is 1/K; with many boxes of each class n/K of each are expected."""
    counts, probability = class_count_distribution([7, 2, 1], num_expected=1)
    np.testing.assert_allclose(probability @ counts, [1 / 3] * 3)

    counts, probability = class_count_distribution([20_000, 10_000], num_expected=4)
    np.testing.assert_allclose(probability @ counts, [2, 2], atol=1e-3)


def test_without_a_choice_there_is_none():
    """No more positives than the quota: all; none at all: none; quota 0: none."""
    labels, keys = [[0, 1, 2, -1], [2, 2, 2, 2]], [[0.9, 0.1, 0.0, 0.0]] * 2

    drawn = foreground_balanced_sampling(labels, keys, num_classes=2, num_expected=2)

    assert drawn.tolist() == [[True, True, False, False], [False] * 4]
    assert not foreground_balanced_sampling(labels, keys, num_classes=2, num_expected=0).any()
    assert class_count_distribution([], num_expected=3)[1].tolist() == [1.0]


def test_of_equal_clocks_the_first():
    """Keys of 0 ring at once, whatever the class."""
    drawn = foreground_balanced_sampling([1, 0, 0, 0], [0.0, 0.0, 0.0, 0.0], num_classes=2, num_expected=2)

    assert drawn.tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keys": [0.5, 1.0]}, r"keys: expected numbers in \[0, 1\)"),
        ({"keys": 0.5, "labels": 0}, "keys: expected shape"),
        ({"labels": [0, 3]}, "labels"),
        ({"labels": [0]}, "labels: expected shape"),
        ({"num_expected": -1}, "num_expected"),
        ({"num_classes": 0}, "num_classes"),
    ],
)
def test_bad_input_is_refused(change, message):
    """Each error names the argument."""
    call = {"labels": [0, 1], "keys": [0.1, 0.2], "num_classes": 2, "num_expected": 1, **change}

    with pytest.raises(SpecError, match=message):
        foreground_balanced_sampling(**call)


def test_bad_shapes_of_the_law_are_refused():
    """One axis."""
    with pytest.raises(SpecError, match="class_sizes: expected shape"):
        class_count_distribution([[1, 2]], num_expected=1)
    with pytest.raises(SpecError, match="labels: expected shape"):
        foreground_balanced_probabilities([[0, 1]], num_classes=2, num_expected=1)
