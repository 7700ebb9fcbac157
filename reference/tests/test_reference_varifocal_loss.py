"""Varifocal loss against mpmath and the paper's laws."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.reference.checks import SpecError
from steelyard.reference.soft_sampling.focal_loss import sigmoid_focal_loss, sigmoid_focal_loss_grad
from steelyard.reference.soft_sampling.quality_focal_loss import quality_focal_loss
from steelyard.reference.soft_sampling.varifocal_loss import (
    varifocal_loss,
    varifocal_loss_grad,
    varifocal_loss_with_labels,
    varifocal_loss_with_labels_grad,
)

WORKED = [  # logit, target, loss, derivative
    (0.0, 0.8, "0.554517744447956248", "-0.24"),
    (2.0, 0.8, "0.421542408834377997", "0.0646376623823059552"),
    (-1.0, 0.3, "0.18397850625546685", "-0.00931757358900146378"),
    (0.0, 0.0, "0.129965096354989746", "0.223715096354989746"),
    (2.0, 0.0, "1.23755863456605665", "0.807535297836361458"),
    (-3.0, 0.0, "0.0000819624933727481421", "0.000236153884866210972"),
    (1.0, 1.0, "0.313261687518222834", "-0.268941421369995121"),
]
logits = st.floats(-600, 600)
moderate_logits = st.floats(-30, 30)
targets = st.integers(1, 1024).map(lambda k: k / 1024)
gammas = st.sampled_from([0.0, 0.5, 1.0, 2.0, 2.5])


def _varifocal_loss(x, q, *, alpha=0.75, gamma=2.0, iou_weighted=True):
    """Equation 2 as it is printed."""
    x, q = mp.mpf(x), mp.mpf(q)
    p = 1 / (1 + mp.exp(-x))
    if q > 0:
        return -(q if iou_weighted else 1) * (q * mp.log(p) + (1 - q) * mp.log(1 - p))
    return -(1 if alpha is None else mp.mpf(alpha)) * p ** mp.mpf(gamma) * mp.log(1 - p)


@pytest.mark.parametrize(("x", "q", "loss", "derivative"), WORKED)
def test_worked_numbers(x, q, loss, derivative):
    """The dossier's numbers, the printed equation in 50 digits and the oracle agree."""
    with mp.workdps(50):
        q_in_decimal = mp.mpf(str(q))

        assert abs(_varifocal_loss(x, q_in_decimal) - mp.mpf(loss)) < mp.mpf(10) ** -17
        assert abs(mp.diff(lambda t: _varifocal_loss(t, q_in_decimal), x) - mp.mpf(derivative)) < mp.mpf(10) ** -17
    np.testing.assert_allclose(varifocal_loss([x], [q]), [float(loss)], rtol=1e-14)
    np.testing.assert_allclose(varifocal_loss_grad([x], [q]), [float(derivative)], rtol=1e-14)


@pytest.mark.parametrize(("q", "floor"), [("0.8", "0.400321938830550304"), ("0.3", "0.183259290616468039")])
def test_lowest_loss_of_a_quality(q, floor):
    """Where the score is the quality: q times the entropy of q, as printed."""
    with mp.workdps(50):
        share = mp.mpf(q)
        entropy = -share * mp.log(share) - (1 - share) * mp.log(1 - share)

        assert abs(share * entropy - mp.mpf(floor)) < mp.mpf(10) ** -17
        logit = float(mp.log(share / (1 - share)))
    np.testing.assert_allclose(varifocal_loss([logit], [float(q)]), [float(floor)], rtol=1e-14)


