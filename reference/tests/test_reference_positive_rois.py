"""The box generator's regions and laws against quadrature and draws; the positive RoI generator's counts."""

import mpmath
import numpy as np
import pytest

from steelyard.reference import (
    best_iou_of_corner,
    first_corner_areas,
    generate_boxes,
    generate_positive_rois,
    instance_slots,
    iou_bin_quotas,
    pairwise_iou,
    requested_ious,
    second_corner_areas,
    second_corner_limits,
)
from steelyard.reference.checks import SpecError
from steelyard.reference.generative.box_generator_laws import generated_iou_survival, generated_side_probabilities

EDGES, WEIGHTS = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0], [0.73, 0.12, 0.15, 0.05, 0.0]
WORKED_AREAS = [
    (0.5, "1.15342640972002735", (0.33491028, 0.13301794, 0.26603589)),
    (0.6, "0.589896084485075362", (0.31312188, 0.15851033, 0.26418389)),
    (0.7, "0.275084714135040261", (0.29432463, 0.18295287, 0.26136125)),
    (0.8, "0.104127495462974879", (0.27782709, 0.20633512, 0.25791890)),
    (0.9, "0.0226328553232218389", (0.26316293, 0.22867357, 0.25408175)),
]


def drawn(t, number, seed, tries=48):
    """Boxes around the unit square."""
    random = np.random.default_rng(seed)
    boxes = np.tile([0.0, 0.0, 1.0, 1.0], (number, 1))
    return generate_boxes(boxes, np.full(number, t), random.random(number), *random.random((2, number, tries, 2)))


@pytest.mark.parametrize(("t", "area", "shares"), WORKED_AREAS)
def test_areas_of_the_first_region(t, area, shares):
    """The worked areas, and an integral of the region's height in 30 digits."""
    areas = first_corner_areas(t)
    with mpmath.workdps(30):
        T = mpmath.mpf(str(t))

        def height(u):
            if u <= 1:  # from uv = T to the mixed border
                return (1 + T) / T - 1 / u - T / u
            return 1 / (T * u) - 1 / ((1 + T) / T - u)  # from the mixed border to uv = 1 / T

        integral = mpmath.quad(height, [T, 1, 1 / T])

    assert areas.sum() == pytest.approx(float(area), rel=1e-13)
    assert areas.sum() == pytest.approx(float(integral), rel=1e-13)
    np.testing.assert_allclose(areas[[1, 0, 0], [1, 0, 1]] / areas.sum(), shares, atol=6e-9)


@pytest.mark.parametrize(
    ("corner", "t", "best", "limits"),
    [
        ((0, 0), 0.5, 1.0, (0.5, 0.5, 2.0, 2.0)),
        ((0.1, -0.2), 0.6, 0.762711864406780,
         (0.781818181818182, 0.786666666666667, 1.26666666666667, 1.35555555555556)),
        ((-0.1, 0.1), 0.7, 0.825688073394495,
         (0.847777777777778, 0.852688172043011, 1.21746031746032, 1.17792207792208)),
    ],
)  # fmt: skip
def test_limits_of_the_second_corner(corner, t, best, limits):
    """The worked limits; at each of them, with the other coordinate 1, the IoU is T."""
    found = second_corner_limits(corner, t)

    assert best_iou_of_corner(corner) == pytest.approx(best, abs=1e-14)
    np.testing.assert_allclose(found, limits, rtol=1e-13)
    boxes = [(*corner, c, 1.0) for c in found[[0, 2]]] + [(*corner, 1.0, d) for d in found[[1, 3]]]
    np.testing.assert_allclose(pairwise_iou(boxes, [(0, 0, 1, 1)])[:, 0], t, rtol=1e-14)


@pytest.mark.parametrize(
    ("corner", "t"), [((0.1, -0.2), 0.6), ((-0.1, 0.1), 0.7), ((0.2, 0.1), 0.5), ((-0.2, -0.3), 0.5)]
)
def test_areas_of_the_second_region(corner, t):
    """The integral of the IoU's indicator over a fine grid of midpoints."""
    limits = second_corner_limits(corner, t)
    grid = (np.arange(1000) + 0.5) / 1000
    c, d = np.meshgrid(limits[0] + (limits[2] - limits[0]) * grid, limits[1] + (limits[3] - limits[1]) * grid,
                       indexing="ij")  # fmt: skip
    x, y = np.maximum(corner, 0.0)
    inner = (np.minimum(c, 1) - x) * (np.minimum(d, 1) - y)
    inside = inner >= t * (1 + (c - corner[0]) * (d - corner[1]) - inner)
    cell = np.prod(limits[2:] - limits[:2]) / 1e6
    counted = [[(inside & ((c > 1) == i) & ((d > 1) == j)).sum() * cell for j in (0, 1)] for i in (0, 1)]

    np.testing.assert_allclose(second_corner_areas(corner, t), counted, atol=3e-4)


@pytest.mark.parametrize(("t", "mean"), [(0.5, 0.5391), (0.6, 0.6346), (0.7, 0.7281), (0.8, 0.8200), (0.9, 0.9106)])
def test_mean_iou(t, mean):
    """The worked means: T and the integral of the law above it."""
    node, weight = np.polynomial.legendre.leggauss(24)
    s = t + (1 - t) * (node + 1) / 2

    survival = generated_iou_survival(s, minimum_iou=t)

    assert t + (1 - t) / 2 * float(weight @ survival) == pytest.approx(mean, abs=2e-4)


