r"""Targets of corner heat maps: a Gaussian bump that weighs nearly right corners down.

Source: Law and Deng, "CornerNet", ECCV 2018 (arXiv 1808.01244), section 3.2.

Every cell of a heat map is a candidate, and all but a few are background. Cells within the radius of a true corner
would still give a box that fits; the closer they are, the less they count as background.
"""

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import Float, SpecError, count, finite_array, int_array, probability_inside


def corner_radius(heights: ArrayLike, widths: ArrayLike, *, minimum_iou: float = 0.3) -> Float:
    r"""How far the corners of a box may move until its IoU can fall below `minimum_iou`.

    With $b = h + w$, $q = w h$ and $t$ the minimum IoU, the IoU is $t$ when by $r$

    - both corners move in one direction: $(w - r)(h - r) = q \, \frac{2t}{1 + t}$;
    - both move inwards: $(w - 2r)(h - 2r) = t q$;
    - both move outwards: $(w + 2r)(h + 2r) = q / t$.

    The radius is the smallest of the three solutions. It is always the second: with $d = r/w + r/h - r^2/q$ the IoUs
    are $\frac{1-d}{1+d}$, $1 - 2d + 2r^2/q$ and $\frac{q}{(w+2r)(h+2r)}$, and of these the second is the least.

    $$ r_1 = \frac{b - \sqrt{b^2 - 4 q \frac{1-t}{1+t}}}{2}, \quad
       r_2 = \frac{b - \sqrt{b^2 - 4 (1-t) q}}{4}, \quad
       r_3 = \frac{-t b + \sqrt{t^2 b^2 + 4 t (1-t) q}}{4 t} $$

    Parameters
    ----------
    heights, widths : float >= 0, any common shape
        $h$ and $w$ of the boxes, in cells of the heat map.
    minimum_iou : float in (0, 1)
        $t$ (CornerNet: 0.3).

    Returns
    -------
    float64, shape of `heights`
        Not rounded. A target uses its floor.

    Raises
    ------
    SpecError
        Shapes differ, a side is negative or not finite, `minimum_iou` is out of range.

    Source
    ------
    CornerNet, section 3.2; the formulas are those of its code. Widespread copies drop the factor 2a of the
    quadratic formula in $r_2$ and $r_3$: a mistake, the IoU at their radius is not $t$.

    Examples
    --------
    >>> corner_radius([20.0], [30.0]).round(6)
    array([5.341089])
    """
    # CHECKS
    h = finite_array("heights", heights)
    w = finite_array("widths", widths, shape=h.shape)
    if (h < 0).any() or (w < 0).any():
        raise SpecError("heights, widths: expected numbers >= 0")
    t = probability_inside("minimum_iou", minimum_iou)

    # QUANTITIES OF THE PAPER
    b, q = h + w, h * w
    root = np.sqrt((h - w) ** 2 + 4 * q * t)  # b^2 - 4 (1 - t) q, without its cancellation

    # RESULT
    with np.errstate(invalid="ignore"):
        radius = (1 - t) * q / (b + root)  # (b - root) / 4, which would cancel
    return np.where(b > 0, radius, 0.0)


def corner_heat_map(
    points: ArrayLike, labels: ArrayLike, radii: ArrayLike, *, num_classes: int, height: int, width: int
) -> Float:
    r"""Target of a heat map: a Gaussian bump around every corner.

    $e^{-(\Delta x^2 + \Delta y^2) / 2 \sigma^2}$ with $\sigma = (2r + 1)/6$ for $|\Delta x|, |\Delta y| \le r$, else 0;
    where bumps of one class meet, the larger value counts.

    Parameters
    ----------
    points : int, shape (M, 2)
        x and y of the corners, inside the map.
    labels : int, shape (M,)
        Classes 0..C-1, -1 for padding.
    radii : int >= 0, shape (M,)
        $r$: the floor of `corner_radius`.
    num_classes, height, width : int >= 1
        Shape of the map.

    Returns
    -------
    float64, shape (num_classes, height, width)
        In [0, 1]; 1 at the corners.

    Raises
    ------
    SpecError
        A shape does not fit, a point lies outside, a label or radius is out of range.

    Source
    ------
    CornerNet, section 3.2; the cut at the radius is that of its code.

    Examples
    --------
    >>> corner_heat_map([[1, 0]], [0], [1], num_classes=1, height=1, width=4).round(6)
    array([[[0.135335, 1.      , 0.135335, 0.      ]]])
    """
    # CHECKS
    num_classes, height, width = count("num_classes", num_classes), count("height", height), count("width", width)
    label = int_array("labels", labels, low=-1, high=num_classes - 1)
    point = int_array("points", points, low=0).reshape(-1, 2)
    if label.ndim != 1 or point.shape != (len(label), 2) or (point >= (width, height)).any():
        raise SpecError(f"points: expected shape (M, 2) inside {width} x {height}, M that of labels")
    radius = int_array("radii", radii, low=0, shape=label.shape)

    # RESULT
    heat = np.zeros((num_classes, height, width))
    for (x, y), c, r in zip(point, label, radius, strict=True):
        if c == -1:
            continue
        dx, dy = np.arange(width) - x, np.arange(height)[:, None] - y
        sigma = (2 * r + 1) / 6
        bump = np.exp(-(dx**2 + dy**2) / (2 * sigma**2))
        within = (abs(dx) <= r) & (abs(dy) <= r)
        heat[c] = np.maximum(heat[c], bump * within)
    return heat
