r"""Compositing: an object cut out of one image, moved by an affine map, and blended into another one.

Source: Tripathi et al., "Learning to Generate Synthetic Data via Compositing", CVPR 2019, section 3: the step between
the synthesiser, a network that proposes the affine map, and the networks that judge the result. The networks, and the
losses that train them against each other, are learnt and not specified here; the blend is a plain function.
"""

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import Float, Int, SpecError, finite_array, fraction, fraction_array


def composite(
    foreground: ArrayLike,
    alpha: ArrayLike,
    background: ArrayLike,
    theta: ArrayLike,
    *,
    threshold: float = 0.0,
) -> tuple[Float, Int]:
    r"""Blend an object into a background, where an affine map puts it, and give its box.

    $$ x = \alpha' f' + (1 - \alpha') b, $$

    with $f', \alpha'$ the colours and the opacity of the object, read at the place that the map gives for each pixel of
    the background: the pixel with its middle at $(u, v)$ reads the object at $(x, y)^T = \theta\, (u, v, 1)^T$,
    linearly between the middles of its four nearest pixels. What lies outside of the object has opacity and colour 0.

    Parameters
    ----------
    foreground : finite float, shape (B, C, h, w)
        Colours of the object.
    alpha : float in [0, 1], shape (B, h, w)
        Its opacity.
    background : finite float, shape (B, C, H, W)
    theta : finite float, shape (B, 2, 3)
        From places in the background to places in the object, in pixels, x before y. (1, 0, 0; 0, 1, 0) puts the
        object's corner into the background's.
    threshold : float in [0, 1]
        The object's box goes around the pixels with an opacity above.

    Returns
    -------
    float64, shape (B, C, H, W)
        The composites.
    int64, shape (B, 4)
        x1, y1, x2, y2 of the object, in whole pixels, the last ones outside; four zeros where nothing of it is seen.

    Raises
    ------
    SpecError
        Shapes do not fit, a number is not finite or out of its range.

    Source
    ------
    Section 3.1. Rulings: opacity and colour are read apart, and colour counts as often as opacity says, once; pixels
    have their middles at halves; outside of the object everything is 0, so that its rim fades over half a pixel.

    Examples
    --------
    A white object of one pixel, half opaque, on the second of three dark ones:

    >>> image, box = composite([[[[8.0]]]], [[[0.5]]], [[[[2.0, 2.0, 2.0]]]], [[[1, 0, -1], [0, 1, 0]]])
    >>> image.ravel(), box
    (array([2., 5., 2.]), array([[1, 0, 2, 1]]))
    """
    # CHECKS
    f, a, b, map_ = _arrays(foreground, alpha, background, theta)
    limit = fraction("threshold", threshold)

    # QUANTITIES OF THE PAPER
    image, box = np.empty(b.shape), np.zeros((len(b), 4), dtype=np.int64)
    for i in range(len(b)):
        weights = _reading(map_[i], a.shape[1:], b.shape[2:])
        colour = np.tensordot(f[i], weights, axes=([1, 2], [2, 3]))
        opacity = np.tensordot(weights, a[i])
        image[i] = opacity * colour + (1.0 - opacity) * b[i]
        rows, columns = np.nonzero(opacity > limit)
        if rows.size:
            box[i] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1

    # RESULT
    return image, box


def composite_grad_background(
    foreground: ArrayLike, alpha: ArrayLike, background: ArrayLike, theta: ArrayLike, *, threshold: float = 0.0
) -> Float:
    r"""Derivative of the sum of the composites by the background: $1 - \alpha'$.

    Parameters, errors: as `composite`. Returns float64, shape of `background`.

    Source
    ------
    The derivative of `composite`.

    Examples
    --------
    >>> composite_grad_background([[[[8.0]]]], [[[0.5]]], [[[[2.0, 2.0]]]], [[[1, 0, -1], [0, 1, 0]]]).ravel()
    array([1. , 0.5])
    """
    # CHECKS
    _, a, b, map_ = _arrays(foreground, alpha, background, theta)
    fraction("threshold", threshold)

    # RESULT
    gradient = np.empty(b.shape)
    for i in range(len(b)):
        weights = _reading(map_[i], a.shape[1:], b.shape[2:])
        gradient[i] = 1.0 - np.tensordot(weights, a[i])
    return gradient


