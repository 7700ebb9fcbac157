"""The contracts of the detection techniques, in the order in which they are listed."""

from __future__ import annotations

from steelyard.conformance.contract import Technique
from steelyard.conformance.detection.assignment import MAX_IOU_ASSIGNMENT, MAX_IOU_MATCHING
from steelyard.conformance.detection.box_overlaps import (
    ALIGNED_IOU,
    PAIRWISE_GIOU,
    PAIRWISE_INTERSECTION_OVER_AREA,
    PAIRWISE_IOU,
)
from steelyard.conformance.detection.boxes import BOX_AREA, CLIP_BOXES, PAIRWISE_INTERSECTION

CONTRACTS: tuple[Technique, ...] = (
    BOX_AREA,
    PAIRWISE_INTERSECTION,
    CLIP_BOXES,
    PAIRWISE_IOU,
    ALIGNED_IOU,
    PAIRWISE_GIOU,
    PAIRWISE_INTERSECTION_OVER_AREA,
    MAX_IOU_MATCHING,
    MAX_IOU_ASSIGNMENT,
)
