"""Wrong assignments: the mistakes of real detectors, and plain ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.contract import Array, Mutant
from steelyard.conformance.detection.box_overlaps_mutants import changed, plain_iou
from steelyard.reference.detection import assignment as oracle
from steelyard.reference.detection.box_overlaps import pairwise_intersection_over_area, pairwise_iou

Function = Callable[..., Any]
_MATCHING: Function = oracle.max_iou_matching
_ASSIGNMENT: Function = oracle.max_iou_assignment
_MANY_OBJECTS, _MANY_CANDIDATES = 32, 4096


def faulty_matching(*faults: str) -> Function:
    """The steps of the matching with the named faults, after the specification's checks."""
    has = frozenset(faults).__contains__

    def mutant(iou: Array, **rule: Any) -> tuple[Array, Array, Array]:  # noqa: ANN401
        _MATCHING(np.nan_to_num(iou), **rule)
        overlap = np.asarray(iou, dtype=np.float64)
        foreground, background = rule["foreground_iou"], rule["background_iou"]
        if len(overlap) == 0:
            nothing = np.zeros(overlap.shape[1])
            return nothing.astype(np.int64), nothing, nothing.astype(np.int64) - has("no-objects-ignored")
        matched, best = overlap.argmax(axis=0), overlap.max(axis=0)
        if has("last-object"):
            matched = len(overlap) - 1 - overlap[::-1].argmax(axis=0)
        is_background = best <= background if has("background-reached") else best < background
        if has("int-threshold") and isinstance(background, int):
            is_background = np.zeros_like(is_background)
        state = np.where(is_background | has("between-is-background"), 0, -1)
        state[best > foreground if has("foreground-above") else best >= foreground] = 1
        if rule["low_quality"] is not None and not has("no-low-quality"):
            for g in range(len(overlap))[:: -1 if has("first-claim") else 1]:
                _claim(g, overlap, state, matched, rule, has)
        if has("background-last"):
            state[is_background] = 0
        if has("matched-minus-one"):
            matched = np.where(state == 1, matched, -1)
        return matched, best, state

    return mutant


def _claim(
    g: int, overlap: Array, state: Array, matched: Array, rule: dict[str, Any], has: Callable[[object], bool]
) -> None:
    """Step 4 for one object."""
    row, minimum = overlap[g], rule["minimum_low_quality_iou"]
    highest = row.max(initial=0.0)
    if (highest == 0 and not has("invisible-claims")) or row.size == 0:
        return
    if not has("minimum-ignored") and (highest < minimum or (has("minimum-excluded") and 0 < highest == minimum)):
        return
    claimed = np.arange(row.size) == row.argmax() if has("first-candidate") else row == highest
    state[claimed] = 1
    if (rule["low_quality"] == "overwrite_last" and not has("kept-target")) or has("overwritten-target"):
        matched[claimed] = g


def only_first(right: Function, name: str, number: int, axis: int = 0) -> Function:
    """It sees nothing but zeros beyond the first `number` entries along an axis of an input."""

    def mutant(**keywords: Any) -> Any:  # noqa: ANN401
        values = np.array(keywords[name])
        np.moveaxis(values, axis, 0)[number:] = 0
        return right(**{**keywords, name: values})

    return mutant


def failing_without(right: Function, axis: int) -> Function:
    """It takes the maximum along an axis, which an empty one does not have."""

    def mutant(iou: Array, **rule: Any) -> Any:  # noqa: ANN401
        np.max(iou, axis=axis)
        return right(iou, **rule)

    return mutant


def unchecked_rule(right: Function) -> Function:
    """It takes any thresholds."""

    def mutant(**keywords: Any) -> Any:  # noqa: ANN401
        low = min(max(keywords["background_iou"], 0.0), 1.0)
        high = min(max(keywords["foreground_iou"], low), 1.0)
        return right(**{**keywords, "background_iou": low, "foreground_iou": high})

    return mutant


