"""Choosing few boxes among many: the best scores, and greedy non-maximum suppression.

Sources: Ren et al., "Faster R-CNN", NIPS 2015 (arXiv 1506.01497), section 3.3; Felzenszwalb et al., "Object
Detection with Discriminatively Trained Part-Based Models", PAMI 2010, section 7.2.

Ruling for every choice by score: the higher score first, of equal scores the lower index.
"""

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
    int_array,
    level_array,
    mask_array,
)
from steelyard.reference.detection.box_overlaps import pairwise_iou


def greedy_non_maximum_suppression(
    boxes: ArrayLike,
    scores: ArrayLike,
    *,
    iou_threshold: float = 0.7,
    groups: ArrayLike | None = None,
    mask: ArrayLike | None = None,
) -> Bool:
    """Which boxes remain when each kept box suppresses those of lower score that overlap it.

    In the order of the scores: a box is kept unless its IoU with a kept box of the same group is above the
    threshold.

    Parameters
    ----------
    boxes : float, shape (N, 4)
    scores : float, shape (N,)
    iou_threshold : float in [0, 1]
        Reached, but not passed: both boxes remain.
    groups : int, shape (N,), or None
        Boxes of different groups (pyramid levels, classes) do not suppress each other. None: one group.
    mask : bool, shape (N,), or None
        False for boxes that take no part; they are not kept.

    Returns
    -------
    bool, shape (N,)

    Raises
    ------
    SpecError
        A shape does not fit, a number is not finite, the threshold is not in [0, 1].

    Source
    ------
    Faster R-CNN, section 3.3. Ruling: suppression needs an IoU strictly above the threshold.

    Examples
    --------
    The second box has IoU 0.8 with the first and is suppressed; the third has 0.5 with the first only.

    >>> boxes = [[0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 5]]
    >>> greedy_non_maximum_suppression(boxes, [0.9, 0.8, 0.7], iou_threshold=0.6)
    array([ True, False,  True])
    """
    # CHECKS
    box = box_array("boxes", boxes)
    score = finite_array("scores", scores, shape=box.shape[:1])
    iou_threshold = fraction("iou_threshold", iou_threshold)
    group = int_array("groups", np.zeros(len(box), dtype=np.int64) if groups is None else groups, shape=score.shape)
    takes_part = mask_array("mask", mask, score.shape)

    # RESULT
    kept = np.zeros(len(box), dtype=np.bool_)
    order = by_score(score)
    for candidate in order[takes_part[order]]:
        rivals = kept & (group == group[candidate])
        overlaps = pairwise_iou(box[candidate : candidate + 1], box[rivals])
        kept[candidate] = not (overlaps > iou_threshold).any()
    return kept


def top_k_by_level(
    scores: ArrayLike,
    *,
    top_k: int | None,
    levels: ArrayLike | None = None,
    num_levels: int = 1,
    mask: ArrayLike | None = None,
) -> Bool:
    """Which candidates have one of the `top_k` best scores of their pyramid level.

    Parameters
    ----------
    scores : float, shape (N,)
    top_k : int >= 1 or None
        None keeps all.
    levels : int in [0, num_levels), shape (N,), or None
        None: one level.
    num_levels : int >= 1
    mask : bool, shape (N,), or None
        False for candidates that take no part; they are not kept.

    Returns
    -------
    bool, shape (N,)

    Raises
    ------
    SpecError
        A shape does not fit, a score is not finite, a number is out of range.

    Source
    ------
    Faster R-CNN, section 3.3 (one level); Lin et al., "Feature Pyramid Networks", CVPR 2017.

    Examples
    --------
    Two of each level; of the three equal scores of level 0, the first two.

    >>> top_k_by_level([5.0, 5.0, 5.0, 1.0], top_k=2, levels=[0, 0, 0, 1], num_levels=2)
    array([ True,  True, False,  True])
    """
    # CHECKS
    score = finite_array("scores", scores)
    num_levels = count("num_levels", num_levels)
    level = level_array(levels, num_levels, score.shape)
    kept = mask_array("mask", mask, score.shape)
    if top_k is not None:
        count("top_k", top_k)

    # RESULT
    order = by_score(score)
    for one_level in range(num_levels):
        beyond = [i for i in order if kept[i] and level[i] == one_level][top_k:] if top_k is not None else []
        kept[beyond] = False
    return kept


def by_score(score: Float) -> Int:
    """Indices in the order of choice: higher scores first, of equal ones the lower index."""
    return np.argsort(-score, kind="stable")
