"""torchvision's boxes, anchors and matchers (`torchvision.ops`, `torchvision.models.detection`)."""

import torch
from torch import Tensor
from torchvision import ops
from torchvision.models.detection._utils import Matcher, SSDMatcher
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import _default_anchorgen

KNOWN = [
    {
        "technique": "box_area",
        "requirement": "AREA-3",
        "reason": "the product of two negative sides is taken for an area",
    },
    {
        "technique": "pairwise_iou",
        "requirement": "IOU-3",
        "reason": "0/0: NaN for a point or line with itself",
        "url": "https://github.com/pytorch/vision/issues/3404",
    },
    {
        "technique": "pairwise_giou",
        "requirement": "GIOU-3",
        "reason": "0/0: NaN for two points, or lines with nothing between them",
    },
    {
        "technique": "pairwise_giou",
        "requirement": "GIOU-5",
        "reason": "the product of two negative sides is taken for an area",
    },
    {
        "technique": "cell_anchors",
        "requirement": "CELL-1",
        "reason": "anchors of a cell are rounded to whole pixels",
    },
    {
        "technique": "cell_anchors",
        "requirement": "CELL-2",
        "reason": "anchors of a cell are rounded to whole pixels: the area depends on the ratio",
    },
    {
        "technique": "cell_anchors",
        "requirement": "CELL-3",
        "reason": "anchors of a cell are rounded to whole pixels",
    },
    {
        "technique": "cell_anchors",
        "requirement": "CELL-5",
        "reason": "anchors of a cell are rounded to whole pixels",
    },
    {
        "technique": "retinanet_anchors",
        "requirement": "RETINA-1",
        "reason": "whole sizes, rounded anchors; P6 and P7 have the stride of a division: 61 and 114 for 800 pixels",
    },
    {
        "technique": "max_iou_matching",
        "requirement": "MATCH-3",
        "reason": "an object that overlaps nothing claims every candidate of IoU 0",
    },
    {
        "technique": "max_iou_matching",
        "requirement": "MATCH-8",
        "reason": "SSDMatcher: an object that overlaps nothing takes candidate 0",
    },
    {
        "technique": "max_iou_matching",
        "requirement": "MATCH-9",
        "reason": "raises without objects; its detectors handle such images before",
    },
    {
        "technique": "max_iou_matching",
        "requirement": "MATCH-10",
        "reason": "raises without candidates",
    },
]


def box_area(boxes: Tensor) -> Tensor:
    """As it is."""
    return torch.as_tensor(ops.box_area(boxes))


def clip_boxes(boxes: Tensor, image_size: Tensor) -> Tensor:
    """It wants the size as numbers."""
    height, width = image_size.tolist()
    return torch.as_tensor(ops.clip_boxes_to_image(boxes, (height, width)))


def pairwise_iou(boxes: Tensor, other_boxes: Tensor) -> Tensor:
    """As it is."""
    return torch.as_tensor(ops.box_iou(boxes, other_boxes))


def pairwise_giou(boxes: Tensor, other_boxes: Tensor) -> Tensor:
    """As it is."""
    return torch.as_tensor(ops.generalized_box_iou(boxes, other_boxes))


def cell_anchors(sizes: Tensor, ratios: Tensor) -> Tensor:
    """It has all sizes of a ratio together, which is put right here."""
    anchors: Tensor = AnchorGenerator().generate_anchors(sizes, ratios, dtype=sizes.dtype, device=sizes.device)
    return anchors.reshape(len(ratios), len(sizes), 4).transpose(0, 1).reshape(-1, 4)


def grid_anchors(cell: Tensor, *, feature_height: int, feature_width: int, stride: float) -> Tensor:
    """It has no offset."""
    generator = AnchorGenerator()
    generator.cell_anchors = [cell]
    step = torch.tensor(stride, dtype=cell.dtype)
    (anchors,) = generator.grid_anchors([[feature_height, feature_width]], [[step, step]])
    return torch.as_tensor(anchors)


def retinanet_anchors(*, height: int, width: int) -> tuple[Tensor, Tensor]:
    """As its RetinaNet makes them, for an image padded to a multiple of 32 and maps that round up."""
    padded = [-(-side // 32) * 32 for side in (height, width)]
    maps = [torch.empty(1, 1, *(-(-side // 2**level) for side in padded)) for level in (3, 4, 5, 6, 7)]
    (anchors,) = _default_anchorgen()(ImageList(torch.empty(1, 3, *padded), [(height, width)]), maps)
    levels = [torch.full((9 * m.numel(),), index) for index, m in enumerate(maps)]
    return anchors.reshape(-1, 3, 3, 4).transpose(1, 2).reshape(-1, 4), torch.cat(levels)


def max_iou_matching(
    iou: Tensor, *, foreground_iou: float, background_iou: float, low_quality: str | None
) -> tuple[Tensor, Tensor, Tensor]:
    """`Matcher`, and where the last claim counts, `SSDMatcher`, whose two thresholds are one by default.

    They return the object of the foreground alone; the other candidates' is filled in.
    """
    if low_quality == "overwrite_last":
        matcher = SSDMatcher(foreground_iou)
        matcher.low_threshold = background_iou
    else:
        matcher = Matcher(foreground_iou, background_iou, allow_low_quality_matches=low_quality is not None)
    matches: Tensor = matcher(iou)
    max_iou, own = iou.max(dim=0)
    state = torch.where(matches >= 0, 1, torch.where(matches == matcher.BELOW_LOW_THRESHOLD, 0, -1))
    return torch.where(matches >= 0, matches, own), max_iou, state
