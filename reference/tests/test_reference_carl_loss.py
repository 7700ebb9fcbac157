"""CARL against mpmath at 50 digits, its derivatives, and the paper's laws."""

from itertools import product

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.reference.checks import SpecError
from steelyard.reference.soft_sampling.carl_loss import (
    ACTIVATIONS,
    classification_aware_regression_loss,
    classification_aware_regression_loss_grad_logits,
    classification_aware_regression_loss_grad_regression_losses,
    classification_aware_regression_weights,
)

mp.mp.dps = 50
SCORES = [0.9, 0.5, 0.1]
LOSSES = [0.1, 0.4, 1.0]
EXACT = {"rtol": 4e-15, "atol": 1e-16}

logits_of_4_by_3 = st.lists(st.lists(st.floats(-9, 9), min_size=3, max_size=3), min_size=4, max_size=4)
labels_of_4 = st.lists(st.sampled_from([0, 0, 1, 2, -1]), min_size=4, max_size=4)
losses_of_4 = st.lists(st.floats(0, 3), min_size=4, max_size=4)
activations = st.sampled_from(ACTIVATIONS)
exponents, biases = st.floats(0, 3), st.floats(0, 1)


def _logits(scores):
    """Sigmoid logits in one channel."""
    return [[float(mp.log(mp.mpf(p) / (1 - mp.mpf(p))))] for p in scores]


def _score(row, label, activation):
    row = [mp.mpf(z) for z in row]
    if activation == "sigmoid":
        return 1 / (1 + mp.exp(-row[label]))
    return mp.exp(row[label]) / mp.fsum(mp.exp(z) for z in row)


def _loss(scores, losses, k, b, a):
    """The formula of the paper on scores of the true class."""
    v = [((1 - mp.mpf(b)) * p + mp.mpf(b)) ** mp.mpf(k) for p in scores]
    return mp.fsum(v_i * loss for v_i, loss in zip(v, losses, strict=True)) * len(v) / mp.fsum(v) / mp.mpf(a)


def _number_of_classes(activation):
    return 2 if activation == "softmax" else 3


def _is_positive(labels, activation):
    labels = np.asarray(labels)
    return (labels >= 0) & (labels < _number_of_classes(activation))


@pytest.mark.parametrize(
    ("k", "shares", "loss", "by_score"),
    [
        (1, [1.53333333333333333, 1.0, 0.466666666666666667], 1.02, [-0.32, 0.08, 0.88]),
        (
            2,
            [1.9763387297633873, 0.840597758405977584, 0.183063511830635118],
            0.716936488169364882,
            [-0.477685640243855157, 0.360944093522267834, 0.796086903253521585],
        ),
    ],
)
def test_worked_numbers(k, shares, loss, by_score):
    """Three sigmoid scores, A = 1; the derivative by the score is that by the logit over p (1 - p)."""
    logits, labels, options = _logits(SCORES), [0, 0, 0], {"activation": "sigmoid", "k": k, "b": 0.2}
    scores = [_score(row, 0, "sigmoid") for row in logits]
    expected = _loss(scores, LOSSES, k, 0.2, 1)
    expected_by_logit = [
        float(mp.diff(lambda p, i=i: _loss([*scores[:i], p, *scores[i + 1 :]], LOSSES, k, 0.2, 1), p) * p * (1 - p))
        for i, p in enumerate(scores)
    ]

    c = classification_aware_regression_weights(logits, labels, **options)
    actual = classification_aware_regression_loss(logits, labels, LOSSES, avg_factor=1.0, **options)
    by_logit = classification_aware_regression_loss_grad_logits(logits, labels, LOSSES, avg_factor=1.0, **options)

    np.testing.assert_allclose(c, shares, **EXACT)
    np.testing.assert_allclose(actual, [float(expected)], **EXACT)
    np.testing.assert_allclose(actual, loss, **EXACT)
    np.testing.assert_allclose(by_logit[:, 0], expected_by_logit, **EXACT)
    np.testing.assert_allclose(
        by_logit[:, 0], [d * p * (1 - p) for d, p in zip(by_score, SCORES, strict=True)], **EXACT
    )


def test_worked_gradient_of_logits():
    """As printed for k = 1."""
    gradient = classification_aware_regression_loss_grad_logits(
        _logits(SCORES), [0, 0, 0], LOSSES, activation="sigmoid", avg_factor=1.0
    )

    np.testing.assert_allclose(gradient[:, 0], [-0.0288, 0.02, 0.0792], **EXACT)


