"""Limiting the search space by objectness: the worked example, thresholds, and RON's numbers."""

from itertools import pairwise, permutations

import numpy as np
import pytest

from steelyard.reference import (
    SpecError,
    hard_negative_mining,
    objectness_filter,
    objectness_filter_scores,
    objectness_prior_sampling,
)

LABELS = [0, 2, 2, 2, 1, 2, 2, 2]
OBJECTNESS = [0.9, 0.01, 0.0099, 0.03, 0.02, 0.5, 0.029, 0.8]


def test_worked_labels():
    """RefineDet drops one negative; RON all that is below 0.03, one positive among it."""
    refined = objectness_filter(LABELS, OBJECTNESS, num_classes=2)
    prior = objectness_filter(LABELS, OBJECTNESS, num_classes=2, threshold=0.03, keep_positives=False)

    assert refined.tolist() == [0, 2, -1, 2, 1, 2, 2, 2]
    assert prior.tolist() == [0, -1, -1, 2, -1, 2, -1, 2]


def test_the_threshold_of_the_paper_as_probability_of_background():
    """1 - 0.99 in float64 is a little above 0.01, so that exactly 0.99 is kept."""
    assert objectness_filter([1], [1.0 - 0.99], num_classes=1).tolist() == [1]


def test_the_larger_the_threshold_the_fewer_are_kept():
    """Kept sets are nested, a threshold of 0 keeps all, and to filter twice is to filter once."""
    random = np.random.default_rng(0)
    labels, objectness = random.integers(-1, 3, 200), random.random(200)
    filtered = [
        objectness_filter(labels, objectness, num_classes=2, threshold=t, keep_positives=False)
        for t in (0.0, 0.1, 0.5, 1.0)
    ]

    np.testing.assert_array_equal(filtered[0], labels)
    for more, fewer in pairwise(filtered):
        assert not ((fewer >= 0) & (more != fewer)).any()
    again = objectness_filter(filtered[2], objectness, num_classes=2, threshold=0.5, keep_positives=False)
    np.testing.assert_array_equal(again, filtered[2])


def test_scores_at_test_time_sum_to_one():
    """Whatever is left out is background for certain."""
    scores = np.array([[0.2, 0.5, 0.3], [0.9, 0.05, 0.05]])

    masked = objectness_filter_scores(scores, [0.0099, 0.01])

    np.testing.assert_array_equal(masked, [[0.0, 0.0, 1.0], [0.9, 0.05, 0.05]])


def test_refinedet_mines_what_is_left():
    """Two positives, so six negatives of the five that are left: the sixth was too easy for the first predictor."""
    labels = objectness_filter(LABELS, OBJECTNESS, num_classes=2)

    sample = hard_negative_mining(np.arange(8.0), labels, num_classes=2)

    assert np.flatnonzero(sample.positive).tolist() == [0, 4]
    assert np.flatnonzero(sample.negative).tolist() == [1, 3, 5, 6, 7]


def test_worked_sample():
    """RON: one positive is left and three negatives, 3 * 1, in whatever order the keys are."""
    for order in list(permutations(range(8)))[::997]:
        sample = objectness_prior_sampling(LABELS, OBJECTNESS, np.array(order) / 8, num_classes=2)

        assert np.flatnonzero(sample.positive).tolist() == [0]
        assert np.flatnonzero(sample.negative).tolist() == [3, 5, 7]


@pytest.mark.parametrize(
    ("positives", "negatives", "options", "expected"),
    [
        (2, 100, {}, (2, 6)),
        (2, 5, {}, (2, 5)),
        (0, 500, {}, (0, 256)),
        (0, 500, {"negatives_without_positives": 0}, (0, 0)),
        (1, 100, {"positive_fraction": 0.4}, (1, 2)),
        (5, 100, {"positive_fraction": 1.0}, (5, 0)),
    ],
)
def test_numbers(positives, negatives, options, expected):
    """Three negatives a positive, a begun one counting; without a positive a number of their own."""
    labels = np.repeat([0, 1], [positives, negatives])
    keys = np.random.default_rng(0).random(labels.size)

    sample = objectness_prior_sampling(labels, np.full(labels.size, 0.5), keys, num_classes=1, **options)

    assert (sample.positive.sum(), sample.negative.sum()) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objectness": [0.5, 1.5]}, r"objectness: expected numbers in \[0, 1\]"),
        ({"objectness": [0.5, np.nan]}, r"objectness: expected numbers in \[0, 1\]"),
        ({"labels": [0, 2]}, "labels: expected integers"),
        ({"keys": [0.5, 1.0]}, r"keys: expected numbers in \[0, 1\)"),
        ({"threshold": 2.0}, "threshold: expected a number in"),
        ({"positive_fraction": 0.0}, r"positive_fraction: expected a number in \(0, 1\]"),
        ({"negatives_without_positives": -1}, "negatives_without_positives: expected an int >= 0"),
    ],
)
def test_errors_name_argument_expectation_and_value(change, message):
    """Each refusal says what was wrong."""
    arguments = {"labels": [0, 1], "objectness": [0.1, 0.2], "keys": [0.1, 0.2], "num_classes": 1}
    with pytest.raises(SpecError, match=message):
        objectness_prior_sampling(**{**arguments, **change})


def test_scores_need_a_class_axis():
    """The background is the last of at least one."""
    with pytest.raises(SpecError, match="scores: expected shape"):
        objectness_filter_scores(0.5, 0.5)
