"""The candidates of a one-stage detector: every anchor with every class, and the few that become detections.

Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017 (arXiv 1708.02002), section 4.1,
"Inference".

A one-stage detector has no first stage that would throw background away. In training each of its N x C scores
is a candidate with a label of its own (`max_iou_assignment` labels the anchors, the focal loss spreads a label
over the C classes); in testing a threshold and a top k choose among them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import (
    Float,
    Int,
    SpecError,
    box_array,
    count,
    fraction,
    fraction_array,
    level_array,
    optional_fraction,
)
from steelyard.reference.detection.boxes import clip_boxes
from steelyard.reference.detection.non_maximum_suppression import top_k_by_level
from steelyard.reference.detection.proposals import best_survivors


class DenseCandidates(NamedTuple):
    """The chosen pairs of an anchor and a class, best first; rows after the last are padding."""

    indices: Int
    """Shape (K,): which anchor, -1 for padding."""
    classes: Int
    """Shape (K,): which class, -1 for padding."""
    boxes: Float
    """Shape (K, 4): clipped to the image, 0 for padding."""
    scores: Float
    """Shape (K,): probability, 0 for padding."""


def dense_candidates(  # noqa: PLR0913 - five steps with a parameter each, by keyword
    boxes: ArrayLike,
    probabilities: ArrayLike,
    image_size: ArrayLike,
    *,
    levels: ArrayLike | None = None,
    num_levels: int = 1,
    score_threshold: float = 0.05,
    pre_nms_top_k: int | None = 1000,
    nms_iou: float | None = 0.5,
    post_nms_top_k: int = 100,
) -> DenseCandidates:
    """Candidates of an image from the class probabilities of all its anchors.

    1. of all pairs of an anchor and a class those above `score_threshold` remain,
    2. on every level the `pre_nms_top_k` best of them;
    3. their boxes are clipped to the image;
    4. greedy non-maximum suppression in every class by itself, over all levels;
    5. the `post_nms_top_k` best remain.

    Parameters
    ----------
    boxes : float, shape (N, 4)
        Decoded boxes, one an anchor.
    probabilities : float in [0, 1], shape (N, C)
        Each class by itself (sigmoid), without background.
    image_size : float, shape (2,)
        Height and width.
    levels : int in [0, num_levels), shape (N,), or None
        Pyramid level of each anchor; None: one level.
    num_levels : int >= 1
    score_threshold : float in [0, 1]
        Reached, but not passed: dropped.
    pre_nms_top_k : int >= 1 or None
    nms_iou : float in [0, 1] or None
        None leaves step 4 out.
    post_nms_top_k : int >= 1
        K.

    Returns
    -------
    DenseCandidates
        `indices` and `classes` int64 (K,), `boxes` float64 (K, 4), `scores` float64 (K,).

    Raises
    ------
    SpecError
        A shape does not fit, a number is not finite or out of range.

    Source
    ------
    Paper, section 4.1. Rulings: the threshold is strict (as in Detectron, detectron2, torchvision, mmdet); equal
    scores in the order of their anchors, then of their classes.

    Examples
    --------
    One anchor may stand for two classes; 0.05 itself is dropped.

    >>> probabilities = [[0.9, 0.2], [0.05, 0.3]]
    >>> found = dense_candidates([[0, 0, 8, 8], [0, 0, 8, 6]], probabilities, [8, 8], nms_iou=None, post_nms_top_k=4)
    >>> found.indices.tolist(), found.classes.tolist()
    ([0, 1, 0, -1], [0, 1, 1, -1])
    """
    # CHECKS
    box = clip_boxes(box_array("boxes", boxes), image_size)
    probability = fraction_array("probabilities", probabilities)
    if probability.ndim != 2 or len(probability) != len(box):
        raise SpecError(f"probabilities: expected shape ({len(box)}, C), got {probability.shape}")
    level = level_array(levels, count("num_levels", num_levels), probability.shape[:1])
    score_threshold = fraction("score_threshold", score_threshold)
    nms_iou = optional_fraction("nms_iou", nms_iou)

    # QUANTITIES OF THE PAPER
    num_classes = probability.shape[1]
    anchor = np.repeat(np.arange(len(box)), num_classes)
    class_id = np.tile(np.arange(num_classes), len(box))
    score = probability.reshape(-1)
    above = score > score_threshold
    kept = top_k_by_level(score, top_k=pre_nms_top_k, levels=level[anchor], num_levels=num_levels, mask=above)

    # RESULT
    chosen = best_survivors(box[anchor], score, kept, groups=class_id, nms_iou=nms_iou, top_k=post_nms_top_k)
    padding = (0, post_nms_top_k - len(chosen))
    return DenseCandidates(
        np.pad(anchor[chosen], padding, constant_values=-1),
        np.pad(class_id[chosen], padding, constant_values=-1),
        np.pad(box[anchor[chosen]], (padding, (0, 0))),
        np.pad(score[chosen], padding),
    )
