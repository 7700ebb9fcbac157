"""From anchors to proposals: the first stage of a two-stage detector throws most of the background away.

Source: Ren et al., "Faster R-CNN", NIPS 2015 (arXiv 1506.01497), section 3.3.

An image has 20,000 to 200,000 anchors, about 1000 of background for each of foreground. By objectness score and
overlap 300 to 2000 remain, in which the background is some ten times as frequent: the first remedy against
imbalance is not to look everywhere.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import (
    Bool,
    Float,
    Int,
    box_array,
    count,
    finite_array,
    fraction,
    level_array,
    non_negative,
    real_number,
)
from steelyard.reference.detection.boxes import clip_boxes
from steelyard.reference.detection.non_maximum_suppression import (
    by_score,
    greedy_non_maximum_suppression,
    top_k_by_level,
)


class Proposals(NamedTuple):
    """The chosen candidates, best first; rows after the last are padding."""

    indices: Int
    """Shape (K,): which candidate, -1 for padding."""
    boxes: Float
    """Shape (K, 4): clipped to the image, 0 for padding."""
    scores: Float
    """Shape (K,): as they came in, 0 for padding."""


def filter_proposals(  # noqa: PLR0913 - six steps with a parameter each, by keyword
    boxes: ArrayLike,
    objectness: ArrayLike,
    image_size: ArrayLike,
    *,
    levels: ArrayLike | None = None,
    num_levels: int = 1,
    mask: ArrayLike | None = None,
    pre_nms_top_k: int | None = 2000,
    minimum_side: float = 0.0,
    objectness_threshold: float | None = None,
    nms_iou: float | None = 0.7,
    post_nms_top_k: int = 1000,
) -> Proposals:
    r"""Proposals of an image from the scored boxes of its anchors.

    In this order:

    1. on every level the `pre_nms_top_k` best scores remain;
    2. boxes are clipped to the image;
    3. a box remains if both its sides are longer than `minimum_side`;
    4. a box remains if its score is at least `objectness_threshold`;
    5. greedy non-maximum suppression on every level by itself;
    6. of all levels together the `post_nms_top_k` best scores remain.

    Parameters
    ----------
    boxes : float, shape (N, 4)
        Decoded boxes.
    objectness : float, shape (N,)
        Score that a box holds any object: a probability or a logit, the order is the same.
    image_size : float, shape (2,)
        Height and width.
    levels : int in [0, num_levels), shape (N,), or None
        Pyramid level of each box; None: one level.
    num_levels : int >= 1
    mask : bool, shape (N,), or None
        False for boxes that take no part.
    pre_nms_top_k : int >= 1 or None
        Faster R-CNN: 12000 in training, 6000 in testing; on each level of a pyramid: 2000.
    minimum_side : float >= 0
        0 drops only boxes that are degenerate after clipping (py-faster-rcnn: 16).
    objectness_threshold : float or None
        In the unit of `objectness`.
    nms_iou : float in [0, 1] or None
        None leaves step 5 out.
    post_nms_top_k : int >= 1
        K. Faster R-CNN: 2000 in training, 300 in testing.

    Returns
    -------
    Proposals
        `indices` int64 (K,), `boxes` float64 (K, 4), `scores` float64 (K,); padded with -1, 0 and 0.

    Raises
    ------
    SpecError
        A shape does not fit, a number is not finite or out of range.

    Source
    ------
    Paper, section 3.3; the order of the steps as in detectron2. Rulings: clipping comes before the side and the
    overlap are measured; equal scores keep the order of their indices.

    Examples
    --------
    Box 2 sticks out; clipped it is box 0, which has the better score.

    >>> boxes = [[0, 0, 20, 20], [30, 30, 60, 60], [-5, -5, 20, 20], [90, 90, 95, 90]]
    >>> filter_proposals(boxes, [3.0, 1.0, 2.0, 4.0], [100, 100], post_nms_top_k=3).indices.tolist()
    [0, 1, -1]
    """
    # CHECKS
    box = box_array("boxes", boxes)
    score = finite_array("objectness", objectness, shape=box.shape[:1])
    level = level_array(levels, count("num_levels", num_levels), score.shape)
    minimum_side = non_negative("minimum_side", minimum_side)
    if objectness_threshold is not None:
        real_number("objectness_threshold", objectness_threshold)

    # QUANTITIES OF THE PAPER
    kept = top_k_by_level(score, top_k=pre_nms_top_k, levels=level, num_levels=num_levels, mask=mask)
    clipped = clip_boxes(box, image_size)
    kept &= (clipped[:, 2:] - clipped[:, :2] > minimum_side).all(axis=1)
    if objectness_threshold is not None:
        kept &= score >= objectness_threshold

    # RESULT
    chosen = best_survivors(clipped, score, kept, groups=level, nms_iou=nms_iou, top_k=post_nms_top_k)
    padding = (0, post_nms_top_k - len(chosen))
    return Proposals(
        np.pad(chosen, padding, constant_values=-1),
        np.pad(clipped[chosen], (padding, (0, 0))),
        np.pad(score[chosen], padding),
    )


def best_survivors(boxes: Float, scores: Float, mask: Bool, *, groups: Int, nms_iou: float | None, top_k: int) -> Int:
    """Indices of the at most `top_k` best scores that survive suppression within their group, in their order.

    Parameters: `boxes` (N, 4), `scores` (N,), `mask` bool (N,), `groups` int (N,); `nms_iou` None keeps all.
    """
    count("post_nms_top_k", top_k)
    if nms_iou is not None:
        mask = greedy_non_maximum_suppression(
            boxes, scores, iou_threshold=fraction("nms_iou", nms_iou), groups=groups, mask=mask
        )
    order = by_score(scores)
    return order[mask[order]][:top_k]
