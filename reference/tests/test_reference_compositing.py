"""Compositing: linear in the colours, exact where maps are, its gradient that of differences."""

import mpmath
import numpy as np
import pytest

from steelyard.reference.checks import SpecError
from steelyard.reference.generative.compositing import (
    composite,
    composite_grad_alpha,
    composite_grad_background,
    composite_grad_foreground,
)

mpmath.mp.dps = 50
IDENTITY = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]


def scene(seed=0, size=(4, 5)):
    random = np.random.default_rng(seed)
    return {
        "foreground": random.random((2, 3, 3, 2)),
        "alpha": random.random((2, 3, 2)),
        "background": random.random((2, 3, *size)),
        "theta": IDENTITY + random.normal(size=(2, 2, 3)) * [0.3, 0.3, 1.0],
    }


def test_opacity_decides():
    """Opacity 0 leaves the background, opacity 1 under the identity shows the object, in its own pixels."""
    arrays = scene()
    arrays["theta"] = np.array([IDENTITY] * 2)

    clear, _ = composite(**{**arrays, "alpha": np.zeros((2, 3, 2))})
    opaque, box = composite(**{**arrays, "alpha": np.ones((2, 3, 2))})

    np.testing.assert_array_equal(clear, arrays["background"])
    np.testing.assert_array_equal(opaque[:, :, :3, :2], arrays["foreground"])
    np.testing.assert_array_equal(opaque[:, :, :, 2:], arrays["background"][:, :, :, 2:])
    assert box.tolist() == [[0, 0, 2, 3]] * 2


def test_one_pixel_by_the_formula():
    """A place between four pixels, at 50 digits."""
    arrays = {
        "foreground": [[[[1.0, 3.0], [5.0, 11.0]]]], "alpha": [[[0.1, 0.2], [0.4, 0.8]]],
        "background": [[[[7.0]]]], "theta": [[[1.0, 0.0, 0.3], [0.0, 1.0, 0.25]]],
    }  # fmt: skip

    image, _ = composite(**arrays)

    x, y = mpmath.mpf(0.3), mpmath.mpf(0.25)  # beyond the middle of the first pixel
    weights = [(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y]
    colour = sum(w * c for w, c in zip(weights, (1, 3, 5, 11), strict=True))
    opacity = sum(w * mpmath.mpf(c) for w, c in zip(weights, (0.1, 0.2, 0.4, 0.8), strict=True))
    assert image.item() == pytest.approx(float(opacity * colour + (1 - opacity) * 7), rel=1e-15)


def test_the_map_leads_from_the_background_to_the_object():
    """A map that doubles places shows the object at half its size; one that shifts by -2, two pixels to the right."""
    white = {"foreground": np.ones((1, 1, 4, 4)), "alpha": np.ones((1, 4, 4)), "background": np.zeros((1, 1, 8, 8))}

    _, small = composite(**white, theta=[[[2, 0, 0], [0, 2, 0]]], threshold=0.5)
    _, shifted = composite(**white, theta=[[[1, 0, -2], [0, 1, -1]]], threshold=0.5)

    assert small.tolist() == [[0, 0, 2, 2]]
    assert shifted.tolist() == [[2, 1, 6, 5]]


def test_the_rim_fades():
    """Half a pixel outside, half of the opacity is left."""
    image, _ = composite([[[[1.0]]]], [[[1.0]]], [[[[0.0, 0.0]]]], [[[1, 0, -0.5], [0, 1, 0]]])

    assert image.ravel() == pytest.approx([0.25, 0.25])  # half of the opacity, of half of the colour


def test_colours_stay_within_the_images():
    """A blend of colours and of the 0 around the object."""
    arrays = scene(1)

    image, _ = composite(**arrays)

    assert image.max() <= max(arrays["foreground"].max(), arrays["background"].max())
    assert image.min() >= 0.0


@pytest.mark.parametrize(
    ("name", "gradient"),
    [
        ("foreground", composite_grad_foreground),
        ("alpha", composite_grad_alpha),
        ("background", composite_grad_background),
    ],
)
def test_gradients_are_those_of_differences(name, gradient):
    """The sum of the composites is linear in each argument: a difference of any size is exact."""
    arrays = scene(2)
    direction = np.random.default_rng(3).random(arrays[name].shape) - 0.5
    arrays["alpha"] = 0.25 + arrays["alpha"] / 2.0  # so that a step stays in [0, 1]

    there, here = (composite(**{**arrays, name: arrays[name] + step * direction})[0].sum() for step in (0.25, -0.25))

    assert (gradient(**arrays) * direction).sum() * 0.5 == pytest.approx(there - here, rel=1e-12)


def test_nothing_is_seen_of_what_is_elsewhere():
    """The background, and a box of zeros."""
    arrays = scene()
    arrays["theta"] = arrays["theta"] + [[0, 0, 100], [0, 0, 100]]

    image, box = composite(**arrays)

    np.testing.assert_array_equal(image, arrays["background"])
    assert not box.any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": np.full((2, 3, 2), 1.5)}, "alpha: expected numbers in"),
        ({"alpha": np.zeros((2, 2, 2))}, "alpha: expected shape"),
        ({"foreground": np.zeros((2, 4, 3, 2))}, "foreground: expected shape"),
        ({"background": np.zeros((3, 4, 5))}, "background: expected shape"),
        ({"theta": np.full((2, 2, 3), np.nan)}, "theta: expected finite"),
        ({"threshold": 2.0}, "threshold: expected"),
    ],
)
def test_bad_input_is_refused(changes, message):
    """One line that names argument, expectation and value."""
    with pytest.raises(SpecError, match=message):
        composite(**{**scene(), **changes})
