"""A-Fast-RCNN's search and dropout against the definition, mpmath and enumeration."""

from itertools import combinations

import mpmath
import numpy as np
import pytest

from steelyard.reference.checks import SpecError
from steelyard.reference.generative.adversarial_dropout import (
    adversarial_dropout_mask,
    adversarial_dropout_probabilities,
    dropout_is_rewarded,
    dropout_mask_loss,
    dropout_mask_loss_grad,
)
from steelyard.reference.generative.hardest_window import (
    dropout_window_masks,
    dropout_window_starts,
    features_without_windows,
    hardest_dropout_window,
    hardest_window_of_linear_score,
)
from steelyard.reference.logistic import sigmoid

mpmath.mp.dps = 50
RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("num_cells", "window", "stride", "starts"),
    [
        (7, 2, 2, [0, 2, 4, 5]),
        (6, 2, 2, [0, 2, 4]),
        (7, 3, 3, [0, 3, 4]),
        (14, 4, 4, [0, 4, 8, 10]),
        (7, 2, 1, [0, 1, 2, 3, 4, 5]),
        (5, 5, 1, [0]),
    ],
)
def test_starts_of_windows(num_cells, window, stride, starts):
    """The last window is moved back into the grid and keeps its size; none comes twice."""
    assert dropout_window_starts(num_cells, window=window, stride=stride).tolist() == starts
    masks = dropout_window_masks(num_cells, window=window, stride=stride)
    assert (masks.sum(axis=(1, 2)) == window**2).all()
    assert len(np.unique(masks, axis=0)) == len(starts) ** 2


def test_worked_search():
    """A sigmoid of the sum: each window's probability by mpmath, the hardest one at the bottom right, rewarded."""
    features = np.arange(16).reshape(1, 1, 4, 4) / 16
    scores = sigmoid(features_without_windows(features).sum(axis=(2, 3, 4)) - 5)
    grid = [[mpmath.mpf(4 * r + c) / 16 for c in range(4)] for r in range(4)]
    total = sum(map(sum, grid))
    expected = [
        1 / (1 + mpmath.exp(5 - (total - sum(grid[r + i][c + j] for i in (0, 1) for j in (0, 1)))))
        for r in (0, 2)
        for c in (0, 2)
    ]

    np.testing.assert_allclose(scores[0], [float(e) for e in expected], rtol=1e-14)
    np.testing.assert_allclose(
        scores[0], [0.867035759802170, 0.798186777739621, 0.468790626626244, 0.348645135333946], rtol=1e-14
    )
    mask = hardest_dropout_window(scores, dropout_window_masks(4), [0], num_classes=20)
    assert np.argwhere(mask[0]).tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]
    before = sigmoid(features.sum() - 5)
    assert before == pytest.approx(0.924141819978757, rel=1e-14)
    assert dropout_is_rewarded([before], [scores.min()], [0], num_classes=20).all()


def test_the_linear_search_is_the_search():
    """The scores of all windows by the definition, and of their sigmoid; foreground only."""
    features = RANDOM.integers(-4, 5, (6, 3, 7, 7)) / 8.0
    weights = RANDOM.integers(-4, 5, (4, 3, 7, 7)) / 8.0
    labels = np.array([0, 3, 1, 4, -1, 2])
    scores = np.einsum("pjchw,pchw->pj", features_without_windows(features), weights[np.clip(labels, 0, 3)])

    mask = hardest_window_of_linear_score(features, weights, labels)

    np.testing.assert_array_equal(mask, hardest_dropout_window(scores, dropout_window_masks(7), labels, num_classes=4))
    np.testing.assert_array_equal(
        mask, hardest_dropout_window(-scores, dropout_window_masks(7), labels, num_classes=4, objective="loss")
    )
    assert mask.sum(axis=(1, 2)).tolist() == [4, 4, 4, 0, 0, 4]


def test_without_features_the_first_window():
    """Zero features: all windows are equal."""
    mask = hardest_window_of_linear_score(np.zeros((1, 2, 7, 7)), np.ones((1, 2, 7, 7)), [0])

    np.testing.assert_array_equal(mask[0], dropout_window_masks(7)[0])


def test_the_search_turns_with_its_input():
    """Flipped features have the flipped window, where the windows are symmetric."""
    features, weights = RANDOM.random((3, 2, 6, 6)), np.ones((1, 2, 6, 6))

    mask = hardest_window_of_linear_score(features, weights, [0, 0, 0])

    flipped = hardest_window_of_linear_score(features[..., ::-1], weights, [0, 0, 0])
    np.testing.assert_array_equal(flipped, mask[..., ::-1])


def test_the_draw_is_uniform_over_the_candidates():
    """Every order of three keys: each pair of the three candidates comes a third of the time."""
    p = np.array([[0.9, 0.1], [0.8, 0.7]])
    orders = np.array([[a, 0.0, b, c] for a in (0.1, 0.2, 0.3) for b in (0.1, 0.2, 0.3) for c in (0.1, 0.2, 0.3)
                       if len({a, b, c}) == 3]).reshape(-1, 2, 2)  # fmt: skip

    drawn = adversarial_dropout_mask(np.broadcast_to(p, orders.shape), [0] * len(orders), orders, num_classes=1,
                                     num_candidates=3, num_dropped=2).reshape(-1, 4)  # fmt: skip

    single, pair = adversarial_dropout_probabilities(p, num_candidates=3, num_dropped=2)
    np.testing.assert_allclose(drawn.mean(axis=0), single)
    np.testing.assert_allclose(drawn.T.astype(float) @ drawn / len(drawn), pair)


