"""The equalization loss v2 against 50 digits, worked numbers, and the laws of its weights."""

import mpmath
import numpy as np
import pytest

from steelyard.reference import equalization_loss_v2, equalization_loss_v2_grad, sigmoid_focal_loss
from steelyard.reference.checks import SpecError

LOGITS = [[1.0, -2.0, 0.5, -1.0], [-3.0, 2.0, -0.5, 0.0], [-1.0, -1.0, -2.0, 0.3]]
LABELS = [0, 1, 3]  # the third sample is background
NONE_YET = [0.0, 0.0, 0.0]


def exact(z, labels, up, down, weights, *, gamma=12, mu=0.8, alpha=4):
    """Sum over elements, and the gradients, from the definition; of the sum, not the mean."""
    gamma, mu, alpha = map(mpmath.mpf, (gamma, mu, alpha))
    classes, total = len(up), mpmath.mpf(0)
    new_up, new_down = [mpmath.mpf(x) for x in up], [mpmath.mpf(x) for x in down]
    for row, label, weight in zip(z, labels, weights, strict=True):
        for j, logit in enumerate(row):
            if label == -1:
                continue
            r, q = mpmath.mpf(1), mpmath.mpf(1)
            if j < classes:
                first = up[j] == 0 and down[j] == 0
                g = mpmath.mpf(100) if first else mpmath.mpf(up[j]) / (mpmath.mpf(down[j]) + mpmath.mpf(1e-10))
                r = 1 / (1 + mpmath.exp(-gamma * (g - mu)))
                q = 1 + alpha * (1 - r)
            p = 1 / (1 + mpmath.exp(-mpmath.mpf(logit)))
            if j == label:
                total -= weight * q * mpmath.log(p)
                if j < classes:
                    new_up[j] += weight * q * (1 - p)
            else:
                total -= weight * r * mpmath.log(1 - p)
                if j < classes:
                    new_down[j] += weight * r * p
    return total, new_up, new_down


def test_worked_numbers():
    """Two steps of training with the same mini-batch, worked out apart with 60 digits."""
    first = equalization_loss_v2(LOGITS, LABELS, NONE_YET, NONE_YET)
    second = equalization_loss_v2(LOGITS, LABELS, *first[1:])

    assert first.loss == pytest.approx(1.45935817605474556, rel=1e-14)
    ratio = first.positive_gradients / (first.negative_gradients + 1e-10)
    np.testing.assert_allclose(ratio, [0.850092363907590565, 0.307109775063718866, 0.0], rtol=1e-14)
    assert second.loss == pytest.approx(1.06200137222968958, rel=1e-13)
    ratio = second.positive_gradients / (second.negative_gradients + 1e-10)
    np.testing.assert_allclose(ratio, [1.76450860862099801, 1.83441269238258986, 0.0], rtol=1e-13)


def test_worked_weights():
    """Those of the second step: q in the column of a class's own sample, r elsewhere."""
    _, up, down = equalization_loss_v2(LOGITS, LABELS, NONE_YET, NONE_YET)
    zero = np.zeros((4, 4))

    element = equalization_loss_v2(zero, [0, 1, 2, 3], up, down, reduction="none").loss / np.log(2.0)

    q = [2.41636063141533295, 4.98923100618734801, 4.99972910340152092, 1.0]
    r = [0.645909842146166763, 0.00269224845316299644, 0.0000677241496197702084, 1.0]
    np.testing.assert_allclose(np.diag(element), q, rtol=1e-13)
    np.testing.assert_allclose(element[[1, 0, 0, 0], [0, 1, 2, 3]], r, rtol=1e-12)


@pytest.mark.parametrize("options", [{}, {"gamma": 3.0, "mu": 0.2}, {"alpha": 0.0}, {"gamma": 0.5, "alpha": 7.0}])
def test_value_state_and_gradient_at_50_digits(options):
    """Random scores, weights and gradients so far, an ignored sample, a class without gradients."""
    random = np.random.default_rng(0)
    z, labels = 4.0 * random.standard_normal((6, 4)), [0, 1, 2, 3, -1, 1]
    up, down, weights = [3.0, 0.0, 0.0], [2.5, 40.0, 0.0], random.random(6) * 2.0

    found = equalization_loss_v2(z, labels, up, down, weights, reduction="sum", **options)
    slope = equalization_loss_v2_grad(z, labels, up, down, weights, reduction="sum", **options)

    with mpmath.workdps(50):
        total, new_up, new_down = exact(z, labels, up, down, weights, **options)
        assert found.loss == pytest.approx(float(total), rel=1e-13)
        np.testing.assert_allclose(found.positive_gradients, np.array(new_up, float), rtol=1e-13)
        np.testing.assert_allclose(found.negative_gradients, np.array(new_down, float), rtol=1e-13)
        for i, k in np.ndindex(6, 4):

            def moved(x, i=i, k=k):
                there = [list(row) for row in z]
                there[i][k] = x
                return exact(there, labels, up, down, weights, **options)[0]

            assert slope[i, k] == pytest.approx(float(mpmath.diff(moved, mpmath.mpf(z[i, k]))), rel=1e-12, abs=1e-16)


