r"""Overlaps of boxes: intersection over union, its generalised form, and the share of a box in a region.

A degenerate box (no width or no height) has IoU 0 with every box, itself included: the quotient of two zeros would
be NaN in the formula, the ruling is 0. Boxes that only touch have IoU 0.

Sources: Ren et al., "Faster R-CNN", NIPS 2015 (arXiv 1506.01497), section 3.1.2; Rezatofighi et al.,
"Generalized Intersection over Union", CVPR 2019 (arXiv 1902.09630), algorithm 1.
"""

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import Float, SpecError, box_array
from steelyard.reference.detection.boxes import area_of, intersection_of


def pairwise_iou(boxes: ArrayLike, other_boxes: ArrayLike) -> Float:
    r"""Intersection over union of each box with each other box.

    $$ \mathrm{IoU} = \frac{I}{A + A' - I} \text{ where } I > 0, \text{ else } 0 $$

    Parameters
    ----------
    boxes : float, shape (M, 4)
        In an assignment: the ground truth.
    other_boxes : float, shape (N, 4)
        In an assignment: the candidates.

    Returns
    -------
    float64, shape (M, N)
        In [0, 1]; 1 for two equal boxes with an area.

    Raises
    ------
    SpecError
        A shape is not (N, 4), a number is not finite.

    Source
    ------
    Faster R-CNN, section 3.1.2. Rulings: boxes that only touch have IoU 0; so has a degenerate box.

    Examples
    --------
    A quarter of a 10 x 10 box in common: 25 / 175. Then two boxes that touch, and one point twice.

    >>> pairwise_iou([[0, 0, 10, 10]], [[5, 5, 15, 15], [10, 0, 20, 10]]).round(6)
    array([[0.142857, 0.      ]])
    >>> pairwise_iou([[3, 3, 3, 3]], [[3, 3, 3, 3]])
    array([[0.]])
    """
    # CHECKS
    box, other = box_array("boxes", boxes), box_array("other_boxes", other_boxes)

    # RESULT
    rows = [_iou(one_box, other) for one_box in box]
    return np.reshape(rows, (len(box), len(other)))


def aligned_iou(boxes: ArrayLike, other_boxes: ArrayLike) -> Float:
    """Intersection over union of each box with the other box of the same row.

    Parameters
    ----------
    boxes, other_boxes : float, shape (N, 4)

    Returns
    -------
    float64, shape (N,)
        The diagonal of `pairwise_iou`.

    Raises
    ------
    SpecError
        A shape is not (N, 4), a number is not finite, or the numbers of boxes differ.

    Source
    ------
    As `pairwise_iou`.

    Examples
    --------
    >>> aligned_iou([[0, 0, 10, 10], [0, 0, 4, 4]], [[0, 0, 10, 5], [0, 0, 4, 4]])
    array([0.5, 1. ])
    """
    # CHECKS
    box, other = box_array("boxes", boxes), box_array("other_boxes", other_boxes)
    if box.shape != other.shape:
        raise SpecError(f"other_boxes: expected shape {box.shape} (that of boxes), got {other.shape}")

    # RESULT
    return _iou(box, other)


def pairwise_giou(boxes: ArrayLike, other_boxes: ArrayLike) -> Float:
    r"""Generalized IoU: apart from the overlap it tells how far two boxes are apart.

    With $U = A + A' - I$ and $|C|$ the area of the smallest box around both:

    $$ \mathrm{GIoU} = \mathrm{IoU} - \frac{|C| - U}{|C|} $$

    Parameters
    ----------
    boxes : float, shape (M, 4)
    other_boxes : float, shape (N, 4)

    Returns
    -------
    float64, shape (M, N)
        In (-1, 1] for boxes with an area, and at most the IoU. -1 for two degenerate boxes that do not lie on
        one horizontal or vertical line; 0 for two that do, since $|C| = 0$ takes the last term away.

    Raises
    ------
    SpecError
        A shape is not (N, 4), a number is not finite.

    Source
    ------
    Rezatofighi et al., algorithm 1. Ruling: 0/0 is 0, in the IoU and in the last term.

    Examples
    --------
    Two unit squares with a gap of one: the box around them has area 3, of which 1 is empty. Two identical points.

    >>> pairwise_giou([[0, 0, 1, 1]], [[2, 0, 3, 1], [0, 0, 1, 1]]).round(6)
    array([[-0.333333,  1.      ]])
    >>> pairwise_giou([[3, 3, 3, 3]], [[3, 3, 3, 3]])
    array([[0.]])
    """
    # CHECKS
    box, other = box_array("boxes", boxes)[:, None], box_array("other_boxes", other_boxes)[None, :]

    # QUANTITIES OF THE PAPER
    union = area_of(box) + area_of(other) - intersection_of(box, other)
    sides = np.maximum(box[..., 2:], other[..., 2:]) - np.minimum(box[..., :2], other[..., :2])
    enclosing = np.maximum(0.0, sides).prod(axis=-1)

    # RESULT
    return _iou(box, other) - _quotient(enclosing - union, enclosing)


def pairwise_intersection_over_area(boxes: ArrayLike, regions: ArrayLike) -> Float:
    r"""Share of each box that lies in each region: $I / A$, not symmetric.

    An ignore region (a crowd of COCO) covers a candidate by this share, whatever the region's own size.

    Parameters
    ----------
    boxes : float, shape (N, 4)
    regions : float, shape (R, 4)

    Returns
    -------
    float64, shape (N, R)
        In [0, 1]; 0 for a degenerate box.

    Raises
    ------
    SpecError
        A shape is not (N, 4), a number is not finite.

    Source
    ------
    The "IoF" (over foreground) of mmdet's `bbox_overlaps`; COCO's evaluation uses it for crowds.

    Examples
    --------
    >>> pairwise_intersection_over_area([[0, 0, 4, 4]], [[2, 0, 100, 100]])
    array([[0.5]])
    """
    # CHECKS
    box, region = box_array("boxes", boxes)[:, None], box_array("regions", regions)[None, :]

    # RESULT
    return _quotient(intersection_of(box, region), area_of(box))


def _iou(box: Float, other: Float) -> Float:
    intersection = intersection_of(box, other)
    return _quotient(intersection, area_of(box) + area_of(other) - intersection)


def _quotient(part: Float, whole: Float) -> Float:
    """Part by whole; 0 where the whole is 0, for then the part is 0 too."""
    part, whole = np.broadcast_arrays(part, whole)
    quotient = np.zeros(part.shape)
    np.divide(part, whole, out=quotient, where=whole > 0)
    return quotient
