"""Instance switching: the published numbers, the laws of an exchange, and what is refused."""

import mpmath
import numpy as np
import pytest

from steelyard.reference.checks import SpecError
from steelyard.reference.generative.instance_switching import switch_eligibility, switch_instances

mpmath.mp.dps = 50


def two_objects(first, second, canvas=(20, 20)):
    """Two masks at the upper left corner of canvases of their own, in boxes of their size."""
    masks = np.zeros((2, *canvas), dtype=bool)
    for mask, shape in zip(masks, (first, second), strict=True):
        mask[: shape.shape[0], : shape.shape[1]] = shape
    return masks, np.array([[0, 0, shape.shape[1], shape.shape[0]] for shape in (first, second)])


def eligible(first, second, **changes):
    masks, boxes = two_objects(first, second)
    arguments = {"labels": [3, 3], "image_index": [0, 1], "crowd": [0, 0], "pairs": [[0, 1]]}
    return bool(switch_eligibility(masks, boxes, **{**arguments, **changes})[0])


def filled(height, width, pixels):
    """So many pixels of a box, row by row."""
    return (np.arange(height * width) < pixels).reshape(height, width)


@pytest.mark.parametrize(("width", "answer"), [(25, True), (35, False)])
def test_sizes_of_boxes(width, answer):
    """100 pixels against 250 are 0.4 of them; against 350, 0.2857."""
    masks, boxes = two_objects(filled(10, 10, 90), filled(10, width, 8 * width), canvas=(10, 40))

    assert switch_eligibility(masks, boxes, [3, 3], [0, 1], [0, 0], [[0, 1]], max_difference=1.0) == [answer]


@pytest.mark.parametrize(("second", "answer"), [(80, False), (78, True), (60, False)])
def test_differing_pixels(second, answer):
    """Of 60 and 80 pixels 20 differ, a third of the first; 18 of 60 are 0.3, which is allowed; none is no switch."""
    assert eligible(filled(10, 10, 60), filled(10, 10, second)) is answer


def test_the_bound_holds_for_both_masks():
    """78 and 60 the other way round: 18 of 78 and of 60; 100 and 76: 24 of 76 is too much."""
    assert eligible(filled(10, 10, 78), filled(10, 10, 60))
    assert not eligible(filled(10, 10, 100), filled(10, 10, 76))


def test_the_order_of_a_pair_counts():
    """3 is allowed, 1/3 is allowed, 0.3 is; 10/3, its inverse, is not: the rule is not symmetric."""
    wide, narrow = filled(10, 20, 190), filled(10, 6, 54)

    assert not eligible(wide, narrow, max_difference=1.0)
    assert eligible(narrow, wide, max_difference=1.0)


@pytest.mark.parametrize(
    "changes",
    [{"image_index": [1, 1]}, {"labels": [3, 4]}, {"crowd": [1, 0]}, {"crowd": [0, 1]}],
)
def test_what_is_never_switched(changes):
    """Objects of one image, of two classes, and crowds; without these, the pair is fine."""
    shapes = filled(10, 10, 60), filled(10, 10, 70)

    assert eligible(*shapes)
    assert not eligible(*shapes, **changes)


@pytest.mark.parametrize("shape", [(0, 10), (10, 10)])
def test_objects_without_pixels_are_never_switched(shape):
    """Neither with an empty box nor with an empty mask, whatever may differ."""
    nothing = np.zeros(shape, dtype=bool)

    assert not eligible(filled(10, 10, 60), nothing, max_difference=1.0)
    assert not eligible(nothing, filled(10, 10, 60), max_difference=1.0)


def test_masks_are_compared_at_one_size():
    """A checkerboard of two by two equals one of four by four with doubled squares: nothing differs, but for one."""
    board = np.array([[1, 0], [0, 1]], dtype=bool)
    doubled = board.repeat(2, axis=0).repeat(2, axis=1)
    spoilt = doubled.copy()
    spoilt[0, 0] = False

    assert not eligible(doubled, board, max_size_ratio=4.0)
    assert eligible(spoilt, board, max_size_ratio=4.0)


