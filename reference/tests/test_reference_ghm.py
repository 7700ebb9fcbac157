"""GHM-C against mpmath at 50 digits, the paper's laws, and real detector outputs."""

from importlib.resources import files
from itertools import pairwise
from math import log

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.reference.checks import SpecError
from steelyard.reference.soft_sampling.ghm import (
    cross_entropy_gradient_norm,
    exact_ghm_classification_loss,
    exact_ghm_classification_loss_grad,
    ghm_classification_loss,
    ghm_classification_loss_grad,
    ghm_classification_loss_with_labels,
    ghm_classification_loss_with_labels_grad,
)
from steelyard.reference.soft_sampling.gradient_density import (
    harmonizing_weights,
    unit_region_counts,
    unit_region_index,
    unit_region_weights,
)

mp.mp.dps = 50
LOGITS = [-4.0, -3.0, -2.0, 0.5, 1.5, 3.0]
TARGETS = [0, 0, 0, 0, 1, 0]
NEXT_LOGITS = [-4.0, -4.0, -3.0, -1.0, 2.0, 3.0]
EXACT = {"rtol": 1e-14, "atol": 0.0}

logits_of_12 = st.lists(st.floats(-20, 20), min_size=12, max_size=12)
targets_of_12 = st.lists(st.integers(0, 1), min_size=12, max_size=12)
masks_of_12 = st.lists(st.booleans(), min_size=12, max_size=12)
region_numbers = st.sampled_from([1, 2, 10, 30])
norms = st.sampled_from(["nonempty", "M"])


def _sigmoid(x):
    return 1 / (1 + mp.exp(-x))


def _cross_entropy(x, y):
    return -mp.log(_sigmoid(x) if y else 1 - _sigmoid(x))


def _weights_by_region(logits, targets, *, bins, norm, history=None, momentum=None, lazy=True):
    """Weights and averaged counts by region, straight from the table of the module, in 50 digits."""
    g = [abs(_sigmoid(mp.mpf(x)) - y) for x, y in zip(logits, targets, strict=True)]
    region = [min(int(mp.floor(value * bins)), bins - 1) for value in g]
    counts = [mp.mpf(region.count(j)) for j in range(bins)]
    size = counts
    if momentum is not None:
        a = mp.mpf(momentum)
        size = [s if lazy and not r else a * s + (1 - a) * r for s, r in zip(history, counts, strict=True)]
    regions = bins if norm == "M" else sum(r > 0 for r in counts)
    return [len(g) / (size[j] * regions) for j in region], size


def _loss(logits, targets, weights):
    terms = [w * _cross_entropy(mp.mpf(x), y) for w, x, y in zip(weights, logits, targets, strict=True)]
    return mp.fsum(terms) / len(terms)


def _floats(values):
    return [float(value) for value in values]


def test_worked_gradient_norms():
    """The printed ones, in 50 digits and from the oracle."""
    digits = [
        "0.017986209962091558", "0.0474258731775667809", "0.119202922022117556", "0.622459331201854565",
        "0.18242552380635634", "0.952574126822433219",
    ]  # fmt: skip

    exact = [abs(_sigmoid(mp.mpf(x)) - y) for x, y in zip(LOGITS, TARGETS, strict=True)]

    assert max(abs(g - mp.mpf(d)) for g, d in zip(exact, digits, strict=True)) < mp.mpf(10) ** -17
    np.testing.assert_allclose(cross_entropy_gradient_norm(LOGITS, TARGETS), _floats(exact), **EXACT)


@pytest.mark.parametrize(
    ("bins", "norm", "digits"),
    [
        (10, "M", 0.422020362001248709),
        (10, "nonempty", 1.05505090500312177),
        (30, "M", 0.147258096809037515),
        (30, "nonempty", 0.736290484045187574),
    ],
)
def test_worked_example(bins, norm, digits):
    """Six examples: loss and weights of both norms."""
    weights, _ = _weights_by_region(LOGITS, TARGETS, bins=bins, norm=norm)

    loss, _ = ghm_classification_loss(LOGITS, TARGETS, bins=bins, norm=norm)
    beta = unit_region_weights(cross_entropy_gradient_norm(LOGITS, TARGETS), bins=bins, norm=norm).weights

    np.testing.assert_allclose(loss, float(_loss(LOGITS, TARGETS, weights)), **EXACT)
    np.testing.assert_allclose(loss, digits, **EXACT)
    np.testing.assert_allclose(beta, _floats(weights), **EXACT)


