"""Census of the anchors of RetinaNet, one annotated image at a time: its size is part of the shapes.

Specification: `steelyard.reference.detection.anchor_census`.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from steelyard.impl.checks import count, one_of
from steelyard.impl.detection.anchor_designs import RETINANET_LEVELS, retinanet_anchors
from steelyard.impl.detection.anchors import inside_image
from steelyard.impl.detection.assignment import max_iou_assignment
from steelyard.impl.detection.boxes import box_tensor
from steelyard.impl.detection.census import Census, count_labels
from steelyard.impl.detection.census_details import foreground_by_object
from steelyard.impl.device_numbers import device_numbers


class AnchorCensus(NamedTuple):
    """`census` of one image, `foreground_by_object` int64 (M,)."""

    census: Census
    foreground_by_object: Tensor


def resized_image_size(*, height: int, width: int, short_side: int = 800, long_side: int = 1333) -> tuple[int, int]:
    """Height and width at which an image enters the network, as numbers: shapes are static.

    Shapes: none.
    Specification: `steelyard.reference.detection.anchor_census.resized_image_size`.
    """
    for name, number in (("height", height), ("width", width), ("short_side", short_side), ("long_side", long_side)):
        count(name, number)
    scale = min(short_side / min(height, width), long_side / max(height, width))
    return int(height * scale + 0.5), int(width * scale + 0.5)


def retinanet_anchor_census(  # noqa: PLR0913 - image, objects, and the rule, by keyword
    gt_boxes: Tensor,
    gt_labels: Tensor,
    *,
    height: int,
    width: int,
    num_classes: int,
    foreground_iou: float = 0.5,
    background_iou: float = 0.4,
    low_quality: str | None = None,
    universe: str = "all",
    dtype: torch.dtype = torch.float32,
) -> AnchorCensus:
    """Census of RetinaNet's anchors for one image with its boxes; anchors and resized boxes are rounded to `dtype`.

    Shapes: `gt_boxes` float (M, 4), `gt_labels` int (M,) with -1 for padding.
    Specification: `steelyard.reference.detection.anchor_census.retinanet_anchor_census`.
    """
    box = box_tensor("gt_boxes", gt_boxes).to(torch.float64)
    one_of("universe", universe, ("all", "inside"))
    new_height, new_width = resized_image_size(height=height, width=width)
    factors = device_numbers([new_width / width, new_height / height], dtype=box.dtype, device=box.device).repeat(2)
    anchors, levels = retinanet_anchors(height=new_height, width=new_width, dtype=dtype, device=box.device)
    counted = None
    if universe == "inside":
        counted = inside_image(anchors, device_numbers([new_height, new_width], dtype=torch.int64, device=box.device))
    assignment = max_iou_assignment(
        anchors,
        (box * factors).to(dtype),
        gt_labels,
        num_classes=num_classes,
        foreground_iou=foreground_iou,
        background_iou=background_iou,
        low_quality=low_quality,
        candidate_mask=counted,
    )
    census = count_labels(
        assignment.labels, num_classes=num_classes, levels=levels, num_levels=len(RETINANET_LEVELS), mask=counted
    )
    by_object = foreground_by_object(
        assignment.matched_gt, assignment.labels, num_objects=len(gt_boxes), num_classes=num_classes
    )
    return AnchorCensus(census, by_object)
