r"""Boxes: their area, their intersection, and their cut to the image.

A box is $(x_1, y_1, x_2, y_2)$ in continuous image coordinates, pixels, x to the right, y down. Its width is
$x_2 - x_1$, without a "+1". Code that counts inclusive pixels (py-faster-rcnn, Detectron) computes the area
and IoU of the boxes $(x_1, y_1, x_2 + 1, y_2 + 1)$.

A box without width or height (or with a negative one) is *degenerate*: its area is 0.

Sources: Ren et al., "Faster R-CNN", NIPS 2015 (arXiv 1506.01497), section 3; Everingham et al., "The Pascal Visual
Object Classes Challenge", IJCV 2010, equation 3.
"""

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import Float, box_array, image_size_array


def box_area(boxes: ArrayLike) -> Float:
    r"""Area of every box, in square pixels.

    $$ A = \max(0, x_2 - x_1) \, \max(0, y_2 - y_1) $$

    Parameters
    ----------
    boxes : float, shape (N, 4)
        Finite.

    Returns
    -------
    float64, shape (N,)

    Raises
    ------
    SpecError
        The shape is another, a number is not finite.

    Source
    ------
    Ruling: no "+1"; a negative side counts as 0.

    Examples
    --------
    >>> box_area([[0, 0, 10, 5], [3, 3, 3, 9], [5, 5, 2, 2]])
    array([50.,  0.,  0.])
    """
    # CHECKS
    box = box_array("boxes", boxes)

    # RESULT
    return area_of(box)


def pairwise_intersection(boxes: ArrayLike, other_boxes: ArrayLike) -> Float:
    r"""Area that each box shares with each other box, in square pixels.

    $$ I = \max(0, \min(x_2, x_2') - \max(x_1, x_1')) \, \max(0, \min(y_2, y_2') - \max(y_1, y_1')) $$

    Parameters
    ----------
    boxes : float, shape (M, 4)
    other_boxes : float, shape (N, 4)

    Returns
    -------
    float64, shape (M, N)

    Raises
    ------
    SpecError
        As `box_area`.

    Source
    ------
    Everingham et al., equation 3.

    Examples
    --------
    >>> pairwise_intersection([[0, 0, 10, 10]], [[5, 5, 15, 15], [10, 0, 20, 10]])
    array([[25.,  0.]])
    """
    # CHECKS
    box, other = box_array("boxes", boxes), box_array("other_boxes", other_boxes)

    # RESULT
    return intersection_of(box[:, None], other[None, :])


def clip_boxes(boxes: ArrayLike, image_size: ArrayLike) -> Float:
    """Boxes cut to the image: x into [0, width], y into [0, height].

    Parameters
    ----------
    boxes : float, shape (N, 4)
    image_size : float, shape (2,)
        Height and width of the image in pixels, each >= 0.

    Returns
    -------
    float64, shape (N, 4)
        A box outside the image becomes degenerate.

    Raises
    ------
    SpecError
        As `box_area`, or a side of the image is negative.

    Source
    ------
    Faster R-CNN, section 3.3 (proposals that cross the image boundary).

    Examples
    --------
    >>> clip_boxes([[-5, 2, 50, 20]], [10, 30])
    array([[ 0.,  2., 30., 10.]])
    """
    # CHECKS
    box = box_array("boxes", boxes)
    height, width = image_size_array("image_size", image_size)

    # RESULT
    return np.minimum(np.maximum(0.0, box), (width, height, width, height))


def area_of(box: Float) -> Float:
    """Area of boxes, shape (..., 4) -> (...)."""
    sides = np.maximum(0.0, box[..., 2:] - box[..., :2])
    return np.asarray(sides[..., 0] * sides[..., 1])


def intersection_of(box: Float, other: Float) -> Float:
    """Intersection of boxes that broadcast against each other, shape (..., 4) -> (...)."""
    upper = np.minimum(box[..., 2:], other[..., 2:])
    lower = np.maximum(box[..., :2], other[..., :2])
    sides = np.maximum(0.0, upper - lower)
    return np.asarray(sides[..., 0] * sides[..., 1])
