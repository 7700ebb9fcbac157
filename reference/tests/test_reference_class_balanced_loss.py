"""The class-balanced loss and its weights against 50 digits, the paper's laws, and numbers by hand."""

import mpmath
import numpy as np
import pytest

from steelyard.reference import (
    class_balanced_loss,
    class_balanced_loss_grad,
    class_balanced_weights,
    sigmoid_focal_loss_with_labels,
)
from steelyard.reference.checks import SpecError

LONG_TAIL = [5000, 500, 50, 5]
KINDS = pytest.mark.parametrize("kind", ["softmax", "sigmoid", "focal"])


def exact_weights(counts, beta):
    """From the definition at 50 digits."""
    with mpmath.workdps(50):
        beta = mpmath.mpf(beta)
        inverse = [(1 - beta) / (1 - beta**n) if n else mpmath.mpf(0) for n in counts]
        return [w * sum(n > 0 for n in counts) / sum(inverse) for w in inverse]


def exact_loss(rows, labels, counts, *, kind, beta, gamma):
    """From the definition at 50 digits."""
    with mpmath.workdps(50):
        weights, total = exact_weights(counts, beta), mpmath.mpf(0)
        for row, label in zip(rows, labels, strict=True):
            z = [mpmath.mpf(float(x)) for x in row]
            if kind == "softmax":
                loss = mpmath.log(sum(map(mpmath.exp, z))) - z[label]
            else:
                p_t = [1 / (1 + mpmath.exp(-x if c == label else x)) for c, x in enumerate(z)]
                loss = -sum((1 - p) ** (gamma if kind == "focal" else 0) * mpmath.log(p) for p in p_t)
            total += weights[label] * loss
        return total / len(labels)


@pytest.mark.parametrize(
    ("beta", "published"),
    [
        (0.9, [0.734332562624049164, 0.734332562624049164, 0.738136753523972772, 1.7931981212279289]),
        (0.99, [0.160370016259615291, 0.161430693896386727, 0.406006277355799372, 3.27219301248819861]),
        (0.999, [0.0179425824376946052, 0.0452770198636772921, 0.365246803550352323, 3.57153359414827578]),
        (0.9999, [0.00457098991912302767, 0.036877276550552609, 0.360604810440222859, 3.5979469230901015]),
        (1.0, [0.0036003600360036, 0.036003600360036, 0.36003600360036, 3.6003600360036]),
    ],
)
def test_worked_weights(beta, published):
    """Four classes from 5,000 samples to 5."""
    found = class_balanced_weights(LONG_TAIL, beta=beta)

    np.testing.assert_allclose(found, published, rtol=1e-13)
    if beta < 1:
        np.testing.assert_allclose(found, [float(w) for w in exact_weights(LONG_TAIL, str(beta))], rtol=1e-12)


def test_weights_of_betas_near_1():
    """beta^n is not formed: near 1 the weights are those of 50 digits, and go to their limit."""
    for digits in (6, 9, 12):
        beta = 1 - 2.0**-digits
        exact = [float(w) for w in exact_weights([1, 3, 1000], beta)]
        np.testing.assert_allclose(class_balanced_weights([1, 3, 1000], beta=beta), exact, rtol=1e-13)
    near, limit = (class_balanced_weights([1, 3, 1000], beta=beta) for beta in (1 - 2.0**-52, 1.0))
    np.testing.assert_allclose(near, limit, rtol=1e-12)


def test_laws_of_the_weights():
    """Mean 1 over what occurs; the rarer the heavier, but never by more than the counts say; equal counts weigh 1."""
    counts = np.array([1, 2, 0, 7, 7, 1000, 10**9])
    for beta in (0.0, 0.5, 0.999, 1.0):
        weights = class_balanced_weights(counts, beta=beta)
        occurs = weights[counts > 0]
        assert weights[2] == 0
        assert occurs.mean() == pytest.approx(1, rel=1e-14)
        assert (np.diff(occurs) <= 0).all()
        assert (occurs[0] / occurs <= counts[counts > 0] * (1 + 1e-12)).all()
    np.testing.assert_array_equal(class_balanced_weights(counts, beta=0.0), counts > 0)
    np.testing.assert_allclose(class_balanced_weights([30, 30, 30], beta=0.9), 1, rtol=1e-15)
    np.testing.assert_array_equal(class_balanced_weights([0, 0], beta=0.9), [0, 0])


@pytest.mark.parametrize(
    ("kind", "gamma", "published"),
    [
        ("softmax", 2.0, 1.00317491580174736),
        ("sigmoid", 2.0, 1.56827756415555504),
        ("focal", 1.0, 1.04936843675515425),
        ("focal", 2.0, 0.713851137527719972),
    ],
)
def test_worked_losses(kind, gamma, published):
    """One sample of the third class."""
    found = class_balanced_loss([[1, 0, -1, 0.5]], [2], LONG_TAIL, kind=kind, gamma=gamma, beta=0.999)

    assert float(found) == pytest.approx(published, rel=1e-13)