def test_reductions():
    """The mean is over samples that are not ignored, background among them."""
    args = [*LOGITS, [9.0, 9.0, 9.0, 9.0]], [*LABELS, -1], [1.0, 2.0, 0.0], [2.0, 1.0, 1.0]
    element, total, mean = (equalization_loss_v2(*args, reduction=name).loss for name in ("none", "sum", "mean"))

    assert element.shape == (4, 4)
    assert element.sum() == pytest.approx(total, rel=1e-15)
    assert mean == pytest.approx(total / 3, rel=1e-15)
    assert not element[3].any()
    slopes = [equalization_loss_v2_grad(*args, reduction=name) for name in ("none", "sum", "mean")]
    np.testing.assert_array_equal(slopes[0], slopes[1])
    np.testing.assert_allclose(slopes[2], slopes[1] / 3, rtol=1e-15)


def test_laws_of_the_weights():
    """Nothing so far: cross entropy. A larger ratio weighs negatives more, positives less; q + alpha r = 1 + alpha."""
    target = np.array(LABELS)[:, None] == np.arange(4)
    plain = sigmoid_focal_loss(LOGITS, target, alpha=None, gamma=0.0)
    np.testing.assert_array_equal(
        equalization_loss_v2(LOGITS, LABELS, NONE_YET, NONE_YET, reduction="none").loss, plain
    )

    zero, down = np.zeros((2, 2)), [1.0]
    weights = [
        equalization_loss_v2(zero, [0, 1], [ratio], down, reduction="none").loss[:, 0] / np.log(2.0)
        for ratio in (0.0, 0.4, 0.8, 1.2, 50.0)
    ]
    q, r = np.array(weights).T
    assert (np.diff(q) < 0).all()
    assert (np.diff(r) > 0).all()
    np.testing.assert_allclose(q + 4.0 * r, 5.0, rtol=1e-14)
    assert r[2] == pytest.approx(0.5, rel=1e-8), "at mu, but for the 1e-10 under the ratio"


def test_gradients_add_up():
    """With the weights of the same state, those of a mini-batch are the sum over its samples."""
    state = [1.0, 2.0, 0.0], [2.0, 1.0, 1.0]
    whole = equalization_loss_v2(LOGITS, LABELS, *state)
    parts = [equalization_loss_v2([z], [label], *state) for z, label in zip(LOGITS, LABELS, strict=True)]

    for k in (1, 2):
        total = sum(part[k] - np.array(state[k - 1]) for part in parts)
        np.testing.assert_allclose(whole[k], total + state[k - 1], rtol=1e-14)


@pytest.mark.parametrize("labels", [[], [-1, -1]])
def test_no_sample(labels):
    """Loss 0, and the gradients stay."""
    loss, up, down = equalization_loss_v2(np.zeros((len(labels), 3)), labels, [1.0, 2.0], [3.0, 0.0])

    assert (loss, up.tolist(), down.tolist()) == (0.0, [1.0, 2.0], [3.0, 0.0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": [[1.0]]}, r"logits: expected shape \(R, C \+ 1\) with C >= 1"),
        ({"logits": [[np.nan, 1.0, 0.0]]}, "logits: expected finite"),
        ({"labels": [3]}, r"labels: expected integers in \[-1, 2\]"),
        ({"labels": [0, 1]}, "labels: expected shape"),
        ({"positive_gradients": [1.0]}, "positive_gradients: expected shape"),
        ({"negative_gradients": [1.0, -1.0]}, "negative_gradients: expected numbers >= 0"),
        ({"weights": [1.0, 1.0]}, "weights: expected shape"),
        ({"weights": [-1.0]}, "weights: expected numbers >= 0"),
        ({"gamma": 0.0}, "gamma: expected"),
        ({"mu": np.nan}, "mu: expected"),
        ({"alpha": -1.0}, "alpha: expected"),
        ({"reduction": "average"}, "reduction: expected one of"),
    ],
)
def test_bad_input_is_refused(change, message):
    """Each with its name."""
    right = {
        "logits": [[0.0, 0.0, 0.0]], "labels": [0], "positive_gradients": [1.0, 1.0], "negative_gradients": [1.0, 1.0],
    }  # fmt: skip
    with pytest.raises(SpecError, match=message):
        equalization_loss_v2(**{**right, **change})