def test_worked_example_regions_and_weights():
    """Regions 0, 0, 1, 6, 1, 9, so weights 6/(2*4) and 6/(1*4) by the authors, a tenth of 3 and 6 by the paper."""
    g = cross_entropy_gradient_norm(LOGITS, TARGETS)

    assert unit_region_index(g).tolist() == [0, 0, 1, 6, 1, 9]
    np.testing.assert_allclose(unit_region_weights(g).weights, [0.75, 0.75, 0.75, 1.5, 0.75, 1.5], **EXACT)
    np.testing.assert_allclose(unit_region_weights(g, norm="M").weights, [0.3, 0.3, 0.3, 0.6, 0.3, 0.6], **EXACT)


def test_worked_example_gradient():
    """Weight times (p - y) by N, and its digits."""
    weights, _ = _weights_by_region(LOGITS, TARGETS, bins=10, norm="nonempty")
    expected = [w * (_sigmoid(mp.mpf(x)) - y) / 6 for w, x, y in zip(weights, LOGITS, TARGETS, strict=True)]

    gradient = ghm_classification_loss_grad(LOGITS, TARGETS)

    np.testing.assert_allclose(gradient, _floats(expected), **EXACT)
    digits = [0.00224827624526144475, 0.00592823414719584761, 0.0149003652527646945]
    digits += [0.155614832800463641, -0.0228031904757945425, 0.238143531705608305]
    np.testing.assert_allclose(gradient, digits, **EXACT)


def test_worked_example_exact_density():
    """Window 0.1: counts 2, 2, 1, 1, 1, 1 and clipped windows."""
    half = mp.mpf("0.05")
    g = [abs(_sigmoid(mp.mpf(x)) - y) for x, y in zip(LOGITS, TARGETS, strict=True)]
    counts = [sum(v - half <= u < v + half for u in g) for v in g]
    weights = [6 * (min(v + half, 1) - max(v - half, 0)) / c for v, c in zip(g, counts, strict=True)]
    expected_gradient = [w * (v if not y else -v) / 6 for w, v, y in zip(weights, g, TARGETS, strict=True)]

    loss = exact_ghm_classification_loss(LOGITS, TARGETS, epsilon=0.1)
    gradient = exact_ghm_classification_loss_grad(LOGITS, TARGETS, epsilon=0.1)

    assert counts == [2, 2, 1, 1, 1, 1]
    np.testing.assert_allclose(loss, float(_loss(LOGITS, TARGETS, weights)), **EXACT)
    np.testing.assert_allclose(loss, 0.430236916987077887, **EXACT)
    np.testing.assert_allclose(gradient, _floats(expected_gradient), rtol=1e-13)
    digits = [0.000611407123452509753, 0.00231025355276649364, 0.0119202922022117556]
    digits += [0.0622459331201854565, -0.018242552380635634, 0.0928053660720337936]
    np.testing.assert_allclose(gradient, digits, rtol=1e-13)
    beta = harmonizing_weights(cross_entropy_gradient_norm(LOGITS, TARGETS), epsilon=0.1)
    digits = [0.203958629886274674, 0.292277619532700343, 0.6, 0.6, 0.6, 0.584555239065400685]
    np.testing.assert_allclose(beta, digits, rtol=1e-13)


@pytest.mark.parametrize(
    ("norm", "ema", "digits"),
    [
        ("M", "full", (1.68808144800499484, 0.849978652395661721)),
        ("nonempty", "lazy", (4.22020362001248709, 2.1249466309891543)),
    ],
)
def test_worked_example_moving_average(norm, ema, digits):
    """Two mini-batches from a zero state, momentum 0.75."""
    options = {"bins": 10, "norm": norm, "momentum": 0.75}
    first_weights, history = _weights_by_region(LOGITS, TARGETS, history=[0] * 10, lazy=ema == "lazy", **options)
    second_weights, history = _weights_by_region(NEXT_LOGITS, TARGETS, history=history, lazy=ema == "lazy", **options)

    first = ghm_classification_loss(LOGITS, TARGETS, ema=ema, **options)
    second = ghm_classification_loss(NEXT_LOGITS, TARGETS, None, first.state, ema=ema, **options)

    np.testing.assert_allclose(first.loss, float(_loss(LOGITS, TARGETS, first_weights)), **EXACT)
    np.testing.assert_allclose(second.loss, float(_loss(NEXT_LOGITS, TARGETS, second_weights)), **EXACT)
    np.testing.assert_allclose((first.loss, second.loss), digits, **EXACT)
    np.testing.assert_allclose(second.state, _floats(history), **EXACT)
    sixth = 0.1875 if ema == "full" else 0.25
    np.testing.assert_allclose(second.state, [1.125, 0.625, 0.25, 0, 0, 0, sixth, 0, 0, 0.4375], **EXACT)