def _matching(fault: str, summary: str, *faults: str, seen_in: str = "") -> Mutant:
    return Mutant(f"matching/{fault}", summary, faulty_matching(*(faults or (fault,))), seen_in=seen_in)


@wraps(_MATCHING)
def _taking_rows(iou: Array, *, gt_mask: Array | None = None, **keywords: Any) -> Any:  # noqa: ANN401
    return _MATCHING(iou, **keywords)


@wraps(_MATCHING)
def _masking_afterwards(iou: Array, *, candidate_mask: Array | None = None, **keywords: Any) -> Any:  # noqa: ANN401
    matched, best, state = _MATCHING(iou, **keywords)
    in_play = True if candidate_mask is None else candidate_mask
    return np.where(in_play, matched, 0), np.where(in_play, best, 0.0), np.where(in_play, state, -1)


# of two that explain a library on its failing inputs, the first is named: single faults come first
MATCHING_MUTANTS = (
    _matching("invisible-claims", "an object that overlaps nothing claiming every candidate",
              seen_in="torchvision's and detectron2's Matcher, py-faster-rcnn"),
    _matching("overwritten-target", "candidates given to the last object whose best they are",
              seen_in="mmdet's MaxIoUAssigner"),
    _matching("overwritten-and-invisible", "the last object whose best they are, or that overlaps nothing, given "
              "candidates", "overwritten-target", "invisible-claims", seen_in="mmdet's MaxIoUAssigner"),
    _matching("first-candidate", "the first of several equally good candidates alone",
              seen_in="Mask_RCNN before its pull request 1286; mmdet with gt_max_assign_all=False"),
    _matching("best-by-argmax", "every object, also one that overlaps nothing, taking its first best candidate",
              "first-candidate", "overwritten-target", "invisible-claims", seen_in="torchvision's SSDMatcher"),
    _matching("background-last", "candidates below the lower threshold made background after the low-quality rule",
              seen_in="Detectron's RetinaNet"),
    _matching("no-low-quality", "the low-quality rule left out"),
    _matching("foreground-above", "foreground only above the threshold"),
    _matching("background-reached", "background also at the threshold"),
    _matching("between-is-background", "no candidate ignored"),
    _matching("last-object", "the last of equally good objects"),
    _matching("int-threshold", "no background if the threshold is an int", seen_in="mmdet's MaxIoUAssigner"),
    _matching("minimum-ignored", "no least IoU for the low-quality rule", seen_in="torchvision's Matcher"),
    _matching("minimum-excluded", "the least IoU of the low-quality rule not enough"),
    _matching("kept-target", "the own best object where the last claim is asked for"),
    _matching("first-claim", "the first claim where the last one is asked for"),
    _matching("no-objects-ignored", "every candidate of an image without objects ignored"),
    _matching("matched-minus-one", "no object for what is not foreground", seen_in="torchvision's Matcher"),
    Mutant("matching/objects-lost", "objects beyond the 32nd left out",
           only_first(_MATCHING, "iou", _MANY_OBJECTS)),
    Mutant("matching/candidates-lost", "candidates beyond the 4096th taken for background",
           only_first(_MATCHING, "iou", _MANY_CANDIDATES, axis=1)),
    Mutant("matching/refuses-half", "an error in half precision", mistakes.refusing_half(_MATCHING, "iou")),
    Mutant("matching/in-place", "its input overwritten", mistakes.overwriting(_MATCHING, "iou")),
    Mutant("matching/raises-without-objects", "an error where there are no objects", failing_without(_MATCHING, 0),
           seen_in="torchvision's Matcher"),
    Mutant("matching/raises-without-candidates", "an error where there are no candidates",
           failing_without(_MATCHING, 1), seen_in="torchvision's Matcher"),
    Mutant("matching/unchecked", "no check of the thresholds", unchecked_rule(_MATCHING)),
    Mutant("matching/rows-count", "rows that hold no object taken for objects", _taking_rows),
    Mutant("matching/mask-afterwards", "candidates out of play claimed as the best of an object", _masking_afterwards,
           seen_in="detectron2's region proposal network"),
)  # fmt: skip


