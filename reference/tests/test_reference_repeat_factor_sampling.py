"""Repeat-factor sampling against numbers by hand and at 50 digits."""

import mpmath
import numpy as np
import pytest

from steelyard.reference import image_repeat_factors, repeat_counts, repeated_images
from steelyard.reference.checks import SpecError

# six images of class 0, two of 0 and 1, one of all three, one without objects
DATA_SET = [[0, -1, -1]] * 6 + [[0, 1, -1]] * 2 + [[0, 1, 2], [-1, -1, -1]]


def test_worked_data_set():
    """Shares 0.9, 0.3, 0.1 at a threshold of 0.5: 1, sqrt(5/3), sqrt(5); mean and variance of the epoch's length."""
    factors = image_repeat_factors(DATA_SET, num_classes=3, threshold=0.5)

    with mpmath.workdps(50):
        rare, rarest = mpmath.sqrt(mpmath.mpf(5) / 3), mpmath.sqrt(5)
        expected = [1] * 6 + [rare] * 2 + [rarest, 1]
        np.testing.assert_allclose(factors, [float(e) for e in expected], rtol=1e-15)
        assert factors.sum() == pytest.approx(float(7 + 2 * rare + rarest), rel=1e-15)
        assert float(7 + 2 * rare + rarest) == pytest.approx(11.8180568749714, rel=1e-14)
    part = factors - np.floor(factors)
    assert (part * (1 - part)).sum() == pytest.approx(0.592973246580449, rel=1e-13)


@pytest.mark.parametrize(
    ("images", "root", "linear"), [(1, 10.0, 100.0), (50, 2**0.5, 2.0), (100, 1.0, 1.0), (1000, 1.0, 1.0)]
)
def test_lvis_threshold(images, root, linear):
    """A class in 1e-5, 5e-4, 1e-3 and 1e-2 of 100,000 images at the threshold 0.001; half of it gives sqrt 2, not 2."""
    labels = np.full((100_000, 1), -1)
    labels[:images] = 0

    assert image_repeat_factors(labels, num_classes=1)[0] == pytest.approx(root, rel=1e-12)
    assert image_repeat_factors(labels, num_classes=1, square_root=False)[0] == pytest.approx(linear, rel=1e-12)


def test_an_image_counts_once_a_class():
    """Ten objects of a class in one image are one image of that class; the rarest class decides."""
    once = image_repeat_factors([[0, -1], [1, -1], [1, 0]], num_classes=2, threshold=2 / 3)
    often = image_repeat_factors([[0, 0, 0], [1, 1, -1], [1, 0, 0]], num_classes=2, threshold=2 / 3)

    np.testing.assert_array_equal(once, often)


def test_duplicating_the_data_set_changes_no_factor():
    """Shares stay."""
    once = image_repeat_factors(DATA_SET, num_classes=3, threshold=0.5)

    np.testing.assert_array_equal(image_repeat_factors(DATA_SET * 3, num_classes=3, threshold=0.5), np.tile(once, 3))


def test_absent_classes_and_empty_data_sets():
    """No class, no image, no threshold: nothing is repeated, nothing is divided by zero."""
    assert image_repeat_factors(np.zeros((0, 3), int), num_classes=2).shape == (0,)
    assert image_repeat_factors(np.zeros((2, 0), int), num_classes=2).tolist() == [1, 1]
    assert image_repeat_factors([[5], [-1]], num_classes=9, threshold=0.0).tolist() == [1, 1]


def test_counts_are_floor_or_ceiling_with_the_right_mean():
    """Over an even grid of keys the mean count is the factor."""
    keys = (np.arange(1000) + 0.5) / 1000
    for factor in (1.0, 1.29, 2.236, 3.0):
        counts = repeat_counts(np.full(1000, factor), keys)
        assert set(counts.tolist()) <= {int(np.floor(factor)), int(np.ceil(factor))}
        assert counts.mean() == pytest.approx(factor, abs=1e-3)
    assert repeat_counts([1.29, 2.0], [0.99, 0.0], rounding="ceil").tolist() == [2, 2]


def test_the_comparison_is_strict():
    """A whole factor is never exceeded, not even by a key of 0; a key equal to the fraction is not below it."""
    assert repeat_counts([1.0, 3.0, 1.25, 1.25], [0.0, 0.0, 0.25, 0.2499]).tolist() == [1, 3, 1, 2]


def test_an_epoch_has_every_image_as_often_as_it_comes():
    """A permutation of the repeated list; equal keys keep its order."""
    counts = [2, 0, 1, 3]
    order = repeated_images(counts, [0.9, 0.1, 0.5, 0.5, 0.2, 0.7])

    assert order.tolist() == [0, 3, 2, 3, 3, 0]
    assert np.bincount(order).tolist() == counts


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: image_repeat_factors([0, 1], num_classes=2), r"labels: expected shape \(N, M\)"),
        (lambda: image_repeat_factors([[2]], num_classes=2), "labels"),
        (lambda: image_repeat_factors([[0]], num_classes=2, threshold=-1.0), "threshold"),
        (lambda: repeat_counts([0.5], [0.1]), "repeat_factors: expected finite numbers >= 1"),
        (lambda: repeat_counts([np.inf], [0.1]), "repeat_factors: expected finite"),
        (lambda: repeat_counts([[1.0]], [[0.1]]), "repeat_factors: expected shape"),
        (lambda: repeat_counts([1.5], [1.0]), "keys"),
        (lambda: repeat_counts([1.5], [0.5], rounding="nearest"), "rounding: expected one of"),
        (lambda: repeated_images([1, 2], [0.1]), "keys: expected shape"),
        (lambda: repeated_images([[1]], [0.1]), "counts: expected shape"),
        (lambda: repeated_images([-1], []), "counts"),
    ],
)
def test_bad_input_is_refused(call, message):
    """Each error names the argument."""
    with pytest.raises(SpecError, match=message):
        call()
