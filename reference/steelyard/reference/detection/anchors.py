r"""Anchors on a grid: the candidates of most detectors.

Source: Ren et al., "Faster R-CNN", NIPS 2015 (arXiv 1506.01497), section 3.1.1.

All coordinates are exact: neither the sides of an anchor nor its centre is rounded (torchvision rounds the
former, py-faster-rcnn both). The order is always the same: row, column, size, ratio, the last fastest.
"""

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import (
    Bool,
    Float,
    SpecError,
    box_array,
    count,
    finite_array,
    fraction,
    image_size_array,
    non_negative,
    positive,
)


def cell_anchors(sizes: ArrayLike, ratios: ArrayLike) -> Float:
    r"""Anchors of one cell, centred at the origin.

    For size $s$ and ratio $a = h / w$: $w = s / \sqrt a$ and $h = s \sqrt a$, so that the area is $s^2$.

    Parameters
    ----------
    sizes : float, shape (S,)
        $s$ in pixels, each > 0.
    ratios : float, shape (R,)
        $a$, each > 0.

    Returns
    -------
    float64, shape (S * R, 4)
        $(-w/2, -h/2, w/2, h/2)$; all ratios of the first size, then of the next.

    Raises
    ------
    SpecError
        An array does not have one axis, a number is not finite or not > 0.

    Source
    ------
    Faster R-CNN, section 3.1.1. Ruling: size by size, the ratio fastest (as detectron2).

    Examples
    --------
    Area 16, once half as high as wide (by a factor of 4), once square.

    >>> cell_anchors([4.0], [0.25, 1.0])
    array([[-4., -1.,  4.,  1.],
           [-2., -2.,  2.,  2.]])
    """
    # CHECKS
    size, ratio = _positive_vector("sizes", sizes), _positive_vector("ratios", ratios)

    # QUANTITIES OF THE PAPER
    width = (size[:, None] / np.sqrt(ratio)).reshape(-1)
    height = (size[:, None] * np.sqrt(ratio)).reshape(-1)

    # RESULT
    return np.stack([-width / 2, -height / 2, width / 2, height / 2], axis=1)


def grid_anchors(
    cell: ArrayLike, *, feature_height: int, feature_width: int, stride: float, offset: float = 0.0
) -> Float:
    r"""Anchors of one cell, repeated at every cell of a feature map.

    The centre of row $i$, column $j$ is $((j + o) \cdot \text{stride}, (i + o) \cdot \text{stride})$.

    Parameters
    ----------
    cell : float, shape (A, 4)
        Anchors centred at the origin; see `cell_anchors`.
    feature_height, feature_width : int >= 0
        Cells of the feature map.
    stride : float > 0
        Pixels from one cell to the next.
    offset : float in [0, 1]
        $o$: 0 puts centres on the upper left corner of a cell (mmdet, detectron2's configurations),
        1/2 on its middle (py-faster-rcnn, once its inclusive pixels are written without "+1").

    Returns
    -------
    float64, shape (feature_height * feature_width * A, 4)
        Row by row, then column by column, the anchors of a cell together. Nothing is clipped.

    Raises
    ------
    SpecError
        A shape does not fit, a number is out of range.

    Source
    ------
    Faster R-CNN, section 3.1.1.

    Examples
    --------
    >>> grid_anchors([[-2, -2, 2, 2]], feature_height=1, feature_width=2, stride=8)
    array([[-2., -2.,  2.,  2.],
           [ 6., -2., 10.,  2.]])
    """
    # CHECKS
    anchors = box_array("cell", cell)
    centres = _cell_centres(feature_height, feature_width, stride, offset)

    # RESULT
    shift = np.concatenate([centres, centres], axis=1)
    return (shift[:, None] + anchors).reshape(-1, 4)


def grid_points(*, feature_height: int, feature_width: int, stride: float, offset: float = 0.5) -> Float:
    r"""Centres of the cells of a feature map: the candidates of an anchor-free detector.

    Parameters
    ----------
    feature_height, feature_width, stride, offset
        As in `grid_anchors`; here the middle of a cell is the default.

    Returns
    -------
    float64, shape (feature_height * feature_width, 2)
        x and y; row by row.

    Raises
    ------
    SpecError
        A number is out of range.

    Source
    ------
    Tian et al., "FCOS", ICCV 2019 (arXiv 1904.01355), section 3.1, there $\lfloor s/2 \rfloor + x s$.

    Examples
    --------
    >>> grid_points(feature_height=1, feature_width=2, stride=8)
    array([[ 4.,  4.],
           [12.,  4.]])
    """
    # RESULT
    return _cell_centres(feature_height, feature_width, stride, offset)


def inside_image(boxes: ArrayLike, image_size: ArrayLike, *, border: float = 0.0) -> Bool:
    """Which boxes do not cross the border of the image.

    Parameters
    ----------
    boxes : float, shape (N, 4)
    image_size : float, shape (2,)
        Height and width.
    border : float >= 0
        Pixels that a box may stick out.

    Returns
    -------
    bool, shape (N,)

    Raises
    ------
    SpecError
        A shape does not fit, a number is not finite or is negative.

    Source
    ------
    Faster R-CNN, section 3.3: of about 20,000 anchors about 6,000 do not cross the boundary and train.

    Examples
    --------
    >>> inside_image([[0, 0, 8, 8], [-1, 0, 8, 8], [4, 4, 8, 9]], [8, 8])
    array([ True, False, False])
    """
    # CHECKS
    box = box_array("boxes", boxes)
    height, width = image_size_array("image_size", image_size)
    border = non_negative("border", border)

    # RESULT
    x_1, y_1, x_2, y_2 = box.T
    return np.asarray((x_1 >= -border) & (y_1 >= -border) & (x_2 <= width + border) & (y_2 <= height + border))


def _cell_centres(feature_height: int, feature_width: int, stride: float, offset: float) -> Float:
    """Shape (rows * columns, 2)."""
    rows, columns = count("feature_height", feature_height, low=0), count("feature_width", feature_width, low=0)
    stride = positive("stride", stride)
    offset = fraction("offset", offset)
    y = (np.arange(rows) + offset) * stride
    x = (np.arange(columns) + offset) * stride
    return np.stack([np.tile(x, rows), np.repeat(y, columns)], axis=1)


def _positive_vector(name: str, value: ArrayLike) -> Float:
    vector = finite_array(name, value)
    if vector.ndim != 1 or not (vector > 0).all():
        raise SpecError(f"{name}: expected one axis of numbers > 0, got {np.asarray(value).tolist()}")
    return vector