def test_law_of_the_published_numbers():
    """15 of the first 20 of 49: 3/4 each, 21/38 a pair, which enumeration of a small case confirms."""
    single, pair = adversarial_dropout_probabilities(np.arange(49).reshape(7, 7) / 49)

    assert single.sum() == pytest.approx(15)
    assert sorted(set(single.tolist())) == [0.0, 0.75]
    assert pair[48, 47] == pytest.approx(0.552631578947368, rel=1e-14)
    subsets = [set(s) for s in combinations(range(5), 3)]
    together = sum({0, 1} <= s for s in subsets) / len(subsets)
    _, small = adversarial_dropout_probabilities([[0.9, 0.9, 0.9], [0.9, 0.9, 0.1], [0.1] * 3], num_candidates=5,
                                                 num_dropped=3)  # fmt: skip
    assert small[0, 1] == pytest.approx(together)


def test_ties_and_small_grids():
    """Of equal probabilities, and of equal keys, the first cell; a grid of fewer cells is blocked as far as it goes."""
    same, zero = np.full((1, 2, 2), 0.5), np.zeros((1, 2, 2))

    mask = adversarial_dropout_mask(same, [0], zero, num_classes=1, num_candidates=3, num_dropped=2)

    assert mask.ravel().tolist() == [True, True, False, False]
    assert adversarial_dropout_mask(same, [0], zero, num_classes=1).all()
    assert not adversarial_dropout_mask(same, [1], zero, num_classes=1).any()
    assert adversarial_dropout_probabilities(same[0])[0].tolist() == [1.0] * 4


def test_a_drop_at_the_margin_is_not_rewarded():
    """Strictly above, and foreground only."""
    rewarded = dropout_is_rewarded([0.5, 0.5, 0.5, 0.5], [0.25, 0.125, 0.0, 0.0], [0, 0, 1, -1], num_classes=1,
                                   margin=0.25)  # fmt: skip

    assert rewarded.tolist() == [False, True, False, False]


def test_worked_loss():
    """The mean binary cross entropy and its gradient against mpmath."""
    f, t = np.array([[[0.0, 2.0], [-1.0, 3.0]]]), np.array([[[0, 1], [0, 1]]])

    def loss(*logits):
        return sum(mpmath.log(1 + mpmath.exp(-x if y else x)) for x, y in zip(logits, t.ravel(), strict=True)) / 4

    assert dropout_mask_loss(f, t, [True]) == pytest.approx(float(loss(*f.ravel().tolist())), rel=1e-15)
    assert dropout_mask_loss(f, t, [True]) == pytest.approx(0.295481057673721, rel=1e-14)
    for i in range(4):
        order = tuple(int(i == j) for j in range(4))
        derivative = mpmath.diff(loss, f.ravel().tolist(), order)
        assert dropout_mask_loss_grad(f, t, [True]).ravel()[i] == pytest.approx(float(derivative), rel=1e-14)


def test_rois_without_reward_count_in_the_normaliser():
    """Half of the RoIs rewarded: half of the loss; without RoIs 0; far logits are exact."""
    f, t = np.zeros((2, 3, 3)), np.ones((2, 3, 3), dtype=int)

    assert dropout_mask_loss(f, t, [True, False]) == pytest.approx(np.log(2) / 2)
    assert not dropout_mask_loss_grad(f, t, [True, False])[1].any()
    assert dropout_mask_loss(np.zeros((0, 7, 7)), np.zeros((0, 7, 7)), []) == 0.0
    assert dropout_mask_loss([[[-800.0]]], [[[1]]], [True]) == 800.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dropout_window_starts(2, window=3), "window: expected an int in"),
        (lambda: dropout_window_starts(2, stride=0), "stride"),
        (lambda: features_without_windows(np.zeros((1, 2, 3))), "features: expected shape"),
        (lambda: features_without_windows(np.full((1, 1, 2, 2), np.nan)), "features: expected finite"),
        (lambda: hardest_dropout_window([[0.1]], np.zeros((0, 2, 2)), [0], num_classes=1), "masks: expected shape"),
        (lambda: hardest_dropout_window([[0.1]], np.zeros((2, 2, 2)), [0], num_classes=1), "scores: expected shape"),
        (lambda: hardest_dropout_window([[0.1]], np.zeros((1, 2, 2)), [2], num_classes=1), "labels"),
        (
            lambda: hardest_dropout_window([[0.1]], np.zeros((1, 2, 2)), [0], num_classes=1, objective="box"),
            "objective: expected one of",
        ),
        (
            lambda: hardest_window_of_linear_score(np.zeros((1, 1, 2, 2)), np.zeros((1, 2, 2, 2)), [0]),
            "weights: expected shape",
        ),
        (lambda: _draw(probabilities=[[0.5]]), "probabilities: expected shape"),
        (lambda: _draw(keys=[[[1.0]]]), "keys: expected numbers"),
        (lambda: _draw(num_dropped=21), "num_dropped: expected an int in"),
        (lambda: dropout_is_rewarded(0.5, 0.5, 0, num_classes=1), "before: expected shape"),
        (lambda: dropout_mask_loss([[[0.0]]], [[[2]]], [True]), "targets"),
        (lambda: dropout_mask_loss([[[0.0, 1.0]]], [[[0, 1]]], [True]), "logits: expected shape"),
    ],
)
def test_bad_input_is_refused(call, message):
    """Each error names the argument."""
    with pytest.raises(SpecError, match=message):
        call()


def _draw(**change):
    call = {"probabilities": [[[0.5]]], "labels": [0], "keys": [[[0.5]]], "num_classes": 1, **change}
    return adversarial_dropout_mask(call.pop("probabilities"), call.pop("labels"), call.pop("keys"), **call)
