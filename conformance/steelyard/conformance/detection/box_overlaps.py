"""Contracts of the overlaps of boxes: IoU pairwise and row by row, GIoU, the share of a box in a region.

Ren et al., "Faster R-CNN", NIPS 2015 (arXiv 1506.01497), section 3.1.2; Rezatofighi et al., "Generalized Intersection
over Union", CVPR 2019 (arXiv 1902.09630), algorithm 1; Everingham et al., "The Pascal Visual Object Classes Challenge",
IJCV 2010, equation 3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance.checking import bad_shape, refuses, same_as
from steelyard.conformance.contract import Array, Case, Kind, Level, Mutant, Output, Requirement, Technique
from steelyard.conformance.detection import box_overlaps_mutants as wrong
from steelyard.conformance.detection.box_inputs import box_argument
from steelyard.conformance.detection.overlap_requirements import (
    IMPLIED,
    NOT_APPLICABLE,
    PAIRS,
    REGIONS,
    ROWS,
    RULINGS,
    STRETCHED,
    between,
    exchanged,
    law_of_pairs,
    magnified,
    pair_requirements,
)
from steelyard.conformance.soft_sampling.focal_inputs import FULL
from steelyard.reference.detection import box_overlaps as oracle

# --- contracts ------------------------------------------------------------------------------------------------

_BOXES, _OTHER = box_argument("boxes", "M", "first list"), box_argument("other_boxes", "N", "second list")
_VOC = "Everingham et al., IJCV 2010, equation 3"
_FASTER_RCNN = 'Ren et al., "Faster R-CNN", NIPS 2015, arXiv 1506.01497, section 3.1.2'
_GIOU_PAPER = 'Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019, arXiv 1902.09630, algorithm 1'


def _terms_of_giou(case: Case) -> tuple[int, Array]:
    """IoU - 1 + union / enclosing area."""
    one, other = case.arguments["boxes"], case.arguments["other_boxes"]
    return 3, 2.0 + np.asarray(oracle.pairwise_iou(one, other))


def _mutant(prefix: str, fault: str, summary: str, function: Callable[..., Any], seen_in: str = "") -> Mutant:
    return Mutant(f"{prefix}/{fault}", summary, function, seen_in=seen_in)


def _half_and_clamped(prefix: str, right: Callable[..., Any], overlap: wrong.Overlap, **lists: Any) -> Mutant:  # noqa: ANN401
    function = wrong.changed(right, overlap, in_half=True, **lists)
    summary = "its arithmetic in float16, where areas overflow to NaN, and areas of at least 1e-6"
    return _mutant(prefix, "half-and-clamped", summary, function, "mmdet's bbox_overlaps")


def _transposed(right: Callable[..., Any]) -> Callable[..., Any]:
    return lambda **keywords: np.asarray(right(**keywords)).T


def _epsilon_added(parts: wrong.Parts) -> Array:
    return parts.shared / (parts.union + 1e-7)


def _over_both_areas(parts: wrong.Parts) -> Array:
    return wrong.ratio(parts.shared, parts.area + parts.other_area)


def _over_smaller(parts: wrong.Parts) -> Array:
    return wrong.ratio(parts.shared, np.minimum(parts.area, parts.other_area))


def _iou_mutants(prefix: str, right: Callable[..., Any], *, aligned: bool) -> tuple[Mutant, ...]:
    def of(overlap: wrong.Overlap) -> Callable[..., Any]:
        return wrong.changed(right, overlap, aligned=aligned)

    return (
        _mutant(prefix, "zero-by-zero", "NaN for a point or line with itself", of(wrong.plain_iou),
                "torchvision's box_iou"),
        _mutant(prefix, "clamped-union", "a union of at least 1e-6", of(wrong.clamped_iou), "mmdet's bbox_overlaps"),
        _half_and_clamped(prefix, right, wrong.clamped_iou, aligned=aligned),
        _mutant(prefix, "epsilon-added", "1e-7 added to the union", of(_epsilon_added), "YOLOv5's bbox_iou"),
        _mutant(prefix, "both-areas", "the intersection counted twice in the union", of(_over_both_areas)),
        _mutant(prefix, "over-smaller", "the smaller area in place of the union", of(_over_smaller)),
        _mutant(prefix, "over-first", "the first area in place of the union", of(wrong.share)),
        *wrong.common_mutants(prefix, right, wrong.iou, aligned=aligned),
    )  # fmt: skip


PAIRWISE_IOU = Technique(
    id="pairwise_iou",
    title="Intersection over union",
    family="detection",
    summary="Overlap of each box with each other box, in [0, 1].",
    sources=(_FASTER_RCNN, _VOC),
    oracle=oracle.pairwise_iou,
    arguments=(_BOXES, _OTHER),
    options=(),
    outputs=(Output("iou", ("M", "N"), "float", "in [0, 1]"),),
    requirements=(
        *pair_requirements(
            "IOU", PAIRS, ("IoU is the intersection over the union of the areas.", _FASTER_RCNN),
            of_points="A box without width or height has IoU 0, also with itself.", law=STRETCHED,
        ),
        Requirement("IOU-11", Level.MUST, Kind.INVARIANCE, "Exchanging the lists transposes the answer.", "geometry",
                    same_as(exchanged, "exchanged lists", lambda output, _: output.T), PAIRS.with_area, dtypes=FULL,
                    examples=0.3, no_mutant=IMPLIED.format("IOU")),
        Requirement("IOU-12", Level.MUST, Kind.BOUND, "IoU lies in [0, 1].", "geometry", between(0.0, 1.0),
                    PAIRS.with_area, dtypes=FULL, examples=0.3, no_mutant=IMPLIED.format("IOU")),
    ),
    mutants=(
        *_iou_mutants("iou", oracle.pairwise_iou, aligned=False),
        _mutant("iou", "transposed", "rows and columns exchanged", _transposed(oracle.pairwise_iou)),
    ),
    rulings=RULINGS,
    not_applicable=NOT_APPLICABLE,
)  # fmt: skip

ALIGNED_IOU = Technique(
    id="aligned_iou",
    title="Intersection over union, row by row",
    family="detection",
    summary="Overlap of each box with the other box of the same row: a prediction with its target.",
    sources=(_FASTER_RCNN, _VOC),
    oracle=oracle.aligned_iou,
    arguments=(box_argument("boxes", "N", "first list"), _OTHER),
    options=(),
    outputs=(Output("iou", ("N",), "float", "in [0, 1]"),),
    requirements=(
        *pair_requirements(
            "AIOU", ROWS, ("IoU is the intersection over the union of the areas.", _FASTER_RCNN),
            of_points="A box without width or height has IoU 0, also with itself.",
            law=law_of_pairs(Kind.INVARIANCE, "Moving and stretching the picture changes nothing.",
                     same_as(magnified, "overlap in the stretched picture"), ROWS),
        ),
        Requirement("AIOU-11", Level.SHOULD, Kind.ERROR, "Lists of different lengths are refused.", "house rule",
                    refuses(bad_shape("other_boxes")), ROWS.with_area, dtypes=FULL, examples=0.2),
    ),
    mutants=(
        *_iou_mutants("aligned-iou", oracle.aligned_iou, aligned=True),
        Mutant("aligned-iou/cut-to-shorter", "rows beyond the shorter list left out", lambda boxes, other_boxes:
               oracle.aligned_iou(boxes[: len(other_boxes)], other_boxes[: len(boxes)])),
    ),
    rulings=RULINGS,
    not_applicable=NOT_APPLICABLE | {Kind.BOUND: "pairwise_iou has it"},
)  # fmt: skip

PAIRWISE_GIOU = Technique(
    id="pairwise_giou",
    title="Generalized intersection over union",
    family="detection",
    summary="IoU, less the empty share of the smallest box around both.",
    sources=(_GIOU_PAPER,),
    oracle=oracle.pairwise_giou,
    arguments=(_BOXES, _OTHER),
    options=(),
    outputs=(Output("giou", ("M", "N"), "float", "in [-1, 1]"),),
    summands=_terms_of_giou,
    requirements=(
        *pair_requirements(
            "GIOU", PAIRS, ("GIoU is the IoU less the empty share of the enclosing box.", _GIOU_PAPER),
            of_points="0/0 is 0, in the IoU and in the empty share.", law=STRETCHED,
        ),
        Requirement("GIOU-11", Level.MUST, Kind.BOUND, "GIoU lies in [-1, 1].", "section 3", between(-1.0, 1.0),
                    PAIRS.with_area, dtypes=FULL, examples=0.3, no_mutant=IMPLIED.format("GIOU")),
    ),
    mutants=(
        _mutant("giou", "zero-by-zero", "NaN for two points or lines with nothing between them",
                wrong.changed(oracle.pairwise_giou, wrong.plain_giou), "torchvision's generalized_box_iou"),
        _mutant("giou", "clamped-union", "union and enclosing area of at least 1e-6",
                wrong.changed(oracle.pairwise_giou, wrong.clamped_giou), "mmdet's bbox_overlaps"),
        _half_and_clamped("giou", oracle.pairwise_giou, wrong.clamped_giou),
        _mutant("giou", "clamped-iou", "a union of at least 1e-6 in the IoU", wrong.changed(
            oracle.pairwise_giou,
            lambda p: wrong.clamped_iou(p) - wrong.ratio(p.enclosing - p.union, p.enclosing))),
        _mutant("giou", "negative-sides", "the area of a box with two negative sides taken for positive",
                wrong.changed(oracle.pairwise_giou, wrong.giou, negative_sides=True)),
        _mutant("giou", "negative-sides-by-zero", "areas of negative sides, and their quotients as they come",
                wrong.changed(oracle.pairwise_giou, wrong.plain_giou, negative_sides=True),
                "torchvision's generalized_box_iou"),
        _mutant("giou", "negative-sides-clamped", "areas of negative sides, and areas of at least 1e-6",
                wrong.changed(oracle.pairwise_giou, wrong.clamped_giou, negative_sides=True),
                "mmdet's bbox_overlaps"),
        _mutant("giou", "plain-iou", "the IoU alone", oracle.pairwise_iou),
        _mutant("giou", "over-union", "the empty area over the union", wrong.changed(
            oracle.pairwise_giou, lambda p: wrong.iou(p) - wrong.ratio(p.enclosing - p.union, p.union))),
        _mutant("giou", "not-below-zero", "boxes apart at 0",
                lambda **k: np.maximum(oracle.pairwise_giou(**k), 0.0)),
        *wrong.common_mutants("giou", oracle.pairwise_giou, wrong.giou),
    ),
    rulings=RULINGS,
    not_applicable=NOT_APPLICABLE,
)  # fmt: skip

PAIRWISE_INTERSECTION_OVER_AREA = Technique(
    id="pairwise_intersection_over_area",
    title="Share of a box in a region",
    family="detection",
    summary="How much of each box lies in each region: what decides about candidates in a crowd.",
    sources=("mmdet's bbox_overlaps, mode iof; COCO's evaluation of crowds",),
    oracle=oracle.pairwise_intersection_over_area,
    arguments=(_BOXES, box_argument("regions", "R", "regions")),
    options=(),
    outputs=(Output("share", ("M", "R"), "float", "in [0, 1]"),),
    requirements=(
        *pair_requirements(
            "IOA", REGIONS, ("The share is the intersection over the area of the box.", "mmdet, mode iof"),
            of_points="A box without width or height has share 0.",
            law=law_of_pairs(Kind.INVARIANCE, "Moving and stretching the picture changes nothing.",
                     same_as(magnified, "share in the stretched picture"), REGIONS),
        ),
        Requirement("IOA-11", Level.MUST, Kind.BOUND, "The share lies in [0, 1].", "geometry", between(0.0, 1.0),
                    REGIONS.with_area, dtypes=FULL, examples=0.3, no_mutant=IMPLIED.format("IOA")),
    ),
    mutants=(
        _mutant("share", "zero-by-zero", "NaN for a point or line", wrong.changed(
            oracle.pairwise_intersection_over_area, wrong.plain_share, names=("boxes", "regions"))),
        _mutant("share", "clamped-area", "an area of at least 1e-6", wrong.changed(
            oracle.pairwise_intersection_over_area, wrong.clamped_share, names=("boxes", "regions")),
            "mmdet's bbox_overlaps"),
        _half_and_clamped("share", oracle.pairwise_intersection_over_area, wrong.clamped_share,
                          names=("boxes", "regions")),
        _mutant("share", "over-region", "the share of the region in the box", wrong.changed(
            oracle.pairwise_intersection_over_area, lambda p: wrong.ratio(p.shared, p.other_area),
            names=("boxes", "regions"))),
        _mutant("share", "over-union", "IoU in place of the share", wrong.changed(
            oracle.pairwise_intersection_over_area, wrong.iou, names=("boxes", "regions"))),
        *wrong.common_mutants("share", oracle.pairwise_intersection_over_area, wrong.share,
                              names=("boxes", "regions")),
    ),
    rulings=RULINGS,
    not_applicable=NOT_APPLICABLE,
)  # fmt: skip
