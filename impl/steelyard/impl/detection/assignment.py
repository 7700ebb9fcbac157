"""Max-IoU assignment of whole batches, a few objects at a time.

Specification: `steelyard.reference.detection.assignment`.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from steelyard.impl.checks import compute_dtype, discrete_tensor, float_tensor, one_of, optional_fraction
from steelyard.impl.detection.box_overlaps import iou_of, quotient_of
from steelyard.impl.detection.boxes import area_of, box_pairs, common_shape, intersection_of

LOW_QUALITY_RULES = ("keep", "overwrite_last")
OBJECTS_AT_A_TIME = 8
"""IoUs are made, used and freed for so many objects: a few tensors (..., 8, N) exist at once, none is (..., M, N)."""


class Matching(NamedTuple):
    """`matched_gt` int64, `max_iou` float and `state` int8 (1, 0, -1), each (..., N)."""

    matched_gt: Tensor
    max_iou: Tensor
    state: Tensor


class Assignment(NamedTuple):
    """A matching with `labels` int64 (..., N): 0..C-1 foreground, C background, -1 ignored."""

    matched_gt: Tensor
    max_iou: Tensor
    state: Tensor
    labels: Tensor


class _Best(NamedTuple):
    """What is known after some of the objects, each (..., N); IoU -1 before the first."""

    iou: Tensor
    gt: Tensor
    claimed_by: Tensor
    """Last object by the low-quality rule whose best candidate this is, -1 for none."""


def max_iou_matching(
    iou: Tensor,
    *,
    foreground_iou: float = 0.5,
    background_iou: float = 0.4,
    low_quality: str | None = None,
    minimum_low_quality_iou: float = 0.0,
    gt_mask: Tensor | None = None,
    candidate_mask: Tensor | None = None,
) -> Matching:
    """Match candidates to objects by their IoUs.

    Shapes: `iou` float (..., M, N), `gt_mask` bool (..., M), `candidate_mask` bool (..., N) -> (..., N) each.
    Memory: as `max_iou_assignment`, besides `iou` itself.
    Specification: `steelyard.reference.detection.assignment.max_iou_matching`.
    """
    float_tensor("iou", iou)
    if iou.ndim < 2:
        raise ValueError(f"iou: expected shape (..., M, N), got {tuple(iou.shape)}")
    _check_rule(foreground_iou, background_iou, low_quality, minimum_low_quality_iou)
    batch, (objects, candidates) = iou.shape[:-2], iou.shape[-2:]
    is_object = _mask("gt_mask", gt_mask, (*batch, objects), iou.device)
    in_play = _mask("candidate_mask", candidate_mask, (*batch, candidates), iou.device)
    best = _nothing_yet(in_play, compute_dtype(iou))
    for start in range(0, objects, OBJECTS_AT_A_TIME):
        few = slice(start, start + OBJECTS_AT_A_TIME)
        takes_part = is_object[..., few].unsqueeze(-1) & in_play.unsqueeze(-2)
        overlap = torch.where(takes_part, iou[..., few, :].to(compute_dtype(iou)), -1.0)
        best = _with_more_objects(best, overlap, start, low_quality, minimum_low_quality_iou)
    return _matching(best, is_object.any(-1), in_play, foreground_iou, background_iou, low_quality)


def max_iou_assignment(  # noqa: PLR0913 - the thresholds and switches of the rule, by keyword
    boxes: Tensor,
    gt_boxes: Tensor,
    gt_labels: Tensor,
    *,
    num_classes: int,
    foreground_iou: float = 0.5,
    background_iou: float = 0.4,
    low_quality: str | None = None,
    minimum_low_quality_iou: float = 0.0,
    candidate_mask: Tensor | None = None,
    ignore_regions: Tensor | None = None,
    ignore_threshold: float | None = None,
) -> Assignment:
    """Label every candidate box by the objects of its image.

    Shapes: `boxes` float (..., N, 4) or (N, 4) for all images, `gt_boxes` float (..., M, 4), `gt_labels` int (..., M)
    with -1 for padding, `candidate_mask` bool (..., N), `ignore_regions` float (..., R, 4) with empty boxes for
    padding -> (..., N) each.
    Memory: at most 7 x 8 floats a candidate at one time, however many objects there are (test_impl_assignment).
    Specification: `steelyard.reference.detection.assignment.max_iou_assignment`.
    """
    gt, candidate = box_pairs(gt_boxes, boxes)
    discrete_tensor("gt_labels", gt_labels, shape=gt_boxes.shape[:-1], of="that of gt_boxes without its last axis")
    _check_rule(foreground_iou, background_iou, low_quality, minimum_low_quality_iou)
    if (optional_fraction("ignore_threshold", ignore_threshold) is None) != (ignore_regions is None):
        raise ValueError("ignore_threshold: expected a number with ignore_regions, None without")
    batch = common_shape(boxes.shape[:-2], gt_boxes.shape[:-2])
    in_play = _mask("candidate_mask", candidate_mask, (*batch, boxes.shape[-2]), boxes.device)
    is_object = gt_labels >= 0

    candidate = candidate.movedim(-1, 0).contiguous().movedim(0, -1)  # every coordinate lies together: read often
    best = _nothing_yet(in_play, gt.dtype)
    for start in range(0, gt_boxes.shape[-2], OBJECTS_AT_A_TIME):
        few = slice(start, start + OBJECTS_AT_A_TIME)
        overlap = iou_of(gt[..., few, :, :], candidate)
        overlap = overlap.masked_fill(~is_object[..., few].unsqueeze(-1), -1.0)
        if candidate_mask is not None:
            overlap = overlap.masked_fill(~in_play.unsqueeze(-2), -1.0)
        best = _with_more_objects(best, overlap, start, low_quality, minimum_low_quality_iou)
        del overlap  # before the next ones are made
    any_object = is_object.any(-1).expand(batch)
    matched_gt, max_iou, state = _matching(best, any_object, in_play, foreground_iou, background_iou, low_quality)

    if ignore_regions is not None and ignore_threshold is not None:
        state = state.masked_fill(_mostly_inside(boxes, ignore_regions, ignore_threshold), -1)
    labels = torch.where(state == 0, num_classes, -1)
    if gt_boxes.shape[-2] > 0:
        own = gt_labels.to(torch.int64).expand(*batch, gt_labels.shape[-1]).gather(-1, matched_gt)
        labels = torch.where(state == 1, own, labels)
    return Assignment(matched_gt, max_iou, state, labels)


def _nothing_yet(in_play: Tensor, dtype: torch.dtype) -> _Best:
    zeros = torch.zeros_like(in_play, dtype=torch.int64)
    return _Best(torch.full_like(in_play, -1.0, dtype=dtype), zeros, zeros - 1)


def _with_more_objects(
    best: _Best, overlap: Tensor, start: int, low_quality: str | None, minimum_low_quality_iou: float
) -> _Best:
    """Take in objects `start`, `start` + 1, ... with IoUs (..., m, N), -1 where one of the two takes no part."""
    if overlap.numel() == 0:
        return best
    iou, index = overlap.max(-2)  # of equal ones the first, as the specification has it
    better = iou > best.iou
    claimed_by = best.claimed_by
    if low_quality is not None:
        # all candidates are here, so the best IoU of these objects is final: no second pass over the others
        highest = overlap.amax(-1, keepdim=True)
        highest = torch.where((highest > 0) & (highest >= minimum_low_quality_iou), highest, torch.inf)
        number = start + torch.arange(overlap.shape[-2], device=overlap.device).unsqueeze(-1)
        claimed_by = torch.maximum(claimed_by, torch.where(overlap == highest, number, -1).amax(-2))
    return _Best(torch.where(better, iou, best.iou), torch.where(better, start + index, best.gt), claimed_by)


def _matching(
    best: _Best,
    any_object: Tensor,
    in_play: Tensor,
    foreground_iou: float,
    background_iou: float,
    low_quality: str | None,
) -> Matching:
    max_iou, matched_gt = best.iou.clamp(min=0), best.gt
    is_foreground = max_iou >= foreground_iou
    if low_quality is not None:
        is_claimed = best.claimed_by >= 0
        is_foreground = is_foreground | is_claimed
        if low_quality == "overwrite_last":
            matched_gt = torch.where(is_claimed, best.claimed_by, matched_gt)
    is_background = max_iou < background_iou
    state = torch.where(is_foreground, 1, torch.where(is_background, 0, -1))
    state = torch.where(any_object.unsqueeze(-1), state, 0)
    return Matching(matched_gt, max_iou, torch.where(in_play, state, -1).to(torch.int8))


def _mostly_inside(boxes: Tensor, regions: Tensor, threshold: float) -> Tensor:
    """Which boxes lie in some region by more than the threshold, (..., N); a few regions at a time."""
    region, candidate = box_pairs(regions, boxes)
    batch = common_shape(boxes.shape[:-2], regions.shape[:-2])
    inside = torch.zeros((*batch, boxes.shape[-2]), dtype=torch.bool, device=boxes.device)
    for start in range(0, regions.shape[-2], OBJECTS_AT_A_TIME):
        shared = intersection_of(region[..., start : start + OBJECTS_AT_A_TIME, :, :], candidate)
        inside = inside | (quotient_of(shared, area_of(candidate)) > threshold).any(-2)
    return inside


def _check_rule(foreground: float, background: float, low_quality: str | None, minimum: float) -> None:
    for name, value in (("foreground_iou", foreground), ("background_iou", background)):
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name}: expected a number in [0, 1], got {value}")
    if background > foreground:
        raise ValueError(f"background_iou: expected at most foreground_iou = {foreground}, got {background}")
    if low_quality is not None:
        one_of("low_quality", low_quality, LOW_QUALITY_RULES)
    if not 0.0 <= minimum <= 1.0:
        raise ValueError(f"minimum_low_quality_iou: expected a number in [0, 1], got {minimum}")


def _mask(name: str, value: Tensor | None, shape: tuple[int, ...], device: torch.device) -> Tensor:
    if value is None:
        return torch.ones(shape, dtype=torch.bool, device=device)
    return discrete_tensor(name, value, shape=torch.Size(shape), of="one for each").to(torch.bool)