def test_the_mean_is_over_samples_not_over_weights():
    """A weighted mean gives 2.1106; where every class comes once, the two agree and the mistake stays hidden."""
    logits = [[1, 2, 0.5], [0, 0, 1], [2, -1, 0]]
    loss = class_balanced_loss(logits, [0, 0, 2], [5000, 500, 50])

    assert float(loss) == pytest.approx(1.97597943171693, rel=1e-13)
    weights = class_balanced_weights([5000, 500, 50])
    assert float(loss) * 3 / weights[[0, 0, 2]].sum() == pytest.approx(2.11062909911509, rel=1e-13)
    assert weights[[0, 2, 1]].sum() == pytest.approx(3)
    assert float(class_balanced_loss(logits, [0, 2, 1], [5000, 500, 50])) == pytest.approx(0.866367007655609)
    sigmoid = class_balanced_loss(logits, [0, 2, 1], [5000, 500, 50], kind="sigmoid")
    assert float(sigmoid) == pytest.approx(2.02854492148708, rel=1e-13)


@KINDS
def test_definition_and_gradient_at_50_digits(kind):
    """Random logits up to 30: the value, and every derivative."""
    random = np.random.default_rng(0)
    logits, labels = random.normal(0, 8, (4, 3)), [0, 2, 1, 2]
    options = {"kind": kind, "beta": 0.99, "gamma": 1.5}

    found = class_balanced_loss(logits, labels, [9, 70, 3], **options)
    slopes = class_balanced_loss_grad(logits, labels, [9, 70, 3], **options)

    expected = exact_loss(logits, labels, [9, 70, 3], **{**options, "beta": "0.99"})
    assert float(found) == pytest.approx(float(expected), rel=1e-13)
    for place in ((0, 0), (0, 1), (2, 1), (3, 0)):

        def moved(x, place=place):
            rows = [list(map(mpmath.mpf, row)) for row in logits.tolist()]
            rows[place[0]][place[1]] = x
            return exact_of_rows(rows, labels, kind)

        with mpmath.workdps(50):
            exact = mpmath.diff(moved, mpmath.mpf(float(logits[place])))
        assert slopes[place] == pytest.approx(float(exact), rel=1e-12)


def exact_of_rows(rows, labels, kind):
    """The same for rows of mpmath numbers."""
    weights, total = exact_weights([9, 70, 3], "0.99"), mpmath.mpf(0)
    for z, label in zip(rows, labels, strict=True):
        if kind == "softmax":
            total += weights[label] * (mpmath.log(sum(map(mpmath.exp, z))) - z[label])
            continue
        for c, x in enumerate(z):
            p_t = 1 / (1 + mpmath.exp(-x if c == label else x))
            total -= weights[label] * (1 - p_t) ** (mpmath.mpf("1.5") if kind == "focal" else 0) * mpmath.log(p_t)
    return total / len(labels)


@KINDS
def test_ignored_samples_and_classes_without_samples(kind):
    """The first are not counted, the second count and weigh 0; nothing at all gives 0."""
    logits = [[1.0, -2.0, 0.5], [0.0, 3.0, 1.0], [2.0, 2.0, 2.0]]

    two = class_balanced_loss(logits[:2], [0, 1], [5, 50, 0], kind=kind)
    assert class_balanced_loss(logits, [0, 1, -1], [5, 50, 0], kind=kind) == two
    assert float(class_balanced_loss(logits, [0, 1, 2], [5, 50, 0], kind=kind)) == pytest.approx(float(two) * 2 / 3)
    slopes = class_balanced_loss_grad(logits, [0, -1, 2], [5, 50, 0], kind=kind)
    assert (slopes[1:] == 0).all()
    assert (slopes[0] != 0).all()
    assert class_balanced_loss(logits, [-1, -1, -1], [5, 50, 0], kind=kind) == 0
    assert class_balanced_loss(np.zeros((0, 3)), [], [5, 50, 0], kind=kind) == 0


def test_equal_counts_give_the_plain_loss():
    """Focal without alpha, by the number of samples; the hardest positives keep their gradient."""
    logits, labels = np.array([[-800.0, 3.0], [0.5, 1.0]]), [0, 1]

    found = class_balanced_loss(logits, labels, [7, 7], kind="focal")

    assert float(found) == sigmoid_focal_loss_with_labels(logits, labels, alpha=None).sum() / 2
    assert class_balanced_loss_grad(logits, labels, [7, 7], kind="focal")[0, 0] == -0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": [0.0, 1.0]}, r"logits: expected shape \(R, C\)"),
        ({"logits": [[0.0], [1.0]]}, "C >= 2"),
        ({"logits": [[np.inf, 0.0]] * 2}, "logits: expected finite"),
        ({"labels": [0]}, "labels: expected shape"),
        ({"labels": [0, 2]}, "labels: expected integers"),
        ({"counts": [1, 2, 3]}, r"counts: expected shape \(2,\)"),
        ({"counts": [1, -2]}, "counts"),
        ({"kind": "hinge"}, "kind: expected one of"),
        ({"beta": 99.9}, "beta"),
        ({"gamma": -1.0}, "gamma"),
    ],
)
def test_bad_input_is_refused(change, message):
    """Each error names the argument."""
    arguments = {"logits": [[0.0, 1.0]] * 2, "labels": [0, 1], "counts": [3, 4], **change}

    for function in (class_balanced_loss, class_balanced_loss_grad):
        with pytest.raises(SpecError, match=message):
            function(**arguments)