def scene(seed=0):
    """Two images of two objects each."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (2, 3, 9, 8)).astype(float)
    boxes = np.array([[1, 2, 5, 8], [0, 0, 8, 9], [2, 1, 6, 7], [3, 3, 4, 4]])
    return images, random.random((4, 9, 8)) < 0.7, boxes, np.array([0, 0, 1, 1])


def test_objects_of_one_size_are_exchanged_pixel_by_pixel():
    """Without a change of size, colours are those of the other image where the smoothed mask is 1."""
    images, masks, boxes, index = scene()
    masks[...] = True

    made, _, _ = switch_instances(images, masks, boxes, index, [[0, 2]])

    expected = images.copy()
    expected[0, :, 2:8, 1:5], expected[1, :, 1:7, 2:6] = images[1, :, 1:7, 2:6], images[0, :, 2:8, 1:5]
    np.testing.assert_allclose(made[0], expected, atol=1e-12)  # weights of the Gaussian add up to 1 but for rounding


def test_the_edge_is_smoothed_by_the_gaussian():
    """One pixel of a mask: its weight is g0^2 in the middle, g0 g1 beside it, g1^2 across, for sigma 2."""
    images = np.zeros((2, 1, 5, 5))
    images[1] = 1.0
    masks = np.zeros((2, 5, 5), dtype=bool)
    masks[1, 2, 2] = True

    made, _, _ = switch_instances(images, masks, [[0, 0, 5, 5]] * 2, [0, 1], [[0, 1]])

    raw = [mpmath.exp(-(mpmath.mpf(d) ** 2) / 8) for d in (-1, 0, 1)]
    g = [float(weight / sum(raw)) for weight in raw]
    assert g == pytest.approx([0.319167768453859, 0.361664463092282, 0.319167768453859], rel=1e-14)
    np.testing.assert_allclose(made[0, 0, 0, 1:4, 1:4], np.outer(g, g), rtol=1e-14)
    assert made[0, 0, 0].sum() == pytest.approx(1.0)


def test_the_edge_is_mirrored_at_the_box():
    """In the corner of its box a pixel sees itself once and the next pixels twice."""
    images = np.zeros((2, 1, 4, 4))
    images[1] = 1.0
    masks = np.zeros((2, 4, 4), dtype=bool)
    masks[1, 1, 1] = True

    made, _, _ = switch_instances(images, masks, [[0, 0, 4, 4]] * 2, [0, 1], [[0, 1]])

    assert made[0, 0, 0, 0, 0] == pytest.approx(4 * 0.319167768453859**2)


@pytest.mark.parametrize(("old", "new"), [(4, 8), (8, 4), (3, 7), (7, 3), (1, 5), (5, 1)])
def test_a_ramp_stays_a_ramp(old, new):
    """Linear interpolation of i is the place itself, (i + 1/2) old / new - 1/2, cut at the ends."""
    images = np.zeros((2, 1, 1, 8))
    images[1, 0, 0, :old] = np.arange(old)
    masks = np.ones((2, 1, 8), dtype=bool)

    made, _, _ = switch_instances(images, masks, [[0, 0, new, 1], [0, 0, old, 1]], [0, 1], [[0, 1]])

    places = [mpmath.mpf(2 * i + 1) * old / (2 * new) - mpmath.mpf(1) / 2 for i in range(new)]
    expected = [float(min(max(place, 0), old - 1)) for place in places]
    np.testing.assert_allclose(made[0, 0, 0, 0, :new], expected, rtol=1e-14, atol=1e-15)


def test_switching_twice_restores_boxes_and_places():
    """And the classes of each image stay what they were, for the two are of one class."""
    images, masks, boxes, index = scene()

    _, once, moved = switch_instances(images, masks, boxes, index, [[0, 2]])
    _, twice, back = switch_instances(images, masks, once[0], moved[0], [[0, 2]])

    np.testing.assert_array_equal(twice[0], boxes)
    np.testing.assert_array_equal(back[0], index)
    assert sorted(moved[0]) == sorted(index)
    np.testing.assert_array_equal(once[0][[1, 3]], boxes[[1, 3]])


def test_nothing_changes_outside_of_the_boxes():
    """Nor in the range of the colours."""
    images, masks, boxes, index = scene(1)

    made, _, _ = switch_instances(images, masks, boxes, index, [[0, 2]])

    outside = np.ones((9, 8), dtype=bool)
    outside[2:8, 1:5] = False
    np.testing.assert_array_equal(made[0, 0][:, outside], images[0][:, outside])
    assert made.min() >= images.min() - 1e-10
    assert made.max() <= images.max() + 1e-10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": [[0, 1]]}, "pairs: expected objects of two images, got 0 and 1 of image 0"),
        ({"pairs": [[0, 4]]}, "pairs: expected integers in"),
        ({"pairs": [0, 2]}, "pairs: expected shape"),
        ({"boxes": [[0, 0, 9, 1]] * 4}, "boxes: expected x1 <= x2 <= 8"),
        ({"boxes": [[2, 2, 2, 3]] * 4}, "boxes: expected at least one pixel"),
        ({"images": np.zeros((2, 3, 9, 9))}, "images: expected shape"),
        ({"image_index": [0, 0, 2, 2]}, "image_index: expected integers in"),
        ({"masks": np.zeros((9, 8))}, "masks: expected shape"),
    ],
)
def test_bad_input_is_refused(changes, message):
    """One line that names argument, expectation and value."""
    images, masks, boxes, index = scene()
    arguments = {"images": images, "masks": masks, "boxes": boxes, "image_index": index, "pairs": [[0, 2]]}

    with pytest.raises(SpecError, match=message):
        switch_instances(**{**arguments, **changes})
