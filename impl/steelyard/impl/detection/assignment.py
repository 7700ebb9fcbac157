"""Max-IoU assignment of whole batches, some candidates at a time: what is made of them stays in a cache.

Specification: `steelyard.reference.detection.assignment`.
"""

from collections.abc import Callable
from contextlib import nullcontext
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from steelyard.impl.checks import compute_dtype, discrete_tensor, float_tensor, one_of, optional_fraction
from steelyard.impl.detection.box_overlaps import quotient_of
from steelyard.impl.detection.boxes import area_of, box_pairs, common_shape, intersection_of
from steelyard.impl.slices import keep_freed_memory

LOW_QUALITY_RULES = ("keep", "overwrite_last")
OBJECTS_AT_A_TIME = 24
"""A float32 holds a bit for each of them; a few tensors (..., 24, n) of n candidates exist at once, no (..., M, N)."""
PAIRS_AT_A_TIME = 2**17
"""In eager mode: half a megabyte of float32, of which the cache of a core holds several."""
SHORTEST = 64  # candidates at a time, below which calls cost more than what they compute
CANDIDATES_AT_A_TIME = 2**17
"""In eager mode, of a few images or of one: what is made of each candidate of these exists, and of no others."""
Overlap = Callable[[slice, slice], Tensor]
"""IoUs (..., m, n) of some objects with some candidates, 0 where one of them takes no part; to be overwritten."""


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


class _Rule(NamedTuple):
    """The options of the rule."""

    foreground_iou: float
    background_iou: float
    low_quality: str | None
    minimum_low_quality_iou: float
    ignore_threshold: float | None


class _Given(NamedTuple):
    """The arguments of an assignment: each with all batch axes, or with fewer where images share it."""

    boxes: Tensor
    gt_boxes: Tensor
    gt_labels: Tensor
    candidate_mask: Tensor | None
    ignore_regions: Tensor | None

    def some(self, axes: int, start: int, number: int) -> "_Given":
        """What a few images along the first of the batch axes have of them."""

        def part(tensor: Tensor, own: int) -> Tensor:
            shared = tensor.ndim < axes + own or tensor.shape[0] == 1
            return tensor if shared else tensor.narrow(0, start, number)

        return _Given(
            part(self.boxes, 2),
            part(self.gt_boxes, 2),
            part(self.gt_labels, 1),
            None if self.candidate_mask is None else part(self.candidate_mask, 1),
            None if self.ignore_regions is None else part(self.ignore_regions, 2),
        )


class _Bits(NamedTuple):
    """A power of 2 for each object of a group, (..., M), in the dtype of the IoUs."""

    claim: Tensor
    """From the first one of the group on."""
    first: Tensor
    """From the end of a whole group on, so that the first one has the highest; 0 where there is no object."""


