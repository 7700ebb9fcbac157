"""IoU lower bound: the worked numbers, the ends of the range, and what is drawn from it."""

import numpy as np
import pytest

from steelyard.reference import SpecError, iou_lower_bound_sampling, iou_range_labels, random_sampling

IOU = [0.0, 0.05, 0.1, 0.0999999999, 0.3, 0.4999999999, 0.5, 0.7, 1.0]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [-1, -1, 1, -1, 1, 1, 0, 0, 0]),
        ({"background_low": 0.0}, [1, 1, 1, 1, 1, 1, 0, 0, 0]),
        ({"foreground_iou": 0.6}, [-1, -1, 1, -1, 1, 1, -1, 0, 0]),
        ({"background_low": 0.5}, [-1, -1, -1, -1, -1, -1, 0, 0, 0]),
    ],
)
def test_worked_labels(options, expected):
    """The lower end belongs to the background, the upper end does not; a gap is ignored."""
    assert iou_range_labels(IOU, [0] * 9, num_classes=1, **options).tolist() == expected


def test_what_is_ignored_stays_ignored():
    """Class -1: whatever the IoU."""
    assert iou_range_labels([0.3, 0.9], [-1, -1], num_classes=1).tolist() == [-1, -1]


def numbers(positives, in_range, far, **options):
    iou = np.repeat([0.8, 0.2, 0.02], [positives, in_range, far])
    keys = np.random.default_rng(0).random(iou.size)
    sample = iou_lower_bound_sampling(iou, np.zeros(iou.size, int), keys, num_classes=1, **options)
    near = sample.negative & (iou >= 0.1)
    return int(sample.positive.sum()), int(near.sum()), int((sample.negative & ~near).sum())


@pytest.mark.parametrize(
    ("counts", "options", "expected"),
    [
        ((40, 200, 1600), {}, (16, 48, 0)),
        ((3, 20, 100), {}, (3, 20, 0)),
        ((3, 200, 100), {}, (3, 61, 0)),
        ((3, 20, 100), {"fill_from_below": True}, (3, 20, 41)),
        ((40, 200, 0), {"num_samples": 30}, (7, 23, 0)),
        ((40, 200, 0), {"num_samples": 30, "rounding": "half_even"}, (8, 22, 0)),
        ((40, 200, 0), {"num_samples": 10, "rounding": "half_even"}, (2, 8, 0)),
        ((0, 0, 50), {}, (0, 0, 0)),
    ],
)
def test_worked_numbers(counts, options, expected):
    """Positives, negatives of the range, and far ones."""
    assert numbers(*counts, **options) == expected


def test_no_bound_is_random_sampling():
    """Background down to 0, with the same keys."""
    random = np.random.default_rng(1)
    iou, keys = random.integers(0, 17, (4, 30)) / 16, random.random((4, 30))
    labels = np.where(iou >= 0.5, 0, 1)
    options = {"num_classes": 1, "num_samples": 12, "positive_fraction": 0.25}

    sample = iou_lower_bound_sampling(iou, np.zeros(iou.shape, int), keys, background_low=0.0, **options)

    expected = random_sampling(labels, keys, **options)
    np.testing.assert_array_equal(sample.positive, expected.positive)
    np.testing.assert_array_equal(sample.negative, expected.negative)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_iou": [0.5, 1.5]}, r"max_iou: expected numbers in \[0, 1\]"),
        ({"max_iou": [0.5, np.nan]}, r"max_iou: expected numbers in \[0, 1\]"),
        ({"classes": [0, 1]}, "classes: expected integers"),
        ({"keys": [0.5, 1.0]}, r"keys: expected numbers in \[0, 1\)"),
        ({"background_low": -0.1}, "background_low: expected a number in"),
        ({"num_samples": 0}, "num_samples: expected an int >= 1"),
        ({"rounding": "up"}, "rounding: expected one of down, half_even"),
    ],
)
def test_errors_name_argument_expectation_and_value(change, message):
    """Each refusal says what was wrong."""
    arguments = {"max_iou": [0.1, 0.2], "classes": [0, 0], "keys": [0.1, 0.2], "num_classes": 1}
    with pytest.raises(SpecError, match=message):
        iou_lower_bound_sampling(**{**arguments, **change})