@given(logits=logits_of_12, targets=targets_of_12, valid=masks_of_12, bins=region_numbers, norm=norms)
def test_terms_sum_to_the_loss(logits, targets, valid, bins, norm):
    """reduction="none" gives the summands."""
    loss = ghm_classification_loss(logits, targets, valid, bins=bins, norm=norm).loss

    terms = ghm_classification_loss(logits, targets, valid, bins=bins, norm=norm, reduction="none").loss

    np.testing.assert_allclose(terms.sum(), loss, rtol=1e-13)
    assert terms.shape == (12,)


def test_gradient_is_that_of_the_loss_at_fixed_weights():
    """mpmath's numerical derivative of every term, its weight held fixed."""
    for weights, gradient in (
        (
            unit_region_weights(cross_entropy_gradient_norm(LOGITS, TARGETS), bins=30, norm="M").weights,
            ghm_classification_loss_grad(LOGITS, TARGETS, bins=30, norm="M"),
        ),
        (
            harmonizing_weights(cross_entropy_gradient_norm(LOGITS, TARGETS), epsilon=0.1),
            exact_ghm_classification_loss_grad(LOGITS, TARGETS, epsilon=0.1),
        ),
    ):
        expected = [
            mp.mpf(float(w)) / 6 * mp.diff(lambda t, y=y: _cross_entropy(t, y), mp.mpf(x))
            for w, x, y in zip(weights, LOGITS, TARGETS, strict=True)
        ]
        np.testing.assert_allclose(gradient, _floats(expected), rtol=1e-13)


@given(logits=logits_of_12, targets=targets_of_12, valid=masks_of_12, bins=region_numbers)
def test_harmony_identity(logits, targets, valid, bins):
    """Each non-empty region's total gradient is its mean gradient norm by the number of regions."""
    g, counted = cross_entropy_gradient_norm(logits, targets), np.array(valid)
    index = unit_region_index(g, bins=bins)
    num_regions = len(set(index[counted]))

    gradient = np.abs(ghm_classification_loss_grad(logits, targets, valid, bins=bins))

    for j in set(index[counted]):
        inside = counted & (index == j)
        np.testing.assert_allclose(gradient[inside].sum(), g[inside].mean() / num_regions, rtol=1e-12, atol=1e-300)
    assert (gradient[~counted] == 0).all()


@given(logits=logits_of_12, targets=targets_of_12, times=st.integers(2, 5), bins=region_numbers, norm=norms)
def test_duplicating_every_example_changes_nothing(logits, targets, times, bins, norm):
    """Densities and N grow alike: in the exact form too."""
    many = (logits * times, targets * times)

    binned = ghm_classification_loss(*many, bins=bins, norm=norm).loss
    exact = exact_ghm_classification_loss(*many, epsilon=0.25)

    np.testing.assert_allclose(binned, ghm_classification_loss(logits, targets, bins=bins, norm=norm).loss, rtol=1e-12)
    np.testing.assert_allclose(exact, exact_ghm_classification_loss(logits, targets, epsilon=0.25), rtol=1e-12)


@given(logits=logits_of_12, targets=targets_of_12, times=st.integers(2, 50), norm=norms, which=st.integers(0, 11))
def test_duplicating_one_region_changes_nothing(logits, targets, times, norm, which):
    """A region has the same say however crowded it is."""
    x, y = np.array(logits), np.array(targets)
    index = unit_region_index(cross_entropy_gradient_norm(x, y))
    inside = index == index[which]
    crowded = (np.append(x, np.tile(x[inside], times)), np.append(y, np.tile(y[inside], times)))

    loss = ghm_classification_loss(*crowded, norm=norm).loss

    np.testing.assert_allclose(loss, ghm_classification_loss(x, y, norm=norm).loss, rtol=1e-12)


@given(logits=logits_of_12, targets=targets_of_12, valid=masks_of_12, norm=norms)
def test_one_region_is_mean_cross_entropy(logits, targets, valid, norm):
    """M = 1 and the longest exact window weigh all examples alike."""
    x, y, counted = np.array(logits), np.array(targets), np.array(valid)
    element = np.logaddexp(0.0, np.where(y == 1, -x, x))
    expected = element[counted].mean() if counted.any() else 0.0

    binned = ghm_classification_loss(logits, targets, valid, bins=1, norm=norm).loss
    exact = exact_ghm_classification_loss(logits, targets, valid, epsilon=2.0)

    np.testing.assert_allclose(binned, expected, rtol=1e-12)
    np.testing.assert_allclose(exact, expected, rtol=1e-12)