def test_bins_of_the_realised_iou():
    """The worked shares of the five bins at T = 0.5, which come from draws and are rounded: 0.8987 is exact."""
    survival = generated_iou_survival([0.5, 0.6, 0.7, 0.8, 0.9, 1.0], minimum_iou=0.5)

    np.testing.assert_allclose(-np.diff(survival), [0.898, 0.086, 0.014, 0.002, 0.00005], atol=1e-3)


def test_draws_follow_the_laws():
    """IoU and sides of 4,000 boxes: each share within 5 standard errors, a false alarm of 2e-5 at most."""
    t, number = 0.6, 4000
    boxes, iou = drawn(t, number, 3)
    levels = np.array([0.62, 0.65, 0.7, 0.8])
    sides = np.concatenate([boxes[:, :2] < 0, boxes[:, 2:] > 1], axis=1).astype(int)
    pattern = np.bincount(np.ravel_multi_index(tuple(sides.T), (2, 2, 2, 2)), minlength=16) / number

    assert (iou >= t - 1e-12).all()
    for share, law in (
        ((iou[:, np.newaxis] >= levels).mean(axis=0), generated_iou_survival(levels, minimum_iou=t)),
        (pattern, generated_side_probabilities(t).ravel()),
    ):
        assert (np.abs(share - law) < 5 * np.sqrt(law * (1 - law) / number)).all()
    assert generated_side_probabilities(t).sum() == pytest.approx(1.0, abs=1e-12)


def test_boxes_move_with_their_reference_box():
    """Theorems 1 and 2: the same keys give the boxes shifted and scaled, each axis by its own factor."""
    random = np.random.default_rng(5)
    keys = random.random(9), random.random((9, 30, 2)), random.random((9, 30, 2))
    t, unit = np.linspace(0.3, 0.95, 9), np.tile([0.0, 0.0, 1.0, 1.0], (9, 1))

    here, iou = generate_boxes(unit, t, *keys)
    there, other_iou = generate_boxes(unit * [1, 7, 1, 7] * 8 - [3, 5, 3, 5], t, *keys)

    np.testing.assert_allclose(there, here * [8, 56, 8, 56] - [3, 5, 3, 5], rtol=1e-12)
    np.testing.assert_allclose(iou, other_iou, rtol=1e-12)


def test_without_an_accepted_try_and_without_an_area():
    """The corner of the reference box where the tries run out; a degenerate box is answered by itself."""
    box, iou = generate_boxes([[0, 0, 2, 4], [1, 1, 1, 5]], [0.7, 0.7], [0.9, 0.0], *np.zeros((2, 2, 3, 2)))

    np.testing.assert_array_equal(box, [[0, 0, 2, 4], [1, 1, 1, 5]])
    np.testing.assert_array_equal(iou, [1, 0])


def test_worked_allocations():
    """A, A, B and A, A, A, B with 8 boxes."""
    assert instance_slots([0, 0, 1], num_classes=2, num_rois=8).tolist() == [2, 2, 4]
    assert instance_slots([0, 0, 0, 1, -1, 2], num_classes=2, num_rois=8).tolist() == [2, 2, 2, 4, 0, 0]


def test_quotas_sum_up_and_requests_fill_them():
    """Largest remainders; in a tie the first. As many requests lie in each bin."""
    assert iou_bin_quotas([1, 1, 1], num_rois=8).tolist() == [3, 3, 2]
    assert iou_bin_quotas(WEIGHTS, num_rois=8).tolist() == [6, 1, 1, 0, 0]
    keys = np.random.default_rng(0).random((2, 3, 20))
    asked = requested_ious(EDGES, [1, 1, 1, 1, 1], *keys, allocation="quota")

    for image in asked:
        assert np.histogram(image, EDGES)[0].tolist() == [4, 4, 4, 4, 4]
    assert asked.max() <= 0.95


def test_positive_rois_of_objects_that_do_not_count():
    """Degenerate, outside, ignored: no box is theirs, and the numbers are those of the full list."""
    gt = [[[5, 5, 5, 9], [200, 200, 250, 250], [10, 10, 40, 40], [-10, -10, 20, 20]]]
    random = np.random.default_rng(1)
    keys = [random.random((1, m)) for m in (12, 8, 8, 8)] + [random.random((1, 8, 40, 2)) for _ in range(2)]

    boxes, iou, asked, number, label = generate_positive_rois(
        gt, [[0, 1, 1, 0]], [[100, 100]], EDGES, WEIGHTS, *keys, num_classes=2
    )

    assert number.tolist() == [[2] * 4 + [3] * 4]
    assert label.tolist() == [[1] * 4 + [0] * 4]
    assert (iou >= asked - 1e-12).all()
    assert boxes.min() >= 0


@pytest.mark.parametrize("bad", [0.0, 1.0, -0.5])
def test_thresholds_outside_are_refused(bad):
    """T = 1 would have a region without an inside."""
    with pytest.raises(SpecError, match="minimum_ious"):
        generate_boxes([[0, 0, 1, 1]], [bad], [0.0], *np.zeros((2, 1, 1, 2)))