@pytest.mark.parametrize("q", [0.0, 1e-6, 0.3, 0.875, 1.0])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"alpha": None, "gamma": 0.5},
        {"alpha": 1.25, "gamma": 2.5},
        {"alpha": 0.5, "gamma": 0.0, "iou_weighted": False},
    ],
)
def test_loss_and_gradient_follow_the_equation_for_all_logits(q, options):
    """From -300 to 300, every branch and option: the printed equation and its numeric derivative."""
    x = np.array([-300.0, -90.0, -3.0, -0.01, 0.7, 40.0, 300.0])

    loss = varifocal_loss(x, np.full_like(x, q), **options)
    gradient = varifocal_loss_grad(x, np.full_like(x, q), **options)

    with mp.workdps(300):
        expected = [float(_varifocal_loss(value, q, **options)) for value in x]
        slope = [
            float(mp.diff(lambda t: _varifocal_loss(t, q, **options), mp.mpf(value), h=mp.mpf(10) ** -140))
            for value in x
        ]
    np.testing.assert_allclose(loss, expected, rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(gradient, slope, rtol=1e-12, atol=1e-300)


@given(x=logits)
def test_perfect_positive_is_plain_cross_entropy(x):
    """With q = 1 there is no focal factor and no alpha."""
    np.testing.assert_allclose(
        varifocal_loss([x], [1.0]), sigmoid_focal_loss([x], [1], alpha=None, gamma=0.0), rtol=1e-15
    )


@given(x=logits, gamma=gammas)
def test_negative_is_the_focal_loss_of_a_negative(x, gamma):
    """With q = 0 it is alpha times the focal loss, or quality focal loss, of a negative."""
    focal = sigmoid_focal_loss([x], [0], alpha=None, gamma=gamma)
    focal_gradient = sigmoid_focal_loss_grad([x], [0], alpha=None, gamma=gamma)

    np.testing.assert_array_equal(varifocal_loss([x], [0.0], alpha=None, gamma=gamma), focal)
    np.testing.assert_allclose(varifocal_loss([x], [0.0], gamma=gamma), 0.75 * focal, rtol=1e-15)
    np.testing.assert_allclose(varifocal_loss_grad([x], [0.0], gamma=gamma), 0.75 * focal_gradient, rtol=1e-15)
    np.testing.assert_allclose(quality_focal_loss([x], [0.0], beta=gamma), focal, rtol=1e-12, atol=1e-300)


@given(x=moderate_logits, q=targets)
def test_floor_of_a_positive_is_q_times_the_entropy(x, q):
    """No logit goes below q H(q), which is reached at p = q and is not 0 for q inside (0, 1)."""
    entropy = -(q * np.log(q) + (1 - q) * np.log1p(-q)) if q < 1 else 0.0

    assert varifocal_loss([x], [q])[0] >= q * entropy * (1 - 1e-14)
    if q < 1:
        at_q = np.log(q / (1 - q))
        np.testing.assert_allclose(varifocal_loss([at_q], [q]), [q * entropy], rtol=1e-13)
        assert abs(varifocal_loss_grad([at_q], [q])[0]) < 1e-15


@given(x=logits, q=targets)
def test_gradient_of_a_positive_is_bounded_by_its_quality(x, q):
    """The derivative is q (p - q), so its size is at most q, whatever gamma and alpha are."""
    gradient = varifocal_loss_grad([x], [q])

    assert abs(gradient[0]) <= q
    np.testing.assert_array_equal(gradient, varifocal_loss_grad([x], [q], alpha=0.1, gamma=5.0))


@given(x=moderate_logits, step=st.floats(0.01, 5.0), q=targets)
def test_positives_are_convex_in_the_logit(x, step, q):
    """The value at a midpoint does not exceed the mean of the ends."""
    low, mid, high = varifocal_loss([x - step, x, x + step], [q] * 3)

    assert mid <= (low + high) / 2 * (1 + 1e-12)


def test_without_iou_weight_the_leading_factor_is_one():
    """Positives lose exactly their factor q; negatives are as before."""
    x, q = [0.4, -1.0, 2.0], [0.25, 0.5, 0.0]

    ratio = varifocal_loss(x, q, iou_weighted=False) / varifocal_loss(x, q)

    np.testing.assert_allclose(ratio, [4.0, 2.0, 1.0], rtol=1e-15)


def test_infinities_have_limits_and_nan_stays_in_its_element():
    """A wrong infinite logit costs infinity with a finite slope."""
    x, q = [np.inf, np.inf, np.inf, -np.inf, np.nan, 0.0], [0.0, 0.5, 1.0, 0.5, 0.5, 0.5]

    loss = varifocal_loss(x, q)
    gradient = varifocal_loss_grad(x, q)

    np.testing.assert_array_equal(loss[:5], [np.inf, np.inf, 0.0, np.inf, np.nan])
    np.testing.assert_array_equal(gradient, [0.75, 0.25, 0.0, -0.25, np.nan, 0.0])


@pytest.mark.parametrize("branch", ["quality", "label"])
@pytest.mark.parametrize("iou_weighted", [True, False])
def test_labels_place_the_quality_in_the_channel_of_the_class(branch, iou_weighted):
    """All channels but the true class's are negatives; ignored anchors are 0; other anchors' quality is not read."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 4)) * 3
    x[1, 0, 2] = np.nan
    labels = np.array([[0, 3, 4], [-1, 2, 4]])
    quality = np.array([[0.9, 0.1, np.nan], [np.nan, 1.0, 5.0]])
    targets = np.zeros((2, 3, 4))
    targets[0, 0, 0], targets[0, 1, 3], targets[1, 1, 2] = 0.9, 0.1, 1.0

    loss = varifocal_loss_with_labels(x, labels, quality, branch=branch, iou_weighted=iou_weighted)
    gradient = varifocal_loss_with_labels_grad(x, labels, quality, branch=branch, iou_weighted=iou_weighted)

    keep = (labels != -1)[..., None]
    expected = varifocal_loss(x, targets, iou_weighted=iou_weighted)
    expected_gradient = varifocal_loss_grad(x, targets, iou_weighted=iou_weighted)
    np.testing.assert_array_equal(loss, np.where(keep, expected, 0.0))
    np.testing.assert_array_equal(gradient, np.where(keep, expected_gradient, 0.0))


def test_branches_differ_only_for_foreground_of_quality_zero():
    """By quality it is a negative; by label its loss is 0, or without IoU weight the cross entropy against 0."""
    x = np.array([[1.0, -2.0]])
    softplus = np.log1p(np.exp(1.0))

    by_quality = varifocal_loss_with_labels(x, [0], [0.0])
    by_label = varifocal_loss_with_labels(x, [0], [0.0], branch="label")
    by_label_unweighted = varifocal_loss_with_labels(x, [0], [0.0], branch="label", iou_weighted=False)
    gradient = varifocal_loss_with_labels_grad(x, [0], [0.0], branch="label")
    gradient_unweighted = varifocal_loss_with_labels_grad(x, [0], [0.0], branch="label", iou_weighted=False)

    np.testing.assert_array_equal(by_quality, varifocal_loss_with_labels(x, [2], [0.0]))
    assert by_label[0, 0] == 0.0
    assert gradient[0, 0] == 0.0
    np.testing.assert_allclose(by_label_unweighted[0, 0], softplus, rtol=1e-15)
    np.testing.assert_allclose(gradient_unweighted[0, 0], 1 / (1 + np.exp(-1.0)), rtol=1e-15)
    assert by_label[0, 1] == by_quality[0, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: varifocal_loss([0.0], [-0.1]), r"targets: expected numbers in \[0, 1\]"),
        (lambda: varifocal_loss([0.0], [0.5, 0.5]), "targets: expected shape"),
        (lambda: varifocal_loss([0.0], [0.5], alpha=-0.1), "alpha: expected a number >= 0"),
        (lambda: varifocal_loss([0.0], [0.5], gamma=-1.0), "gamma: expected a number >= 0"),
        (lambda: varifocal_loss_with_labels([[0.0]], [2], [0.5]), "labels"),
        (lambda: varifocal_loss_with_labels([[0.0]], [0], [1.01]), "quality"),
        (lambda: varifocal_loss_with_labels([[0.0]], [0], [0.5], branch="iou"), "branch: expected one of"),
    ],
)
def test_errors_name_the_argument(call, message):
    """Whatever lies outside the definition is refused."""
    with pytest.raises(SpecError, match=message):
        call()
