"""Distribution focal loss and its decoding against mpmath, the paper's laws, and real detector outputs."""

from importlib.resources import files

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from steelyard.reference.checks import SpecError
from steelyard.reference.soft_sampling.distribution_focal_loss import (
    boxes_from_distances,
    boxes_from_distances_grad,
    distances_from_boxes,
    distribution_expectation,
    distribution_expectation_grad,
    distribution_focal_loss,
    distribution_focal_loss_grad,
)

Z = ["0.2", "-0.5", "1", "0.7", "-1.2"]
WORKED = [  # target, loss
    ("2.3", "1.01587683930095511"),
    ("0", "1.72587683930095511"),
    ("1", "2.42587683930095511"),
    ("3.5", "2.17587683930095511"),
    ("4", "3.12587683930095511"),
    ("3.9", "2.93587683930095511"),
]
WORKED_GRADIENT = [
    "0.178016891112640236",
    "0.08840057195317272",
    "-0.303816122865832145",
    "-0.00649976507868144133",
    "0.0438984248787006307",
]
logits_of_6 = arrays(np.float64, 6, elements=st.floats(-40, 40))
targets_to_5 = st.one_of(st.integers(0, 5).map(float), st.floats(0, 5, allow_subnormal=False))


def _shares(z):
    powers = [mp.exp(mp.mpf(value)) for value in z]
    return [power / mp.fsum(powers) for power in powers]


def _weights(y, num_bins):
    """Target distribution: 1 - |k - y| where that is positive."""
    return [max(mp.mpf(0), 1 - abs(k - mp.mpf(y))) for k in range(num_bins)]


def _distribution_focal_loss(z, y):
    """Equation 6, as cross entropy against the hat function around the target."""
    pairs = zip(_weights(y, len(z)), _shares(z), strict=True)
    return -mp.fsum(w * mp.log(share) for w, share in pairs if w)


def test_lowest_loss_of_a_target():
    """The entropy of the two weights, as printed for 2.3; the shares that reach it, but for e^-60, are the weights."""
    entropy = -mp.fsum(mp.mpf(w) * mp.log(mp.mpf(w)) for w in ("0.7", "0.3"))

    assert abs(entropy - mp.mpf("0.610864302054893463")) < mp.mpf(10) ** -17
    z = [-60.0, -60.0, np.log(0.7), np.log(0.3), -60.0]
    np.testing.assert_allclose(distribution_focal_loss(z, 2.3), float(entropy), rtol=1e-14)


@pytest.mark.parametrize(("y", "loss"), WORKED)
def test_worked_numbers(y, loss):
    """The dossier's numbers, the printed equation in 50 digits and the oracle agree."""
    with mp.workdps(50):
        assert abs(_distribution_focal_loss(Z, y) - mp.mpf(loss)) < mp.mpf(10) ** -17

    np.testing.assert_allclose(distribution_focal_loss([float(z) for z in Z], float(y)), float(loss), rtol=1e-15)


def test_worked_gradient_and_expectation():
    """At 2.3 of four intervals; the expectation of the same logits."""
    with mp.workdps(50):
        for k, value in enumerate(WORKED_GRADIENT):
            moved = [lambda t, j=j, k=k: mp.mpf(Z[j]) + (t if j == k else 0) for j in range(5)]
            slope = mp.diff(lambda t, moved=moved: _distribution_focal_loss([f(t) for f in moved], "2.3"), 0)
            assert abs(slope - mp.mpf(value)) < mp.mpf(10) ** -17
        expectation = mp.fsum(k * share for k, share in enumerate(_shares(Z)))
        assert abs(expectation - mp.mpf("1.93686273050026663")) < mp.mpf(10) ** -17
    z = [float(value) for value in Z]
    np.testing.assert_allclose(
        distribution_focal_loss_grad(z, 2.3), [float(value) for value in WORKED_GRADIENT], rtol=0, atol=4e-16
    )
    np.testing.assert_allclose(distribution_expectation(z), 1.93686273050026663, rtol=1e-15)