class _Found(NamedTuple):
    """Some candidates among all objects; IoU and object (..., n), of each group of objects (..., n) and (..., m)."""

    iou: Tensor
    from_end: Tensor
    """First object of the largest IoU, int32, counted from the end of whole groups."""
    claims: list[Tensor]
    """Sum of 2^j over the objects j of a group of whose IoUs here this one is the highest."""
    highest: list[Tensor]
    """These highest IoUs."""


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
    dtype = compute_dtype(iou)

    def overlap(objects: slice, candidates: slice) -> Tensor:
        takes_part = is_object[..., objects].unsqueeze(-1) & in_play[..., candidates].unsqueeze(-2)
        return torch.where(takes_part, iou[..., objects, candidates].to(dtype), 0.0)

    with torch.no_grad():
        best = _best_of_all(overlap, is_object, in_play, dtype, low_quality, minimum_low_quality_iou)
        matched = _matching(*best, is_object.any(-1), foreground_iou, background_iou, low_quality)
    return matched if candidate_mask is None else _without(in_play, matched)


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
    Memory: a few floats a candidate, however many objects there are (test_impl_assignment); nothing is differentiated.
    Specification: `steelyard.reference.detection.assignment.max_iou_assignment`.
    """
    box_pairs(gt_boxes, boxes)
    discrete_tensor("gt_labels", gt_labels, shape=gt_boxes.shape[:-1], of="that of gt_boxes without its last axis")
    _check_rule(foreground_iou, background_iou, low_quality, minimum_low_quality_iou)
    if (optional_fraction("ignore_threshold", ignore_threshold) is None) != (ignore_regions is None):
        raise ValueError("ignore_threshold: expected a number with ignore_regions, None without")
    batch = common_shape(boxes.shape[:-2], gt_boxes.shape[:-2])
    if candidate_mask is not None:
        _mask("candidate_mask", candidate_mask, (*batch, boxes.shape[-2]), boxes.device)
    rule = _Rule(foreground_iou, background_iou, low_quality, minimum_low_quality_iou, ignore_threshold)

    given = _Given(boxes, gt_boxes, gt_labels, candidate_mask, ignore_regions)
    images = max(CANDIDATES_AT_A_TIME // max(prod(batch[1:]) * boxes.shape[-2], 1), 1)
    if torch.compiler.is_compiling() or not batch or batch[0] <= images:
        return _assigned(given, batch, num_classes, rule)
    found: list[Tensor] = []
    for start in range(0, batch[0], images):
        number = min(images, batch[0] - start)
        part = _assigned(given.some(len(batch), start, number), torch.Size((number, *batch[1:])), num_classes, rule)
        found = found or [field.new_empty((batch[0], *field.shape[1:])) for field in part]
        for whole, field in zip(found, part, strict=True):
            whole.narrow(0, start, number).copy_(field)
    return Assignment(*found)


def _assigned(given: _Given, batch: torch.Size, num_classes: int, rule: _Rule) -> Assignment:
    boxes, gt_boxes, gt_labels, candidate_mask, ignore_regions = given
    gt, candidate = box_pairs(gt_boxes, boxes)
    in_play = _mask("candidate_mask", candidate_mask, (*batch, boxes.shape[-2]), boxes.device)
    is_object = gt_labels >= 0

    # what takes no part has no area, so its IoUs are 0, whatever else it holds
    gt = torch.where(is_object[..., None, None], gt, 0.0)
    if candidate_mask is not None:
        candidate = torch.where(in_play[..., None, :, None], candidate, 0.0)
    candidate = candidate.movedim(-1, 0).contiguous().movedim(0, -1)  # every coordinate lies together: read often
    candidate_area, area = area_of(candidate), area_of(gt)
    # an object without area shares none: its IoUs are 0, also with candidates without area
    area = torch.where(area > 0, area, torch.inf)

    def overlap(objects: slice, candidates: slice) -> Tensor:
        few, some = gt[..., objects, :, :], candidate[..., candidates, :]
        width, height = (
            torch.minimum(few[..., end], some[..., end]).sub_(torch.maximum(few[..., start], some[..., start]))
            for start, end in ((0, 2), (1, 3))
        )
        shared = width.relu_().mul_(height.relu_())
        return shared.div_(torch.add(area[..., objects, :], candidate_area[..., candidates]).sub_(shared))

    with torch.no_grad():
        best = _best_of_all(overlap, is_object, in_play, gt.dtype, rule.low_quality, rule.minimum_low_quality_iou)
        matched = _matching(
            *best, is_object.any(-1).expand(batch), rule.foreground_iou, rule.background_iou, rule.low_quality
        )
    matched_gt, max_iou, state = matched if candidate_mask is None else _without(in_play, matched)

    if ignore_regions is not None and rule.ignore_threshold is not None:
        state = state.masked_fill(_mostly_inside(boxes, ignore_regions, rule.ignore_threshold), -1)
    labels = torch.where(state == 0, num_classes, -1)
    if gt_boxes.shape[-2] > 0:
        own = gt_labels.to(torch.int64).expand(*batch, gt_labels.shape[-1]).gather(-1, matched_gt)
        labels = torch.where(state == 1, own, labels)
    return Assignment(matched_gt, max_iou, state, labels)


def _best_of_all(
    overlap: Overlap,
    is_object: Tensor,
    in_play: Tensor,
    dtype: torch.dtype,
    low_quality: str | None,
    minimum_low_quality_iou: float,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Best IoU, its object, and the last object by the low-quality rule, -1 for none; (..., N)."""
    objects, candidates = is_object.shape[-1], in_play.shape[-1]
    if objects == 0 or candidates == 0:
        nothing = torch.zeros_like(in_play, dtype=torch.int64)
        return nothing.to(dtype), nothing, None
    groups = [slice(start, min(start + OBJECTS_AT_A_TIME, objects)) for start in range(0, objects, OBJECTS_AT_A_TIME)]
    parts = [slice(0, candidates)]
    if not torch.compiler.is_compiling():
        keep_freed_memory(is_object, PAIRS_AT_A_TIME, dtype)
        pairs = max(prod(in_play.shape[:-1]) * min(objects, OBJECTS_AT_A_TIME), 1)
        width = max(PAIRS_AT_A_TIME // pairs, SHORTEST)
        parts = [slice(start, min(start + width, candidates)) for start in range(0, candidates, width)]
    place = torch.arange(objects, device=is_object.device) % OBJECTS_AT_A_TIME
    bits = _Bits(*((2.0**exponent).to(dtype) for exponent in (place, OBJECTS_AT_A_TIME - 1 - place)))
    bits = bits._replace(first=bits.first * is_object)

    best, from_end, claims, highest = [], [], [], []
    for part in parts:
        found = _among_objects(overlap, groups, part, bits, claiming=low_quality is not None)
        best.append(found.iou)
        from_end.append(found.from_end)
        claims.append(found.claims)
        highest.append(found.highest)
    # from the end of whole groups; in an image without objects nothing has a bit
    gt = (len(groups) * OBJECTS_AT_A_TIME - torch.cat(from_end, dim=-1)) * is_object.any(-1, keepdim=True)
    claimed_by = None if low_quality is None else _last_claims(claims, highest, minimum_low_quality_iou)
    return torch.cat(best, dim=-1), gt.long(), claimed_by


def _among_objects(overlap: Overlap, groups: list[slice], part: slice, bits: _Bits, *, claiming: bool) -> _Found:
    """Some candidates, with one group of objects after the other."""
    best = first = bits.first.new_zeros(())
    claims, highest = [], []
    for number, group in enumerate(groups):
        iou = overlap(group, part)
        if claiming:
            highest.append(iou.amax(-1, keepdim=True))
            claims.append(_sum_where_zero(iou - highest[-1], bits.claim[group]))
        best_here = iou.amax(-2, keepdim=True)
        first_here = _exponent(_sum_where_zero(iou.sub_(best_here), bits.first[..., group]))
        best_here = best_here.squeeze(-2)
        if number == 0:
            best, first = best_here, first_here + (len(groups) - 1) * OBJECTS_AT_A_TIME
        else:  # of equal ones the first is the largest from the end; without any object in the group it is 0
            from_end = torch.where(first_here > 0, first_here + (len(groups) - 1 - number) * OBJECTS_AT_A_TIME, 0)
            first = torch.where(
                best_here > best, from_end, torch.where(best_here < best, first, first.maximum(from_end))
            )
            best = torch.maximum(best, best_here)
    return _Found(best, first, claims, highest)


def _sum_where_zero(below: Tensor, bits: Tensor) -> Tensor:
    """Sum (..., n) of the bits (..., m) of those whose number (..., m, n), overwritten, is 0; the others are below 0.

    Signs are several times as fast as comparisons, which make bools of another size. All sums are whole numbers that
    the dtype holds, in whatever order they are formed.
    """
    signs = below.sign_()
    if torch.compiler.is_compiling():  # into the loop that made the numbers
        return ((signs + 1) * bits.unsqueeze(-1)).sum(-2)
    device = signs.device.type
    exact = torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()
    with exact:  # autocast would round the sums to a half precision
        product = bits.unsqueeze(-2) @ signs
    return product.squeeze(-2).add_(bits.sum(-1, keepdim=True))


def _exponent(sums: Tensor) -> Tensor:
    """Number of the highest bit, counted from 1, and 0 for 0; int32, of whole numbers in a float's format."""
    if sums.dtype == torch.float64:
        return ((sums.view(torch.int64) >> 52) - 1022).clamp(min=0).int()
    return ((sums.view(torch.int32) >> 23) - 126).clamp(min=0)


def _last_claims(claims: list[list[Tensor]], highest: list[list[Tensor]], minimum: float) -> Tensor:
    """Last object that claims each candidate, -1 for none: now the highest IoU of each object in all parts is known."""
    of_all = [torch.stack(of_group).amax(0) for of_group in zip(*highest, strict=True)]
    found = []
    for claims_here, highest_here in zip(claims, highest, strict=True):
        last = torch.full((), -1, dtype=torch.int32, device=of_all[0].device)
        for number, (sums, here, best) in enumerate(zip(claims_here, highest_here, of_all, strict=True)):
            holds = ((here == best) & (here > 0) & (here >= minimum)).squeeze(-1).int()
            held = (holds << torch.arange(here.shape[-2], device=here.device)).sum(-1, keepdim=True, dtype=torch.int32)
            exponent = _exponent((sums.int() & held).to(sums.dtype))
            here_last = exponent + (number * OBJECTS_AT_A_TIME - 1)
            last = here_last if number == 0 else torch.where(exponent > 0, here_last, last)
        found.append(last)
    return torch.cat(found, dim=-1)


def _matching(
    max_iou: Tensor,
    matched_gt: Tensor,
    claimed_by: Tensor | None,
    any_object: Tensor,
    foreground_iou: float,
    background_iou: float,
    low_quality: str | None,
) -> Matching:
    is_foreground = max_iou >= foreground_iou
    if claimed_by is not None:
        is_claimed = claimed_by >= 0
        is_foreground = is_foreground | is_claimed
        if low_quality == "overwrite_last":
            matched_gt = torch.where(is_claimed, claimed_by, matched_gt)
    # bytes all along: 1 foreground, 0 background, -1 neither
    decided = (is_foreground | (max_iou < background_iou)).to(torch.int8)
    state = (is_foreground.to(torch.int8) + decided - 1) * any_object.unsqueeze(-1)
    return Matching(matched_gt, max_iou, state)


def _without(in_play: Tensor, matched: Matching) -> Matching:
    """Candidates out of play are ignored; their IoUs are 0 already."""
    return Matching(matched.matched_gt * in_play, matched.max_iou, torch.where(in_play, matched.state, -1))


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