def faulty_assignment(*faults: str, overlap: Function = pairwise_iou) -> Function:
    """The steps of the assignment with the named faults, of the matching too, after the specification's checks."""
    has = frozenset(faults).__contains__

    def mutant(
        boxes: Array, gt_boxes: Array, gt_labels: Array, candidate_mask: Array, ignore_regions: Array,
        *, num_classes: int, ignore_threshold: float, **rule: Any,  # noqa: ANN401
    ) -> tuple[Array, Array, Array, Array]:  # fmt: skip
        right = _ASSIGNMENT(
            boxes, gt_boxes, gt_labels, candidate_mask=candidate_mask, ignore_regions=ignore_regions,
            num_classes=num_classes, ignore_threshold=ignore_threshold, **rule,
        )  # fmt: skip
        in_region = _in_region(boxes, ignore_regions, ignore_threshold, has)
        objects = np.flatnonzero((gt_labels >= 0) | has("padding-counts"))
        everyone = has("mask-afterwards")
        in_play = (np.ones_like(candidate_mask) if everyone else candidate_mask) & ~(in_region & has("regions-first"))
        iou = np.clip(overlap(boxes=gt_boxes[objects], other_boxes=boxes[in_play]), 0.0, 1.0)
        matched, best, state = (np.array(field) for field in (right.matched_gt, right.max_iou, right.state))
        own, best[in_play], state[in_play] = faulty_matching(*faults)(iou, **rule)
        if len(objects):
            matched[in_play] = own if has("position-as-object") else objects[own]
        state[~in_play] = -1
        if has("regions-first"):
            best[in_region & candidate_mask & (len(objects) > 0)] = -1.0
        state[in_region] = -1
        state[~candidate_mask] = 0 if has("masked-is-background") else -1
        classes = np.append(gt_labels, 0)[np.where(state == 1, matched, -1)]
        labels = np.where(state == 1, classes, np.where(state == 0, num_classes, -1))
        if has("background-first"):
            labels = np.where(state == 1, classes + 1, np.where(state == 0, 0, -1))
        return matched, best, state, np.where((labels == -1) & has("ignored-is-background"), num_classes, labels)

    return mutant


def _in_region(boxes: Array, regions: Array, threshold: float, has: Callable[[object], bool]) -> Array:
    share = pairwise_intersection_over_area(boxes, regions)
    if has("share-of-region"):
        share = pairwise_intersection_over_area(regions, boxes).T
    if has("iou-with-region"):
        share = pairwise_iou(boxes, regions)
    if has("shares-added"):
        share = share.sum(axis=1, keepdims=True)
    if has("regions-forgotten") or (has("zero-is-off") and threshold == 0):
        share = np.zeros_like(share)
    reached = (share == threshold) & (share > 0) & has("share-reached")
    return np.asarray((reached | (share > threshold)).any(axis=1))


def _assignment(fault: str, summary: str, *faults: str, seen_in: str = "") -> Mutant:
    return Mutant(f"assignment/{fault}", summary, faulty_assignment(*(faults or (fault,))), seen_in=seen_in)