@given(z=arrays(np.float64, 6, elements=st.floats(-400, 400)), y=targets_to_5)
def test_loss_follows_the_equation_in_relative_terms(z, y):
    """Also where the share of the target's bin rounds to 1 and the loss is 1e-100."""
    with mp.workdps(400):
        expected = _distribution_focal_loss(z, y)

    actual = distribution_focal_loss(z, y)

    spread = np.ptp(z)  # the differences of logits are rounded once
    assert abs(mp.mpf(float(actual)) - expected) <= 1e-15 * (4 + spread) * abs(expected) + 1e-300


@given(z=arrays(np.float64, 6, elements=st.floats(-400, 400)), y=targets_to_5)
def test_gradient_is_share_minus_weight(z, y):
    """Every bin's derivative, accurate to the smaller of share and weight or of their complements."""
    gradient = distribution_focal_loss_grad(z, y)

    with mp.workdps(400):
        for value, share, weight in zip(gradient, _shares(z), _weights(y, 6), strict=True):
            near_zero = max(share, weight)
            near_one = max(1 - share, 1 - weight)
            allowed = 1e-15 * (4 + np.ptp(z)) * (near_zero if weight < 0.5 else near_one) + 1e-300
            assert abs(mp.mpf(float(value)) - (share - weight)) <= allowed


@given(z=logits_of_6, y=targets_to_5, shift=st.sampled_from([-1024.0, 64.0, 4096.0]))
def test_adding_a_constant_changes_nothing(z, y, shift):
    """The loss, its gradient and the expectation see differences of logits only; gradients sum to 0."""
    z = np.round(z * 1024) / 1024  # so that the shift is exact

    np.testing.assert_array_equal(distribution_focal_loss(z + shift, y), distribution_focal_loss(z, y))
    np.testing.assert_array_equal(distribution_focal_loss_grad(z + shift, y), distribution_focal_loss_grad(z, y))
    np.testing.assert_array_equal(distribution_expectation(z + shift), distribution_expectation(z))
    assert abs(distribution_focal_loss_grad(z, y).sum()) < 1e-14
    assert abs(distribution_expectation_grad(z).sum()) < 1e-13


@given(z=logits_of_6, y=targets_to_5)
def test_floor_is_the_entropy_of_the_two_weights(z, y):
    """The gap to the entropy is a Kullback-Leibler divergence, never negative."""
    weights = [float(w) for w in _weights(y, 6) if w]
    entropy = -sum(w * np.log(w) for w in weights)

    assert distribution_focal_loss(z, y) >= entropy - 1e-14


def test_floor_is_approached_by_the_target_distribution():
    """With shares equal to the weights, the loss is their entropy, the gradient 0 and the expectation the target."""
    y = 2.25
    z = np.array([-800.0, -800.0, np.log(0.75), np.log(0.25), -800.0])

    np.testing.assert_allclose(distribution_focal_loss(z, y), -0.75 * np.log(0.75) - 0.25 * np.log(0.25), rtol=1e-15)
    np.testing.assert_allclose(distribution_focal_loss_grad(z, y), np.zeros(5), atol=1e-16)
    np.testing.assert_allclose(distribution_expectation(z), y, rtol=1e-15)


@pytest.mark.parametrize("i", range(5))
def test_whole_targets_are_cross_entropy_with_that_bin(i):
    """Both ends are legal, and the weights there are not (0, 0)."""
    z = np.array([0.3, -1.2, 2.0, 0.0, 0.9])

    log_softmax = z - np.log(np.exp(z).sum())

    np.testing.assert_allclose(distribution_focal_loss(z, float(i)), -log_softmax[i], rtol=1e-15)


@given(z=logits_of_6, i=st.integers(0, 4), t=st.integers(0, 64).map(lambda k: k / 64))
def test_it_is_linear_in_the_target_between_two_bins(z, i, t):
    """For fixed logits: (1 - t) times the loss at i plus t times that at i + 1, hence continuous."""
    expected = (1 - t) * distribution_focal_loss(z, float(i)) + t * distribution_focal_loss(z, float(i + 1))

    np.testing.assert_allclose(distribution_focal_loss(z, i + t), expected, rtol=1e-13)


