r"""Max-IoU assignment: which candidates are foreground, background, or ignored, and of which object.

Source: Ren et al., "Faster R-CNN", NIPS 2015 (arXiv 1506.01497), section 3.1.2; Lin et al., "Focal Loss for
Dense Object Detection", ICCV 2017 (arXiv 1708.02002), section 4, "Anchors".

The thresholds (foreground, background) are 0.5, 0.4 in RetinaNet, 0.7, 0.3 in the region proposal network
(with the low-quality rule), 0.5, 0.5 in the second stage. Nearly every candidate becomes background: this is
where the imbalance that the other techniques treat comes from.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.reference.checks import (
    Float,
    Int,
    SpecError,
    box_array,
    count,
    fraction,
    fraction_array,
    int_array,
    mask_array,
    one_of,
    optional_fraction,
)
from steelyard.reference.detection.box_overlaps import pairwise_intersection_over_area, pairwise_iou

FOREGROUND, BACKGROUND, IGNORED = 1, 0, -1
LOW_QUALITY_RULES = ("keep", "overwrite_last")


class Matching(NamedTuple):
    """What the IoUs alone decide."""

    matched_gt: Int
    """Shape (N,): row of the best object of each candidate; 0 where there is none."""
    max_iou: Float
    """Shape (N,): its IoU; 0 where there is none."""
    state: NDArray[np.int8]
    """Shape (N,): 1 foreground, 0 background, -1 ignored."""


class Assignment(NamedTuple):
    """A matching with class labels."""

    matched_gt: Int
    max_iou: Float
    state: NDArray[np.int8]
    labels: Int
    """Shape (N,): 0..C-1 foreground, C background, -1 ignored."""


def max_iou_matching(
    iou: ArrayLike,
    *,
    foreground_iou: float = 0.5,
    background_iou: float = 0.4,
    low_quality: str | None = None,
    minimum_low_quality_iou: float = 0.0,
    gt_mask: ArrayLike | None = None,
    candidate_mask: ArrayLike | None = None,
) -> Matching:
    r"""Match candidates to objects by their IoUs.

    In this order, with $o_n = \max_g \mathrm{IoU}_{gn}$:

    1. all candidates are ignored;
    2. $o_n < t_{bg}$: background;
    3. $o_n \ge t_{fg}$: foreground;
    4. with the low-quality rule, for every object $g$ with $m_g = \max_n \mathrm{IoU}_{gn} > 0$, every candidate
       whose $\mathrm{IoU}_{gn} = m_g$: foreground.

    Parameters
    ----------
    iou : float in [0, 1], shape (M, N)
        Of M objects and N candidates.
    foreground_iou, background_iou : float in [0, 1]
        $t_{fg}$ (reached: foreground) and $t_{bg} \le t_{fg}$ (reached: not background).
    low_quality : None, "keep" or "overwrite_last"
        None leaves step 4 out. "keep": a candidate that step 4 makes foreground keeps the object it overlaps
        most. "overwrite_last": it is given to the object whose best candidate it is, the last of several (mmdet).
    minimum_low_quality_iou : float in [0, 1]
        Step 4 passes over objects with a smaller $m_g$. Whatever it is, $m_g = 0$ is passed over.
    gt_mask : bool, shape (M,), or None
        False for rows that hold no object.
    candidate_mask : bool, shape (N,), or None
        False for candidates out of play (padding; anchors that cross the image border): they are ignored, have
        `max_iou` 0 and `matched_gt` 0, and cannot be the best candidate of an object.

    Returns
    -------
    Matching
        `matched_gt` int64, `max_iou` float64, `state` int8, each of shape (N,).

    Raises
    ------
    SpecError
        A shape does not fit, a number is not in [0, 1], $t_{bg} > t_{fg}$, an unknown rule.

    Source
    ------
    Faster R-CNN, section 3.1.2. Rulings: of several best objects the first; of several best candidates all
    (equality is exact, in float64); an object that overlaps nothing claims nothing; step 4 wins over step 2;
    without objects every candidate is background.

    Examples
    --------
    Candidate 0 is best for both objects; candidate 2 lies between the thresholds.

    >>> iou = [[0.9, 0.0, 0.18, 0.0], [0.5, 0.0, 0.32, 0.0]]
    >>> matched_gt, _, state = max_iou_matching(iou, foreground_iou=0.7, background_iou=0.3, low_quality="keep")
    >>> matched_gt.tolist(), state.tolist()
    ([0, 0, 1, 0], [1, 0, -1, 0])
    >>> max_iou_matching(iou, low_quality="overwrite_last").matched_gt.tolist()
    [1, 0, 1, 0]
    """
    # CHECKS
    overlap = fraction_array("iou", iou)
    if overlap.ndim != 2:
        raise SpecError(f"iou: expected shape (M, N), got {overlap.shape}")
    foreground_iou, background_iou = (
        fraction("foreground_iou", foreground_iou),
        fraction("background_iou", background_iou),
    )
    if background_iou > foreground_iou:
        raise SpecError(f"background_iou: expected at most foreground_iou = {foreground_iou}, got {background_iou}")
    if low_quality is not None:
        one_of("low_quality", low_quality, LOW_QUALITY_RULES)
    minimum_low_quality_iou = fraction("minimum_low_quality_iou", minimum_low_quality_iou)
    is_object = mask_array("gt_mask", gt_mask, overlap.shape[:1])
    in_play = mask_array("candidate_mask", candidate_mask, overlap.shape[1:])

    # QUANTITIES OF THE PAPER
    overlap = np.where(is_object[:, None] & in_play, overlap, -1.0)
    matched_gt, max_iou = _best_object(overlap)

    # RESULT
    state = np.full(overlap.shape[1], IGNORED, dtype=np.int8)
    state[max_iou < background_iou] = BACKGROUND
    state[max_iou >= foreground_iou] = FOREGROUND
    if low_quality is not None:
        for g, row in enumerate(overlap):
            best = row.max(initial=0.0)
            if best > 0 and best >= minimum_low_quality_iou:
                state[row == best] = FOREGROUND
                if low_quality == "overwrite_last":
                    matched_gt[row == best] = g
    if not is_object.any():
        state[:] = BACKGROUND
    state[~in_play] = IGNORED
    return Matching(matched_gt, max_iou, state)


def max_iou_assignment(  # noqa: PLR0913 - the thresholds and switches of the rule, by keyword
    boxes: ArrayLike,
    gt_boxes: ArrayLike,
    gt_labels: ArrayLike,
    *,
    num_classes: int,
    foreground_iou: float = 0.5,
    background_iou: float = 0.4,
    low_quality: str | None = None,
    minimum_low_quality_iou: float = 0.0,
    candidate_mask: ArrayLike | None = None,
    ignore_regions: ArrayLike | None = None,
    ignore_threshold: float | None = None,
) -> Assignment:
    r"""Label every candidate box of an image by the objects in it.

    The matching of `max_iou_matching`, then:

    5. a candidate of which more than `ignore_threshold` lies in one ignore region: ignored.

    Parameters
    ----------
    boxes : float, shape (N, 4)
        Candidates: anchors, proposals or windows.
    gt_boxes : float, shape (M, 4)
        Objects.
    gt_labels : int, shape (M,)
        Classes 0..C-1; -1 for a row that holds no object (padding).
    num_classes : int >= 1
        C.
    foreground_iou, background_iou, low_quality, minimum_low_quality_iou, candidate_mask
        As in `max_iou_matching`.
    ignore_regions : float, shape (R, 4), or None
        Crowds.
    ignore_threshold : float in [0, 1] or None
        None leaves step 5 out.

    Returns
    -------
    Assignment
        `matched_gt` int64, `max_iou` float64, `state` int8 and `labels` int64, each of shape (N,).

    Raises
    ------
    SpecError
        As `max_iou_matching`; a box is not finite; a label is not in -1..C-1; a threshold without regions.

    Source
    ------
    As `max_iou_matching`; step 5 after mmdet's `ignore_iof_thr`. Rulings: as there; background is class C; an ignored
    candidate remains the best one of its object (mmdet takes it out before step 2); a threshold of 0 is a threshold.

    Examples
    --------
    IoUs of 1, 9/20 and 0 with an object of class 2 of three classes:

    >>> boxes = [[0, 0, 10, 10], [0, 0, 4.5, 10], [50, 50, 60, 60]]
    >>> max_iou_assignment(boxes, [[0, 0, 10, 10]], [2], num_classes=3).labels.tolist()
    [2, -1, 3]
    """
    # CHECKS
    candidate, gt = box_array("boxes", boxes), box_array("gt_boxes", gt_boxes)
    num_classes = count("num_classes", num_classes)
    gt_label = int_array("gt_labels", gt_labels, low=-1, high=num_classes - 1, shape=gt.shape[:1])
    ignore_threshold = optional_fraction("ignore_threshold", ignore_threshold)
    regions = box_array("ignore_regions", [] if ignore_regions is None else ignore_regions)
    if (ignore_threshold is None) != (ignore_regions is None):
        raise SpecError("ignore_threshold: expected a number with ignore_regions, None without")

    # QUANTITIES OF THE PAPER
    matched_gt, max_iou, state = max_iou_matching(
        pairwise_iou(gt, candidate),
        foreground_iou=foreground_iou,
        background_iou=background_iou,
        low_quality=low_quality,
        minimum_low_quality_iou=minimum_low_quality_iou,
        gt_mask=gt_label >= 0,
        candidate_mask=candidate_mask,
    )
    if ignore_threshold is not None:
        share = pairwise_intersection_over_area(candidate, regions)
        state[(share > ignore_threshold).any(axis=1)] = IGNORED

    # RESULT
    labels = np.where(state == BACKGROUND, num_classes, IGNORED)
    labels[state == FOREGROUND] = gt_label[matched_gt[state == FOREGROUND]]
    return Assignment(matched_gt, max_iou, state, labels)


def _best_object(overlap: Float) -> tuple[Int, Float]:
    """Row and value of the largest IoU of each column, the first of equal ones; 0 and 0 without any."""
    if overlap.shape[0] == 0:
        return np.zeros(overlap.shape[1], dtype=np.int64), np.zeros(overlap.shape[1])
    return overlap.argmax(axis=0), np.maximum(0.0, overlap.max(axis=0))
