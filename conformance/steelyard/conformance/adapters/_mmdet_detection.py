"""mmdet's overlaps, anchors and assigner (`mmdet.structures.bbox`, `mmdet.models.task_modules`)."""

import torch
from mmdet.models.task_modules import AnchorGenerator, MaxIoUAssigner
from mmdet.models.task_modules.prior_generators import MlvlPointGenerator, anchor_inside_flags
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData
from torch import Tensor

KNOWN = [
    {
        "technique": "pairwise_iou",
        "requirement": "IOU-6",
        "reason": "the union is at least 1e-6: small boxes in normalised coordinates do not overlap themselves",
    },
    {
        "technique": "pairwise_iou",
        "requirement": "IOU-7",
        "reason": "NaN in float16 where an area is beyond 65504",
    },
    {
        "technique": "aligned_iou",
        "requirement": "AIOU-6",
        "reason": "the union is at least 1e-6",
    },
    {
        "technique": "aligned_iou",
        "requirement": "AIOU-7",
        "reason": "NaN in float16 where an area is beyond 65504",
    },
    {
        "technique": "pairwise_giou",
        "requirement": "GIOU-3",
        "reason": "union and enclosing area are at least 1e-6, which shows in float64",
    },
    {
        "technique": "pairwise_giou",
        "requirement": "GIOU-5",
        "reason": "the product of two negative sides is taken for an area",
    },
    {
        "technique": "pairwise_giou",
        "requirement": "GIOU-6",
        "reason": "union and enclosing area are at least 1e-6",
    },
    {
        "technique": "pairwise_giou",
        "requirement": "GIOU-7",
        "reason": "NaN in float16 where an area is beyond 65504",
    },
    {
        "technique": "pairwise_intersection_over_area",
        "requirement": "IOA-6",
        "reason": "the area is at least 1e-6",
    },
    {
        "technique": "pairwise_intersection_over_area",
        "requirement": "IOA-7",
        "reason": "NaN in float16 where an area is beyond 65504",
    },
    {
        "technique": "inside_image",
        "requirement": "INSIDE-1",
        "reason": "a box that ends on the right or lower border is outside, as where pixels are inclusive",
    },
    {
        "technique": "inside_image",
        "requirement": "INSIDE-2",
        "reason": "a box that ends on the right or lower border is outside",
    },
    {
        "technique": "inside_image",
        "requirement": "INSIDE-5",
        "reason": "a box that ends on the right or lower border is outside",
    },
    {
        "technique": "max_iou_matching",
        "requirement": "MATCH-2",
        "reason": "the last object that claims a candidate overwrites its own best one, as its comment says",
    },
    {
        "technique": "max_iou_matching",
        "requirement": "MATCH-3",
        "reason": "with min_pos_iou=0 an object that overlaps nothing claims every candidate",
        "url": "https://github.com/open-mmlab/mmdetection/issues/8289",
    },
    {
        "technique": "max_iou_matching",
        "requirement": "MATCH-8",
        "reason": "with min_pos_iou=0 an object that overlaps nothing claims every candidate",
        "url": "https://github.com/open-mmlab/mmdetection/issues/8289",
    },
    {
        "technique": "max_iou_assignment",
        "requirement": "ASG-2",
        "reason": "the last object that claims a candidate overwrites its own best one, as its comment says",
    },
    {
        "technique": "max_iou_assignment",
        "requirement": "ASG-3",
        "reason": "with min_pos_iou=0 an object that overlaps nothing claims every candidate",
        "url": "https://github.com/open-mmlab/mmdetection/issues/8289",
    },
    {
        "technique": "max_iou_assignment",
        "requirement": "ASG-8",
        "reason": "ignore_iof_thr=0 is off, though negative values are to mean that",
    },
    {
        "technique": "max_iou_assignment",
        "requirement": "ASG-9",
        "reason": "candidates in a region are taken out before objects claim their best",
    },
    {
        "technique": "max_iou_assignment",
        "requirement": "ASG-16",
        "reason": "IoUs are NaN in float16 where an area is beyond 65504: such candidates are ignored",
    },
]


def pairwise_iou(boxes: Tensor, other_boxes: Tensor) -> Tensor:
    """As it is."""
    return torch.as_tensor(bbox_overlaps(boxes, other_boxes))


def aligned_iou(boxes: Tensor, other_boxes: Tensor) -> Tensor:
    """As it is."""
    return torch.as_tensor(bbox_overlaps(boxes, other_boxes, is_aligned=True))


def pairwise_giou(boxes: Tensor, other_boxes: Tensor) -> Tensor:
    """As it is."""
    return torch.as_tensor(bbox_overlaps(boxes, other_boxes, mode="giou"))


def pairwise_intersection_over_area(boxes: Tensor, regions: Tensor) -> Tensor:
    """As it is."""
    return torch.as_tensor(bbox_overlaps(boxes, regions, mode="iof"))


def cell_anchors(sizes: Tensor, ratios: Tensor) -> Tensor:
    """With scale_major=False, which has all ratios of a size together."""
    generator = AnchorGenerator(strides=[1], ratios=[1.0], scales=[1], scale_major=False)
    return torch.as_tensor(generator.gen_single_level_base_anchors(1, sizes, ratios))