@given(z=logits_of_6, y=targets_to_5)
def test_reversing_the_bins_reflects_the_target(z, y):
    """Left and right weights are told apart: n - y with reversed bins is the same loss, n - expectation."""
    np.testing.assert_allclose(
        distribution_focal_loss(z[::-1], 5 - y), distribution_focal_loss(z, y), rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(distribution_expectation(z[::-1]), 5 - distribution_expectation(z), atol=1e-13)


@given(z=logits_of_6, other=logits_of_6, y=targets_to_5)
def test_it_is_convex_in_the_logits(z, other, y):
    """The value at a midpoint does not exceed the mean of the ends."""
    mid = distribution_focal_loss((z + other) / 2, y)

    assert mid <= (distribution_focal_loss(z, y) + distribution_focal_loss(other, y)) / 2 + 1e-12


@given(z=logits_of_6)
def test_expectation_and_its_gradient_follow_the_definition(z):
    """Mean over the bins within [0, n]; derivative S_k (k - mean), the sum of all shares times k - j."""
    with mp.workdps(60):
        shares = _shares(z)
        mean = mp.fsum(k * share for k, share in enumerate(shares))
        gradient = [share * (k - mean) for k, share in enumerate(shares)]

    actual = distribution_expectation(z)

    assert 0 <= actual <= 5
    np.testing.assert_allclose(actual, float(mean), rtol=1e-13)
    for k, value in enumerate(distribution_expectation_grad(z)):
        spread = mp.fsum(share * abs(k - j) for j, share in enumerate(shares))
        assert abs(value - gradient[k]) <= 1e-13 * shares[k] * spread


def test_uniform_distribution_decodes_to_the_middle():
    """The expectation, not the first or the likeliest bin."""
    np.testing.assert_allclose(distribution_expectation(np.zeros((2, 3, 17))), np.full((2, 3), 8.0), rtol=1e-15)


def test_sides_are_independent_and_the_last_axis_is_the_bins():
    """Every side of every anchor is a distribution of its own."""
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(3, 4, 9)), rng.uniform(0, 8, size=(3, 4))

    loss, gradient = distribution_focal_loss(z, y), distribution_focal_loss_grad(z, y)

    for index in np.ndindex(3, 4):
        assert loss[index] == distribution_focal_loss(z[index], y[index])
        np.testing.assert_array_equal(gradient[index], distribution_focal_loss_grad(z[index], y[index]))


@pytest.mark.filterwarnings("error")
def test_largest_logits_do_not_overflow():
    """At the end of the range of float64 a weight of 0 does not meet an infinite logarithm."""
    highest = np.finfo(np.float64).max
    z = np.array([highest, -highest, 0.0])

    assert distribution_focal_loss(z, 0.0) == 0.0
    assert distribution_focal_loss(z, 1.0) == np.inf
    assert distribution_focal_loss_grad(z, 1.0).tolist() == [1.0, -1.0, 0.0]
    assert distribution_expectation(z) == 0.0


def test_boxes_and_distances_are_inverse():
    """In strides, left and top before right and bottom; a point of each level."""
    points = np.array([[20.0, 20.0], [100.0, 60.0]])
    boxes = np.array([[4.0, 12.0, 44.0, 60.0], [68.0, 44.0, 132.0, 124.0]])
    strides = np.array([8.0, 32.0])

    distances = distances_from_boxes(points, boxes, strides, num_bins=8, margin=None)

    assert distances.tolist() == [[2.0, 1.0, 3.0, 5.0], [1.0, 0.5, 1.0, 2.0]]
    np.testing.assert_array_equal(boxes_from_distances(points, distances, strides), boxes)