@given(logits=logits_of_4_by_3, labels=labels_of_4, losses=losses_of_4, activation=activations, k=exponents, b=biases)
def test_loss_and_both_gradients(logits, labels, losses, activation, k, b):
    """mpmath's formula and its numerical derivative, also through the normaliser."""
    positive = _is_positive(labels, activation)
    samples = max(1, sum(label != -1 for label in labels))
    options = {"activation": activation, "k": k, "b": b}

    def of(logits, losses):
        index = np.flatnonzero(positive)
        scores = [_score(logits[i], labels[i], activation) for i in index]
        return _loss(scores, [losses[i] for i in index], k, b, samples) if len(index) else mp.mpf(0)

    def with_logit(i, j, x):
        return [[x if (r, c) == (i, j) else logits[r][c] for c in range(3)] for r in range(4)]

    loss = classification_aware_regression_loss(logits, labels, losses, **options)
    by_logit = classification_aware_regression_loss_grad_logits(logits, labels, losses, **options)
    by_loss = classification_aware_regression_loss_grad_regression_losses(logits, labels, losses, **options)

    np.testing.assert_allclose(loss, float(of(logits, losses)), rtol=1e-13, atol=1e-300)
    expected = [
        [float(mp.diff(lambda x, i=i, j=j: of(with_logit(i, j, x), losses), logits[i][j])) for j in range(3)]
        for i in range(4)
    ]
    np.testing.assert_allclose(by_logit, expected, rtol=1e-11, atol=1e-14)
    unit = [float(of(logits, [float(i == j) for j in range(4)])) for i in range(4)]
    np.testing.assert_allclose(by_loss, unit, rtol=1e-13, atol=1e-300)


@given(logits=logits_of_4_by_3, labels=labels_of_4, activation=activations, k=exponents, b=st.floats(0.01, 1))
def test_shares_sum_to_the_positives_and_are_bounded(logits, labels, activation, k, b):
    """Sum n, ratio of any two at most b^-k; 0 where not positive."""
    positive = _is_positive(labels, activation)

    c = classification_aware_regression_weights(logits, labels, activation=activation, k=k, b=b)

    np.testing.assert_allclose(c.sum(), positive.sum(), rtol=1e-14)
    assert (c[~positive] == 0).all()
    if positive.any():
        assert c[positive].max() <= c[positive].min() * b**-k * (1 + 1e-12)


@given(logits=logits_of_4_by_3, labels=labels_of_4, losses=losses_of_4, activation=activations, k=exponents, b=biases)
def test_normaliser_takes_a_degree_of_freedom(logits, labels, losses, activation, k, b):
    """Scaling all v alike changes nothing: the derivatives by log v, c (l - mean) / A, sum to 0."""
    c = classification_aware_regression_weights(logits, labels, activation=activation, k=k, b=b)
    gradient = classification_aware_regression_loss_grad_regression_losses(
        logits, labels, losses, activation=activation, k=k, b=b, avg_factor=1.0
    )

    mean = (gradient * losses).sum() / max(1, (c > 0).sum())
    np.testing.assert_allclose((c * (np.array(losses) - mean)).sum(), 0.0, atol=1e-12)
    np.testing.assert_allclose(gradient, c, rtol=1e-14)


@given(losses=losses_of_4, score=st.floats(0.01, 0.99), k=exponents, b=biases)
def test_equal_scores_are_the_plain_regression_loss(losses, score, k, b):
    """c = 1."""
    loss = classification_aware_regression_loss(
        _logits([score] * 4), [0] * 4, losses, activation="sigmoid", k=k, b=b, avg_factor=2.0
    )

    np.testing.assert_allclose(loss, sum(losses) / 2, rtol=1e-14)


@given(logits=logits_of_4_by_3, losses=losses_of_4, activation=activations, k=exponents, b=biases)
def test_better_than_the_mean_goes_up(logits, losses, activation, k, b):
    """The score of the best located sample is never pushed down, that of the worst never up."""
    labels = [0, 1, 0, 1]

    gradient = classification_aware_regression_loss_grad_logits(logits, labels, losses, activation=activation, k=k, b=b)

    of_true_class = gradient[range(4), labels]
    assert of_true_class[np.argmin(losses)] <= 1e-15
    assert of_true_class[np.argmax(losses)] >= -1e-15


def test_true_class_not_the_highest():
    """A sample that is sure of the wrong class has a low score."""
    c = classification_aware_regression_weights([[9.0, 0.0, 0.0], [0.0, 0.0, 0.0]], [1, 1])

    assert c[0] < c[1]


def test_exponent_zero_and_bias_one_are_plain():
    """c = 1, no gradient into the scores."""
    for options in ({"k": 0.0}, {"b": 1.0}, {"k": 0.0, "b": 0.0}):
        c = classification_aware_regression_weights([[3.0, -2.0], [0.0, 1.0]], [0, 0], **options)
        gradient = classification_aware_regression_loss_grad_logits(
            [[3.0, -2.0], [0.0, 1.0]], [0, 0], [1.0, 2.0], **options
        )
        assert c.tolist() == [1.0, 1.0]
        assert (gradient == 0).all()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_scores_below_the_smallest_float(activation):
    """With b = 0 and p = e^-1000, e^-1001 the shares are as 1 to 1/e, and a step of the logit moves them."""
    logits = [[-1000.0, 0.0], [-1001.0, 0.0]]

    c = classification_aware_regression_weights(logits, [0, 0], activation=activation, b=0.0)
    gradient = classification_aware_regression_loss_grad_logits(
        logits, [0, 0], [0.0, 1.0], activation=activation, b=0.0, avg_factor=1.0
    )

    first = 1 / (1 + mp.exp(-1))
    np.testing.assert_allclose(c, [float(2 * first), float(2 - 2 * first)], rtol=1e-13)
    slope = float(2 * first * (1 - first))
    np.testing.assert_allclose(gradient[:, 0], [-slope, slope], rtol=1e-13)
    assert classification_aware_regression_weights([[-1e308, 1e308]] * 2, [0, 0], k=2.0, b=0.0).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("activation", "sign"), list(product(ACTIVATIONS, [1, -1])))