def test_all_in_one_region_is_mean_cross_entropy():
    """With the authors' norm; the paper's is smaller by M."""
    mean = log(1 + np.exp(-4.0))

    assert ghm_classification_loss([-4.0] * 3, [0] * 3).loss == pytest.approx(mean, rel=1e-14)
    assert ghm_classification_loss([-4.0] * 3, [0] * 3, norm="M").loss == pytest.approx(mean / 10, rel=1e-14)


@given(logits=logits_of_12, targets=targets_of_12)
def test_swapping_the_sides_changes_nothing(logits, targets):
    """(x, y) to (-x, 1 - y)."""
    mirrored = ([-x for x in logits], [1 - y for y in targets])

    assert ghm_classification_loss(*mirrored).loss == ghm_classification_loss(logits, targets).loss
    np.testing.assert_array_equal(
        ghm_classification_loss_grad(*mirrored), -ghm_classification_loss_grad(logits, targets)
    )


@given(logits=logits_of_12, targets=targets_of_12, valid=masks_of_12, norm=norms)
def test_ignored_is_as_left_out(logits, targets, valid, norm):
    """An ignored element is neither counted nor weighed, whatever it holds."""
    counted = np.array(valid)
    spoilt = np.where(counted, logits, np.nan)
    kept = (np.array(logits)[counted], np.array(targets)[counted])
    options = {"norm": norm, "momentum": 0.5, "ema": "full"}
    state = np.arange(10.0)

    ignored = ghm_classification_loss(spoilt, targets, valid, state, **options)

    left_out = ghm_classification_loss(*kept, None, state, **options)
    np.testing.assert_allclose(ignored.loss, left_out.loss, rtol=1e-13)
    np.testing.assert_array_equal(ignored.state, left_out.state)


def test_half_is_the_lower_edge_of_the_sixth_region():
    """x = 0 has g = 1/2 exactly: index 5 of ten."""
    assert unit_region_index(cross_entropy_gradient_norm([0.0, 0.0], [0, 1])).tolist() == [5, 5]


def test_rounded_gradient_norm_of_one_is_counted():
    """sigmoid(40) rounds to 1: the example is in the last region and has its weight."""
    loss = ghm_classification_loss([40.0, 40.0], [0, 1]).loss

    assert loss == pytest.approx((40.0 + np.exp(-40.0)) / 2, rel=1e-14)


def test_infinite_and_nan_logits():
    """Right-signed infinity costs nothing, wrong-signed infinitely much; NaN stays in its own element."""
    logits, targets = [np.inf, np.inf, np.nan, 0.0], [1, 0, 1, 1]

    terms = ghm_classification_loss(logits, targets, reduction="none").loss
    gradient = ghm_classification_loss_grad(logits, targets)

    np.testing.assert_array_equal(terms[:3], [0.0, np.inf, np.nan])
    assert terms[3] == pytest.approx(log(2) / 3)
    np.testing.assert_allclose(gradient, [0.0, 1 / 3, np.nan, -0.5 / 3])
    assert np.isnan(ghm_classification_loss(logits, targets).loss)


def test_huge_logits_are_exact():
    """Nothing overflows up to the range of float64."""
    huge = np.finfo(np.float64).max

    assert ghm_classification_loss([huge, -huge], [0, 1]).loss == pytest.approx(huge)
    assert ghm_classification_loss([huge, -huge], [1, 0]).loss == 0.0


def test_no_example_is_zero():
    """No element, or none valid: loss 0, gradient 0."""
    assert ghm_classification_loss([], []).loss == 0.0
    assert ghm_classification_loss([3.0], [0], [0]).loss == 0.0
    assert ghm_classification_loss_grad([3.0], [0], [0]).tolist() == [0.0]
    assert exact_ghm_classification_loss([3.0], [0], [0], epsilon=0.1) == 0.0
    assert ghm_classification_loss(np.zeros((0, 4)), np.zeros((0, 4)), reduction="none").loss.shape == (0, 4)


@given(logits=logits_of_12, labels=st.lists(st.integers(-1, 3), min_size=4, max_size=4), norm=norms)
def test_labels_are_one_channel_a_class(logits, labels, norm):
    """Background is negative in all channels, ignored anchors are valid in none."""
    x = np.reshape(logits, (4, 3))
    y = np.array([[label == c for c in range(3)] for label in labels])
    valid = np.array([[label != -1] * 3 for label in labels])
    options = {"norm": norm, "momentum": 0.5}

    by_labels = ghm_classification_loss_with_labels(x, labels, np.ones(10), **options)
    gradient = ghm_classification_loss_with_labels_grad(x, labels, np.ones(10), **options)

    by_targets = ghm_classification_loss(x, y, valid, np.ones(10), **options)
    assert by_labels.loss == by_targets.loss
    np.testing.assert_array_equal(by_labels.state, by_targets.state)
    np.testing.assert_array_equal(gradient, ghm_classification_loss_grad(x, y, valid, np.ones(10), **options))