def test_targets_are_clamped_below_the_last_bin():
    """A side behind the point gives 0, one out of reach n - margin: seven intervals are eight bins."""
    distances = distances_from_boxes([0.0, 0.0], [1.0, -3.0, 5.0, 900.0], 1.0, num_bins=8)

    assert distances.tolist() == [0.0, 3.0, 5.0, 6.9]
    assert distances_from_boxes([0.0, 0.0], [1.0, -3.0, 5.0, 900.0], 1.0, num_bins=8, margin=0.0)[3] == 7.0
    assert distances_from_boxes([0.0, 0.0], [1.0, -3.0, 5.0, 900.0], 1.0, num_bins=8, margin=None)[0] == -1.0


def test_gradient_of_the_boxes_is_plus_minus_the_stride():
    """Central differences of the summed corners, exact because the map is linear."""
    points, strides = np.array([[3.0, 4.0], [9.0, 1.0]]), np.array([8.0, 16.0])
    distances = np.array([[1.0, 2.0, 3.0, 4.0], [0.5, 0.0, 2.0, 1.0]])

    gradient = boxes_from_distances_grad(points, distances, strides)

    for index in np.ndindex(2, 4):
        step = np.zeros((2, 4))
        step[index] = 0.5
        above = boxes_from_distances(points, distances + step, strides).sum()
        assert gradient[index] == above - boxes_from_distances(points, distances - step, strides).sum()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: distribution_focal_loss([[0.0, 0.0]], [1.001]), r"targets: expected distances in \[0, 1\]"),
        (lambda: distribution_focal_loss([[0.0, 0.0]], [-0.2]), "targets: expected distances"),
        (lambda: distribution_focal_loss([[0.0, 0.0]], [np.nan]), "targets: expected finite"),
        (lambda: distribution_focal_loss([[0.0, 0.0]], [[1.0]]), "targets: expected shape"),
        (lambda: distribution_focal_loss([[0.0]], [0.0]), r"logits: expected shape \(..., n \+ 1\)"),
        (lambda: distribution_expectation([0.0, np.inf]), "logits: expected finite"),
        (lambda: distances_from_boxes([0.0, 0.0], [0.0] * 4, 0.0, num_bins=8), "strides: expected numbers > 0"),
        (lambda: distances_from_boxes([0.0, 0.0], [0.0] * 4, 1.0, num_bins=1), "num_bins"),
        (lambda: distances_from_boxes([0.0, 0.0], [0.0] * 4, 1.0, num_bins=2, margin=1.5), "margin"),
        (lambda: boxes_from_distances([0.0, 0.0], [0.0] * 3, 1.0), "distances: expected shape"),
        (lambda: boxes_from_distances([[0.0, 0.0]], [0.0] * 4, 1.0), "points: expected shape"),
    ],
)
def test_errors_name_the_argument(call, message):
    """Whatever lies outside the definition is refused."""
    with pytest.raises(SpecError, match=message):
        call()


def test_loss_of_a_real_detector():
    """NanoDet was trained with this loss: at its foreground points it beats ignorance by far, and fits the equation."""
    path = files("steelyard.conformance") / "data" / "nanodet320_dense.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
        assigned, offset, gt_boxes = data["assigned_gt"].astype(np.int64), data["gt_offset"], data["gt_boxes"]
        image, point = np.nonzero(assigned >= 0)
        z = data["dfl_logits"][image, point].astype(np.float64)
        boxes = gt_boxes[offset[image] + assigned[image, point]].astype(np.float64)
        y = distances_from_boxes(data["points"][point], boxes, data["stride"][point], num_bins=8)

    loss = distribution_focal_loss(z, y)

    naive = -np.log(np.exp(z) / np.exp(z).sum(-1, keepdims=True))
    weights = np.maximum(0.0, 1.0 - np.abs(np.arange(8) - y[..., None]))
    assert loss.shape == (184, 4)
    np.testing.assert_allclose(loss, (weights * naive).sum(-1), rtol=1e-12)
    assert loss.mean() < 0.8 * np.log(8)