def composite_grad_foreground(
    foreground: ArrayLike, alpha: ArrayLike, background: ArrayLike, theta: ArrayLike, *, threshold: float = 0.0
) -> Float:
    r"""Derivative of the sum of the composites by the object's colours: the sum of $\alpha'$ over what reads them.

    Parameters, errors: as `composite`. Returns float64, shape of `foreground`.

    Source
    ------
    The derivative of `composite`.

    Examples
    --------
    >>> composite_grad_foreground([[[[8.0]]]], [[[0.5]]], [[[[2.0, 2.0]]]], [[[1, 0, -1], [0, 1, 0]]]).ravel()
    array([0.5])
    """
    # CHECKS
    f, a, b, map_ = _arrays(foreground, alpha, background, theta)
    fraction("threshold", threshold)

    # RESULT
    gradient = np.empty(f.shape)
    for i in range(len(b)):
        weights = _reading(map_[i], a.shape[1:], b.shape[2:])
        opacity = np.tensordot(weights, a[i])
        gradient[i] = np.tensordot(opacity, weights)
    return gradient


def composite_grad_alpha(
    foreground: ArrayLike, alpha: ArrayLike, background: ArrayLike, theta: ArrayLike, *, threshold: float = 0.0
) -> Float:
    r"""Derivative of the sum of the composites by the opacity: the sum of $f' - b$ over what reads it.

    Parameters, errors: as `composite`. Returns float64, shape of `alpha`.

    Source
    ------
    The derivative of `composite`.

    Examples
    --------
    >>> composite_grad_alpha([[[[8.0]]]], [[[0.5]]], [[[[2.0, 2.0]]]], [[[1, 0, -1], [0, 1, 0]]]).ravel()
    array([6.])
    """
    # CHECKS
    f, a, b, map_ = _arrays(foreground, alpha, background, theta)
    fraction("threshold", threshold)

    # RESULT
    gradient = np.empty(a.shape)
    for i in range(len(b)):
        weights = _reading(map_[i], a.shape[1:], b.shape[2:])
        colour = np.tensordot(f[i], weights, axes=([1, 2], [2, 3]))
        gradient[i] = np.tensordot((colour - b[i]).sum(axis=0), weights)
    return gradient


def _reading(theta: Float, source: tuple[int, ...], target: tuple[int, ...]) -> Float:
    """How much of each pixel of the object each pixel of the background reads, (H, W, h, w)."""
    v, u = np.mgrid[: target[0], : target[1]] + 0.5
    x, y = (row[0] * u + row[1] * v + row[2] for row in theta)
    return np.einsum("hwy,hwx->hwyx", _tents(y, source[0]), _tents(x, source[1]))


def _tents(place: Float, size: int) -> Float:
    """Linear weights of the pixels of a row, whose middles are at halves, at each place: 0 beyond one pixel."""
    distance = np.abs(place[..., np.newaxis] - (np.arange(size) + 0.5))
    return np.maximum(0.0, 1.0 - distance)


def _arrays(
    foreground: ArrayLike, alpha: ArrayLike, background: ArrayLike, theta: ArrayLike
) -> tuple[Float, Float, Float, Float]:
    b = finite_array("background", background)
    if b.ndim != 4:
        raise SpecError(f"background: expected shape (B, C, H, W), got {b.shape}")
    f = finite_array("foreground", foreground)
    if f.ndim != 4 or f.shape[:2] != b.shape[:2]:
        raise SpecError(f"foreground: expected shape ({b.shape[0]}, {b.shape[1]}, h, w), got {f.shape}")
    a = fraction_array("alpha", alpha, shape=(f.shape[0], *f.shape[2:]))
    return f, a, b, finite_array("theta", theta, shape=(b.shape[0], 2, 3))