def test_saturated_scores(activation, sign):
    """p = 1 or 0 up to the range of float64: shares 1 and 1 for two alike, gradients 0, nothing infinite."""
    logits = [[sign * 1e308, -sign * 1e308]] * 2

    loss = classification_aware_regression_loss(logits, [0, 0], [1.0, 2.0], activation=activation, avg_factor=1.0)
    gradient = classification_aware_regression_loss_grad_logits(logits, [0, 0], [1.0, 2.0], activation=activation)

    assert loss == 3.0
    assert (gradient == 0).all()


def test_logits_further_apart_than_float64_holds():
    """Scores 0, 1 and 1/2 with b = 0: shares in proportion, no NaN in the gradient, which a score of 0 has none of."""
    end = np.finfo(np.float64).max
    logits, labels = [[end, -end, 0.0], [-end, end, 0.0], [0.0, 0.0, -end]], [1, 1, 1]
    case = logits, labels, [1.0, 2.0, 5.0]

    assert classification_aware_regression_weights(logits, labels, b=0.0).tolist() == [0.0, 2.0, 1.0]
    assert classification_aware_regression_loss(*case, b=0.0) == 3.0
    # 1 / 3 of the distance 2 from the mean 3, times -1/2 and 1/2
    expected = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [-1 / 3, 1 / 3, 0.0]]
    np.testing.assert_allclose(classification_aware_regression_loss_grad_logits(*case, b=0.0), expected, **EXACT)


def test_average_factor():
    """All samples but the ignored ones, or the given number."""
    logits, labels, losses = [[0.0]] * 4, [0, 0, 1, -1], [1.0, 2.0, np.nan, np.inf]

    assert classification_aware_regression_loss(logits, labels, losses, activation="sigmoid") == 1.0
    assert classification_aware_regression_loss(logits, labels, losses, activation="sigmoid", avg_factor=2) == 1.5


def test_no_positive_is_zero():
    """Background, ignored samples or none at all; whatever their logits and losses."""
    for labels in ([1, -1], [-1, -1], []):
        logits, losses = np.full((len(labels), 2), np.nan), np.full((len(labels), 4), np.nan)
        assert classification_aware_regression_loss(logits, labels, losses) == 0.0
        assert (classification_aware_regression_loss_grad_logits(logits, labels, losses) == 0).all()
        by_losses = classification_aware_regression_loss_grad_regression_losses(logits, labels, losses)
        assert by_losses.shape == losses.shape
        assert (by_losses == 0).all()


def test_coordinates_are_summed():
    """Four losses a sample, each with the derivative of their sum."""
    logits, labels = np.random.default_rng(0).normal(size=(2, 3, 4)), [[0, 1, 3], [2, -1, 1]]
    coordinates = np.random.default_rng(1).random((2, 3, 4))

    actual = classification_aware_regression_loss(logits, labels, coordinates)
    gradient = classification_aware_regression_loss_grad_regression_losses(logits, labels, coordinates)

    expected = classification_aware_regression_loss(logits, labels, coordinates.sum(axis=-1))
    assert actual == pytest.approx(expected, rel=1e-14)
    assert gradient.shape == (2, 3, 4)
    shares = classification_aware_regression_weights(logits, labels)
    np.testing.assert_allclose(gradient, np.repeat(shares[..., None] / 5, 4, axis=-1), rtol=1e-14)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": [[1.0], [1.0]]}, "logits: expected shape"),
        ({"logits": [[np.nan, 0.0]] * 2}, "logits of positives: expected finite numbers"),
        ({"labels": [0, 2]}, "labels: expected integers in"),
        ({"labels": [0]}, "labels: expected shape"),
        ({"regression_losses": [1.0]}, "regression_losses: expected shape"),
        ({"regression_losses": [1.0, np.inf]}, "regression_losses of positives: expected finite numbers"),
        ({"activation": "relu"}, "activation: expected one of sigmoid, softmax"),
        ({"k": -1.0}, "k: expected a number >= 0"),
        ({"b": 1.5}, "b: expected a number in"),
        ({"avg_factor": 0.0}, "avg_factor: expected a number > 0"),
    ],
)
def test_bad_arguments_are_named(change, message):
    """Every check names its argument."""
    arguments = {"logits": [[0.0, 0.0]] * 2, "labels": [0, 0], "regression_losses": [1.0, 1.0]} | change

    with pytest.raises(SpecError, match=message):
        classification_aware_regression_loss(**arguments)
