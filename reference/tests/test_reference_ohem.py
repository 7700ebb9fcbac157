"""Online hard example mining: the dossier's example, laws of the selected set, gradients, errors."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.reference import (
    SpecError,
    online_hard_example_loss,
    online_hard_example_loss_grad_classification_losses,
    online_hard_example_loss_grad_regression_losses,
    online_hard_example_mining,
    pairwise_iou,
    stratified_hard_example_mining,
)

BOXES = np.array([
    (0, 0, 10, 10), (0, 0, 10, 9), (1, 0, 11, 10), (20, 20, 30, 30), (20, 20, 30, 28), (50, 50, 60, 60), (0, 0, 9, 10),
])  # fmt: skip
LOSSES = np.array([2.0, 2.5, 0.4, 1.2, 1.1, 0.05, 1.9])
LABELS = np.array([0, 0, 0, 1, 1, 1, 1])
NOTHING = np.zeros(7)


@pytest.mark.parametrize(
    ("options", "selected", "loss"),
    [
        ({"labels_apart": False}, [1, 3, 5], Fraction(375, 300)),
        ({"labels_apart": True}, [1, 3, 6], Fraction(560, 300)),
        ({"iou_threshold": None}, [0, 1, 6], Fraction(640, 300)),
    ],
)
def test_worked_numbers(options, selected, loss):
    """Suppression over all RoIs, among those of a label, and none."""
    arguments = (BOXES, LABELS, LOSSES, NOTHING)
    options = {"num_classes": 1, "num_samples": 3, **options}

    assert np.flatnonzero(online_hard_example_mining(*arguments, **options)).tolist() == selected
    assert online_hard_example_loss(*arguments, **options) == pytest.approx(float(loss), rel=1e-15)


@pytest.mark.parametrize(("share", "positives", "negatives"), [(0.5, [0, 1], [3, 6]), (0.25, [1], [3, 4, 6])])
def test_worked_numbers_of_the_stratified_variant(share, positives, negatives):
    """Quota of 2 and of 1 of four samples."""
    sample = stratified_hard_example_mining(LOSSES, LABELS, num_classes=1, num_samples=4, positive_fraction=share)

    assert np.flatnonzero(sample.positive).tolist() == positives
    assert np.flatnonzero(sample.negative).tolist() == negatives


def test_the_regression_loss_counts_for_foreground_only():
    """A background RoI gains nothing by it, in rank or in value; it may be NaN there."""
    boxes = BOXES[[0, 3, 5]]

    selected = online_hard_example_mining(
        boxes, [0, 1, 1], [1.0, 1.5, 1.4], [0.6, np.nan, 9.0], num_classes=1, num_samples=2
    )
    loss = online_hard_example_loss(boxes, [0, 1, 1], [1.0, 1.5, 1.4], [0.6, np.nan, 9.0], num_classes=1, num_samples=2)

    assert selected.tolist() == [True, True, False]
    assert loss == pytest.approx((1.6 + 1.5) / 2)


corners = st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(1, 6)] * 2).map(
    lambda t: (t[0], t[1], t[0] + t[2], t[1] + t[3])
)
rois = st.lists(st.tuples(corners, st.integers(-1, 2), st.integers(0, 8)), min_size=1, max_size=10)


@given(rois=rois, number=st.integers(1, 6), threshold=st.sampled_from([0.0, 0.5, 0.7, 1.0]), apart=st.booleans())
def test_laws_of_the_selected_set(rois, number, threshold, apart):
    """Survivors only, the hardest of them, and each suppressed RoI lies on one that is at least as hard."""
    boxes, labels = np.array([r[0] for r in rois]), np.array([r[1] for r in rois])
    losses = np.array([r[2] / 4 for r in rois])
    options = {"num_classes": 2, "iou_threshold": threshold, "labels_apart": apart}
    arguments = (boxes, labels, losses, np.zeros(len(rois)))

    survivors = online_hard_example_mining(*arguments, num_samples=len(rois), **options)
    selected = online_hard_example_mining(*arguments, num_samples=number, **options)

    rivals = (pairwise_iou(boxes, boxes) > threshold) & (labels[:, None] == labels if apart else True)
    assert not selected[labels == -1].any()
    assert not (selected & ~survivors).any()
    assert selected.sum() == min(number, survivors.sum())
    assert not (rivals & survivors & survivors[:, None])[~np.eye(len(rois), dtype=bool)].any()
    for i in np.flatnonzero(~survivors & (labels != -1)):
        assert (losses[rivals[i] & survivors] >= losses[i]).any()
    assert losses[selected].min(initial=np.inf) >= losses[survivors & ~selected].max(initial=-np.inf)


def test_without_suppression_and_with_room_for_all_it_is_the_mean():
    """The reduction to no mining."""
    loss = online_hard_example_loss(BOXES, LABELS, LOSSES, NOTHING, num_classes=1, num_samples=9, iou_threshold=None)

    assert loss == pytest.approx(LOSSES.mean(), rel=1e-15)


def test_gradient_is_one_over_the_number_of_selected():
    """By differences, which are exact for a mean: 0 outside, and by the regression loss for foreground only."""
    regression = np.array([0.5, 0.25, 0.0, 0.125, 0.0, 0.0, 0.0])
    arguments, options = (BOXES, LABELS, LOSSES, regression), {"num_classes": 1, "num_samples": 3}
    base = online_hard_example_loss(*arguments, **options)

    for place, derivative in ((2, online_hard_example_loss_grad_classification_losses),
                              (3, online_hard_example_loss_grad_regression_losses)):  # fmt: skip
        gradient = derivative(*arguments, **options)
        for i in range(7):
            moved = [array.copy() for array in arguments]
            moved[place][i] += 1 / 64
            assert gradient[i] == pytest.approx(64 * (online_hard_example_loss(*moved, **options) - base), abs=1e-12)


def test_the_sample_is_that_of_each_image_and_the_mean_that_of_the_batch():
    """Two images with one and two candidates: each gives what it has."""
    boxes, losses = np.stack([BOXES[[0, 3]]] * 2), np.array([[1.0, 2.0], [5.0, 4.0]])
    labels = np.array([[0, -1], [0, 1]])

    selected = online_hard_example_mining(boxes, labels, losses, np.zeros((2, 2)), num_classes=1, num_samples=1)
    loss = online_hard_example_loss(boxes, labels, losses, np.zeros((2, 2)), num_classes=1, num_samples=2)

    assert selected.tolist() == [[True, False], [True, False]]
    assert loss == pytest.approx((1 + 5 + 4) / 3)


def test_nothing_to_learn_from():
    """Without RoIs, or with ignored ones only, nothing is selected and the loss is 0."""
    empty = online_hard_example_loss(np.zeros((0, 4)), np.zeros(0, dtype=int), [], [], num_classes=1)
    ignored = online_hard_example_loss(BOXES[:1], [-1], [np.nan], [np.nan], num_classes=1)

    assert empty == ignored == 0.0


def test_infinite_losses_rank_first_and_equal_ones_by_index():
    """The rulings on ranks."""
    losses = [1.0, 1.0, np.inf, 1.0]

    selected = online_hard_example_mining(
        BOXES[[0, 3, 5, 3]], [0] * 4, losses, [0.0] * 4, num_classes=1, num_samples=2, iou_threshold=None
    )

    assert selected.tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"labels": [0]}, {}, r"labels: expected shape \(7,\)"),
        ({"boxes": np.zeros(4)}, {}, r"boxes: expected shape \(\.\.\., R, 4\)"),
        ({"classification_losses": [np.nan] * 7}, {}, "losses: expected numbers"),
        ({}, {"num_samples": 0}, "num_samples: expected an int >= 1"),
        ({}, {"iou_threshold": 1.5}, "iou_threshold: expected a number in"),
    ],
)
def test_errors_name_argument_expectation_and_value(change, options, message):
    """Each refusal says what was wrong."""
    arguments = {"boxes": BOXES, "labels": LABELS, "classification_losses": LOSSES, "regression_losses": NOTHING}

    with pytest.raises(SpecError, match=message):
        online_hard_example_mining(**{**arguments, **change}, num_classes=1, **options)


@pytest.mark.parametrize(
    ("losses", "labels", "message"),
    [([np.nan], [0], "got NaN"), (1.0, 0, r"losses: expected shape \(\.\.\., N\)"), ([1.0], [0, 1], "labels")],
)
def test_errors_of_the_stratified_variant(losses, labels, message):
    """Each refusal says what was wrong."""
    with pytest.raises(SpecError, match=message):
        stratified_hard_example_mining(losses, labels, num_classes=1)