def test_real_detector_outputs_from_thresholds_on_the_logits():
    """g >= j/10 is z >= log(j / (10 - j)) for the signed logit z: the histogram needs no sigmoid."""
    with np.load(str(files("steelyard.conformance") / "data" / "nanodet320_dense.npz")) as data:
        logits = data["cls_logits"].astype(np.float64)
        ground_truth = [data["gt_class"][first:] for first in data["gt_offset"][:-1]]
        assigned = data["assigned_gt"]
    labels = np.array(
        [
            [classes[gt] if gt >= 0 else 80 for gt in image]
            for image, classes in zip(assigned, ground_truth, strict=True)
        ]
    )
    foreground = labels[..., None] == np.arange(80)
    z = np.where(foreground, -logits, logits)
    thresholds = [-np.inf, *(log(j / (10 - j)) for j in range(1, 10)), np.inf]
    element = np.logaddexp(0.0, z)
    regions = [(z >= low) & (z < high) for low, high in pairwise(thresholds)]

    g = cross_entropy_gradient_norm(logits, foreground)
    loss = ghm_classification_loss_with_labels(logits, labels).loss

    assert element[foreground].sum() == pytest.approx(256.405890785019, rel=1e-13)
    assert element[~foreground].sum() == pytest.approx(3540.29606547374, rel=1e-13)
    assert foreground.sum() == 184
    counts = unit_region_counts(g)
    assert counts.tolist() == [int(region.sum()) for region in regions]
    assert unit_region_counts(g, foreground).tolist() == [int(region[foreground].sum()) for region in regions]
    assert loss == pytest.approx(np.mean([element[region].mean() for region in regions]), rel=1e-12)


def test_published_histogram_of_the_foreground():
    """Of 2,432 foreground points of 64 images.

    Of the background, the data has each point's highest class alone: a lower bound, which the upper regions reach.
    """
    with np.load(str(files("steelyard.conformance") / "data" / "nanodet320_points.npz")) as data:
        highest, classes = data["max_logit"].astype(np.float64), data["max_class"]
        logits, point, offset = data["fg_cls_logits"].astype(np.float64), data["fg_point"], data["fg_offset"]
        image = np.repeat(np.arange(64), np.diff(offset))
        own_class = data["gt_class"][data["gt_offset"][image] + data["fg_gt"]]
    foreground = own_class[:, None] == np.arange(80)
    is_background = np.ones(highest.shape, dtype=bool)
    is_background[image, point] = classes[image, point] != own_class

    of_foreground = unit_region_counts(cross_entropy_gradient_norm(logits[foreground], np.ones(len(own_class))))
    of_background = unit_region_counts(cross_entropy_gradient_norm(highest, np.zeros(highest.shape)), is_background)

    published = [10_729_186, 16_310, 2_957, 778, 271, 51, 8, 6, 1, 0]
    assert of_foreground.tolist() == [0, 22, 65, 123, 189, 242, 374, 449, 533, 435]
    assert sum(published) == 64 * 2100 * 80 - len(own_class)
    assert (of_background <= published).all()
    assert of_background[6:].tolist() == published[6:]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ghm_classification_loss([0.0], [2]), "targets: expected 0 or 1, got 2"),
        (lambda: ghm_classification_loss([0.0], [0, 1]), "targets: expected shape"),
        (lambda: ghm_classification_loss([0.0], [0], [1, 1]), "valid: expected shape"),
        (lambda: ghm_classification_loss([0.0], [0], reduction="mean"), "reduction: expected one of"),
        (lambda: ghm_classification_loss([0.0], [0], None, [0.0]), "state: expected shape"),
        (lambda: ghm_classification_loss_grad([0.0], [0], norm="n"), "norm: expected one of"),
        (lambda: ghm_classification_loss_with_labels([[0.0]], [2]), "labels: expected integers in"),
        (lambda: ghm_classification_loss_with_labels(0.0, 0), "logits: expected shape"),
        (lambda: exact_ghm_classification_loss([0.0], [0], epsilon=3.0), "epsilon: expected a number in"),
    ],
)
def test_bad_arguments_are_named(call, message):
    """The message names the argument, what was expected and what came."""
    with pytest.raises(SpecError, match=message):
        call()