def grid_anchors(cell: Tensor, *, feature_height: int, feature_width: int, stride: float) -> Tensor:
    """Its offset belongs to the cell."""
    generator = AnchorGenerator(strides=[stride], ratios=[1.0], scales=[1])
    generator.base_anchors = [cell]
    size = (feature_height, feature_width)
    return torch.as_tensor(generator.single_level_grid_priors(size, 0, dtype=cell.dtype, device=cell.device))


def grid_points(*, feature_height: int, feature_width: int, stride: float, offset: float) -> Tensor:
    """As it is."""
    generator = MlvlPointGenerator([stride], offset=offset)
    return torch.as_tensor(generator.single_level_grid_priors((feature_height, feature_width), 0, device="cpu"))


def inside_image(boxes: Tensor, image_size: Tensor, *, border: float) -> Tensor:
    """As it is."""
    everywhere = torch.ones(len(boxes), dtype=torch.bool)
    return torch.as_tensor(anchor_inside_flags(boxes, everywhere, image_size.tolist(), border))


def retinanet_anchors(*, height: int, width: int) -> tuple[Tensor, Tensor]:
    """As its RetinaNet makes them, for an image padded to a multiple of 32 and maps that round up."""
    generator = AnchorGenerator(
        strides=[8, 16, 32, 64, 128], ratios=[0.5, 1.0, 2.0], octave_base_scale=4, scales_per_octave=3,
        scale_major=False,
    )  # fmt: skip
    padded = [-(-side // 32) * 32 for side in (height, width)]
    maps = [(-(-padded[0] // 2**level), -(-padded[1] // 2**level)) for level in (3, 4, 5, 6, 7)]
    anchors: list[Tensor] = generator.grid_priors(maps, device="cpu")
    levels = [torch.full((len(boxes),), index) for index, boxes in enumerate(anchors)]
    return torch.cat(anchors), torch.cat(levels)


def faster_rcnn_anchors(*, height: int, width: int) -> Tensor:
    """As its Faster R-CNN without a pyramid makes them."""
    generator = AnchorGenerator(strides=[16], ratios=[0.5, 1.0, 2.0], scales=[8, 16, 32], scale_major=False)
    (anchors,) = generator.grid_priors([(-(-height // 16), -(-width // 16))], device="cpu")
    return torch.as_tensor(anchors)


def max_iou_matching(
    iou: Tensor, *, foreground_iou: float, background_iou: float, low_quality: str | None,
    minimum_low_quality_iou: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Its low-quality rule is always the one in which the last claim counts."""
    assigner = MaxIoUAssigner(
        foreground_iou, float(background_iou), minimum_low_quality_iou, match_low_quality=low_quality is not None
    )  # an int as lower threshold would leave every candidate without a label
    found = assigner.assign_wrt_overlaps(iou, torch.zeros(len(iou), dtype=torch.int64))
    return _matched(found.gt_inds, iou), found.max_overlaps, found.gt_inds.clamp(max=1)


def max_iou_assignment(  # noqa: PLR0913 - the specification's arguments
    boxes: Tensor, gt_boxes: Tensor, gt_labels: Tensor, candidate_mask: Tensor, ignore_regions: Tensor,
    *, num_classes: int, foreground_iou: float, background_iou: float, low_quality: str | None,
    minimum_low_quality_iou: float, ignore_threshold: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """As its heads call it: without padding, for the candidates in play alone."""
    assigner = MaxIoUAssigner(
        foreground_iou, float(background_iou), minimum_low_quality_iou, match_low_quality=low_quality is not None,
        ignore_iof_thr=ignore_threshold,
    )  # fmt: skip
    objects = torch.nonzero(gt_labels >= 0).flatten()
    gt = InstanceData(bboxes=gt_boxes[objects], labels=gt_labels[objects])
    priors = boxes[candidate_mask]
    found = assigner.assign(InstanceData(priors=priors), gt, InstanceData(bboxes=ignore_regions))
    state, matched = (torch.full((len(boxes),), fill) for fill in (-1, 0))
    max_iou = torch.zeros(len(boxes), dtype=found.max_overlaps.dtype)
    state[candidate_mask], max_iou[candidate_mask] = found.gt_inds.clamp(max=1), found.max_overlaps
    if len(objects):
        matched[candidate_mask] = objects[_matched(found.gt_inds, bbox_overlaps(gt.bboxes, priors))]
    labels = torch.where(state == 0, num_classes, -1)
    labels[candidate_mask] = torch.where(found.gt_inds > 0, found.labels, labels[candidate_mask])
    return matched, max_iou, state, labels


def _matched(gt_inds: Tensor, iou: Tensor) -> Tensor:
    """Rows from 0 on; the assigner names none for what is not foreground."""
    own = iou.argmax(dim=0) if len(iou) else torch.zeros(iou.shape[1], dtype=torch.int64)
    return torch.where(gt_inds > 0, gt_inds - 1, own)
