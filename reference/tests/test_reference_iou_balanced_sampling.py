"""IoU-balanced negatives: the worked numbers, the edges of the bins, the floor, and their laws."""

from fractions import Fraction

import numpy as np
import pytest

from steelyard.reference import SpecError, iou_balanced_negatives, iou_balanced_probabilities


def spread(sizes, upper=0.9):
    """IoUs in the middle of equal bins on [0, upper]."""
    width = upper / len(sizes)
    return np.concatenate([np.full(size, (k + 0.5) * width) for k, size in enumerate(sizes)])


def drawn(iou, number, seed=0, labels=None, **options):
    random = np.random.default_rng(seed)
    iou = np.asarray(iou, dtype=float)
    labels = np.full(iou.shape, 1) if labels is None else labels
    return iou_balanced_negatives(labels, iou, number, *random.random((2, *iou.shape)), num_classes=1, **options)


@pytest.mark.parametrize(
    ("sizes", "number", "expected"),
    [
        ((100, 20, 4), 30, (Fraction(77, 500), Fraction(53, 100), Fraction(1))),
        ((10, 10, 10), 9, (Fraction(3, 10),) * 3),
        ((90, 5, 5), 31, (Fraction(7, 30), Fraction(1), Fraction(1))),
        ((1000, 50, 0), 128, (Fraction(20681, 241500), Fraction(10231, 12075), None)),
        ((1900, 80, 20), 384, (Fraction(71, 475), Fraction(1), Fraction(1))),
        ((87, 13, 0), 30, (Fraction(157, 696), Fraction(83, 104), None)),
    ],
)
def test_worked_probabilities(sizes, number, expected):
    """Bins of these sizes; in exact fractions."""
    iou = spread(sizes)
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])

    single, _ = iou_balanced_probabilities(np.ones(iou.size, int), iou, number, num_classes=1, upper=0.9)

    for place, probability in zip(first, expected, strict=True):
        if probability is not None:
            assert single[place] == pytest.approx(float(probability), abs=1e-14)
    assert single.sum() == pytest.approx(number)


@pytest.mark.parametrize(("top", "upper", "sizes"), [(1.0, "all", (10, 5, 0)), (1.0, "negatives", (7, 3, 5)),
                                                     (1.0, 0.5, (7, 3, 5))])  # fmt: skip
def test_where_the_bins_end(top, upper, sizes):
    """The largest IoU of all, of the negatives (which is in the last bin), or half: three of each, or all there are."""
    iou = np.array([0, 0, 0, 0.02, 0.05, 0.08, 0.12, 0.2, 0.28, 0.31, 0.36, 0.42, 0.44, 0.47, 0.49, top])
    labels = np.array([1] * 15 + [0])

    single, _ = iou_balanced_probabilities(labels, iou, 9, num_classes=1, upper=upper)

    if sizes[-1]:
        first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        np.testing.assert_allclose(single[first], 3 / np.array(sizes))
    else:
        left = sum(sizes) - 6  # three are drawn from what the two others leave
        np.testing.assert_allclose(single[[0, 10]], [3 / m + (1 - 3 / m) * 3 / left for m in sizes[:2]])


def test_the_negative_of_the_largest_iou_is_in_the_last_bin():
    """Alone there: it is always drawn, as the one of the bin before it is."""
    single, _ = iou_balanced_probabilities([1] * 4, [0.0, 0.0, 0.15, 0.3], 3, num_classes=1)

    np.testing.assert_allclose(single, [0.5, 0.5, 1.0, 1.0])


def test_a_zero_is_drawn_like_any_other_of_its_bin():
    """Without a floor; in mmdet only until the first call is over."""
    iou = np.array([0.0] * 60 + [0.1] * 27 + [0.4] * 13)

    single, _ = iou_balanced_probabilities(np.ones(100, int), iou, 30, num_classes=1, upper=0.9)

    assert single[0] == single[60]
    assert single[:60].sum() == pytest.approx(13.5344827586207)


@pytest.mark.parametrize(
    ("floor", "fraction", "number", "below"),
    [(0.0, 0.5, 6, 3), (0.0, 0.0, 6, 0), (0.2, 0.5, 6, 3), (0.0, 1.0, 6, 5), (0.0, 0.5, 14, 5), (None, 0.5, 6, None)],
)
def test_the_floor(floor, fraction, number, below):
    """Five zeros and ten others: a share from below, and what one side lacks the other gives."""
    iou = np.array([0.0] * 5 + [0.25] * 5 + [0.45] * 5)

    chosen = drawn(iou, number, floor_iou=floor, floor_fraction=fraction)

    assert chosen.sum() == number
    if below is not None:
        assert chosen[:5].sum() == below


def test_sizes_whatever_the_input():
    """min(n, M) negatives, never anything else."""
    random = np.random.default_rng(5)
    for seed in range(200):
        size = int(random.integers(0, 20))
        labels, number = random.integers(-1, 2, size), int(random.integers(0, 15))
        iou = np.where(labels == 0, 0.7, random.integers(0, 8, size) / 16)
        floor = [None, 0.0, 0.2][seed % 3]
        chosen = drawn(iou, number, seed, labels, num_bins=1 + seed % 5, floor_iou=floor, floor_fraction=0.3)

        assert chosen.sum() == min(number, (labels == 1).sum())
        assert (labels[chosen] == 1).all()


def test_one_bin_is_random_sampling():
    """Then every negative has the same probability."""
    single, pair = iou_balanced_probabilities([1] * 6, np.arange(6) / 10, 4, num_classes=1, num_bins=1)

    np.testing.assert_allclose(single, 4 / 6)
    np.testing.assert_allclose(pair[0, 1:], 4 * 3 / (6 * 5))


def test_an_image_without_objects():
    """All IoUs are 0 and so is the upper edge; every negative has the same probability."""
    single, _ = iou_balanced_probabilities([1] * 6, np.zeros(6), 4, num_classes=1)

    np.testing.assert_allclose(single, 4 / 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keys": [0.5, 1.0]}, r"keys: expected numbers in \[0, 1\)"),
        ({"fill_keys": [0.5]}, r"fill_keys: expected shape \(2,\)"),
        ({"max_iou": [0.5, np.nan]}, "max_iou: expected numbers in"),
        ({"max_iou": [0.5, -0.1]}, "max_iou: expected numbers in"),
        ({"num_negatives": [1]}, r"num_negatives: expected shape \(\)"),
        ({"num_negatives": -1}, "num_negatives: expected integers"),
        ({"num_bins": 0}, "num_bins: expected an int >= 1"),
        ({"floor_iou": 1.0}, "floor_iou: expected None or a number in"),
        ({"floor_iou": 0.5, "upper": 0.5}, "upper: expected all, negatives"),
        ({"upper": "positives"}, "upper: expected one of all, negatives"),
    ],
)
def test_errors_name_argument_expectation_and_value(change, message):
    """Each refusal says what was wrong."""
    arguments = {"labels": [1, 1], "max_iou": [0.1, 0.2], "num_negatives": 1, "keys": [0.1, 0.2],
                 "fill_keys": [0.1, 0.2], "num_classes": 1}  # fmt: skip
    with pytest.raises(SpecError, match=message):
        iou_balanced_negatives(**{**arguments, **change})
