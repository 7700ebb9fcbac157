"""Intersection over union and its relatives.

Specification: `steelyard.reference.detection.box_overlaps`.
"""

import torch
from torch import Tensor

from steelyard.impl.detection.boxes import area_of, box_pairs, box_tensor, intersection_of


def pairwise_iou(boxes: Tensor, other_boxes: Tensor) -> Tensor:
    """Intersection over union of each box with each other box.

    Shapes: `boxes` float (..., M, 4), `other_boxes` float (..., N, 4) -> (..., M, N); float32 for half inputs.
    Specification: `steelyard.reference.detection.box_overlaps.pairwise_iou`.
    """
    return iou_of(*box_pairs(boxes, other_boxes))


def aligned_iou(boxes: Tensor, other_boxes: Tensor) -> Tensor:
    """Intersection over union of each box with the other box of the same row.

    Shapes: both float (..., 4) -> (...); float32 for half inputs.
    Specification: `steelyard.reference.detection.box_overlaps.aligned_iou`.
    """
    if boxes.shape != other_boxes.shape:
        raise ValueError(
            f"other_boxes: expected shape {tuple(boxes.shape)} (that of boxes), got {tuple(other_boxes.shape)}"
        )
    return iou_of(box_tensor("boxes", boxes), box_tensor("other_boxes", other_boxes))


def pairwise_giou(boxes: Tensor, other_boxes: Tensor) -> Tensor:
    """Generalized IoU of each box with each other box.

    Shapes: `boxes` float (..., M, 4), `other_boxes` float (..., N, 4) -> (..., M, N); float32 for half inputs.
    Specification: `steelyard.reference.detection.box_overlaps.pairwise_giou`.
    """
    box, other = box_pairs(boxes, other_boxes)
    union = area_of(box) + area_of(other) - intersection_of(box, other)
    width = torch.maximum(box[..., 2], other[..., 2]) - torch.minimum(box[..., 0], other[..., 0])
    height = torch.maximum(box[..., 3], other[..., 3]) - torch.minimum(box[..., 1], other[..., 1])
    enclosing = width.clamp(min=0) * height.clamp(min=0)
    return iou_of(box, other) - quotient_of(enclosing - union, enclosing)


def pairwise_intersection_over_area(boxes: Tensor, regions: Tensor) -> Tensor:
    """Share of each box that lies in each region.

    Shapes: `boxes` float (..., N, 4), `regions` float (..., R, 4) -> (..., N, R); float32 for half inputs.
    Specification: `steelyard.reference.detection.box_overlaps.pairwise_intersection_over_area`.
    """
    box, region = box_pairs(boxes, regions)
    return quotient_of(intersection_of(box, region), area_of(box))


def iou_of(box: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of boxes that broadcast against each other, shape (..., 4) -> (...)."""
    intersection = intersection_of(box, other)
    return quotient_of(intersection, area_of(box) + area_of(other) - intersection)


def quotient_of(part: Tensor, whole: Tensor) -> Tensor:
    """Part by whole; 0 where the whole is 0, for then the part is 0 too, and so is the gradient."""
    return part / torch.where(whole > 0, whole, torch.inf)