ASSIGNMENT_MUTANTS = (
    _assignment("overwritten-target", "candidates given to the last object whose best they are",
                seen_in="mmdet's MaxIoUAssigner"),
    _assignment("invisible-claims", "an object that overlaps nothing claiming every candidate",
                seen_in="detectron2, py-faster-rcnn"),
    _assignment("overwritten-and-invisible", "the last object whose best they are, or that overlaps nothing, given "
                "candidates", "overwritten-target", "invisible-claims", seen_in="mmdet's MaxIoUAssigner"),
    _assignment("regions-first", "candidates in a region taken out before objects claim their best"),
    _assignment("invisible-and-regions-first", "candidates in a region taken out before objects claim their best, also "
                "those that then overlap nothing", "invisible-claims", "regions-first",
                seen_in="mmdet's MaxIoUAssigner"),
    _assignment("first-candidate", "the first of several equally good candidates alone",
                seen_in="Mask_RCNN before its pull request 1286"),
    _assignment("no-low-quality", "the low-quality rule left out"),
    _assignment("minimum-ignored", "no least IoU for the low-quality rule"),
    _assignment("background-last", "candidates below the lower threshold made background after the low-quality rule",
                seen_in="Detectron's RetinaNet"),
    _assignment("foreground-above", "foreground only above the threshold"),
    _assignment("background-reached", "background also at the threshold"),
    _assignment("between-is-background", "no candidate ignored"),
    _assignment("no-objects-ignored", "every candidate of an image without objects ignored"),
    _assignment("last-object", "the last of equally good objects"),
    _assignment("matched-minus-one", "no object for what is not foreground"),
    _assignment("padding-counts", "rows of padding taken for objects of the class -1"),
    _assignment("position-as-object", "objects numbered without the padding between them"),
    _assignment("mask-afterwards", "candidates out of play claimed as the best of an object",
                seen_in="detectron2's region proposal network"),
    _assignment("masked-is-background", "candidates out of play taken for background"),
    _assignment("zero-is-off", "no ignore regions at a threshold of 0", seen_in="mmdet's MaxIoUAssigner"),
    _assignment("regions-forgotten", "no ignore regions"),
    _assignment("share-reached", "candidates ignored also at the threshold"),
    _assignment("share-of-region", "the share of the region in the candidate",
                seen_in="mmdet with ignore_wrt_candidates=False"),
    _assignment("iou-with-region", "the IoU with the region"),
    _assignment("shares-added", "the shares in all regions added up"),
    _assignment("background-first", "class 0 for the background", seen_in="py-faster-rcnn, maskrcnn-benchmark"),
    _assignment("ignored-is-background", "ignored candidates labelled as background"),
    Mutant("assignment/plus-one", "one pixel more in width and height", faulty_assignment(
        overlap=changed(pairwise_iou, plain_iou, plus=1.0)), seen_in="py-faster-rcnn, Detectron"),
    Mutant("assignment/half-arithmetic", "IoUs in float16, where areas overflow and nothing is reached",
           faulty_assignment(
               overlap=changed(pairwise_iou, plain_iou, in_half=True)), seen_in="mmdet's bbox_overlaps"),
    Mutant("assignment/objects-lost", "objects beyond the 32nd left out",
           only_first(_ASSIGNMENT, "gt_boxes", _MANY_OBJECTS)),
    Mutant("assignment/candidates-lost", "candidates beyond the 4096th taken for background",
           only_first(_ASSIGNMENT, "boxes", _MANY_CANDIDATES)),
    Mutant("assignment/in-place", "its boxes overwritten", mistakes.overwriting(_ASSIGNMENT, "boxes")),
    Mutant("assignment/raises-without-objects", "an error where there is no object",
           mistakes.failing_on_empty(_ASSIGNMENT, "gt_boxes")),
    Mutant("assignment/raises-without-candidates", "an error where there is no candidate",
           mistakes.failing_on_empty(_ASSIGNMENT, "boxes")),
    Mutant("assignment/broadcast", "the first label repeated for all objects if there are more",
           mistakes.broadcasting(_ASSIGNMENT, "gt_labels", "gt_boxes")),
    Mutant("assignment/unchecked", "no check of the thresholds", unchecked_rule(_ASSIGNMENT)),
    Mutant("assignment/no-mask-is-none", "no candidate in play without a mask", mistakes.without(
        _ASSIGNMENT, "candidate_mask", "boxes", mistakes.none_of)),
)  # fmt: skip
