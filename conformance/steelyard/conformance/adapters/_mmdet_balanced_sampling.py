"""mmdet's samplers of Libra R-CNN (`mmdet.models.task_modules`)."""

import torch
from mmdet.models.task_modules import AssignResult, InstanceBalancedPosSampler, IoUBalancedNegSampler
from torch import Tensor

DIALECTS = {"iou_balanced_negatives": "authors_code"}
KNOWN = [
    {
        "technique": "iou_balanced_negatives",
        "requirement": "IBN-6",
        "reason": "the bins end before the largest IoU, so that a negative that has it is in none",
    },
    {
        "technique": "iou_balanced_negatives",
        "requirement": "IBN-7",
        "reason": "its first call overwrites floor_thr = -1 by 0; from then on IoUs of 0 are in no bin",
    },
    {
        "technique": "instance_balanced_positives",
        "requirement": "IBP-2",
        "reason": "fills up with positives that it has already: a set of tensors minus another is itself",
    },
    {
        "technique": "instance_balanced_positives",
        "requirement": "IBP-10",
        "reason": "fills up with positives that it has already, so that others are drawn less often",
    },
]


def iou_balanced_negatives(
    labels: Tensor,
    max_iou: Tensor,
    num_negatives: Tensor,
    *,
    num_classes: int,
    num_bins: int,
    floor_iou: float | None,
    floor_fraction: float,
) -> Tensor:
    """One sampler for all images, as a head has one; floor_thr = -1 stands for off."""
    sampler = IoUBalancedNegSampler(
        num=512,
        pos_fraction=0.25,
        floor_thr=-1 if floor_iou is None else floor_iou,
        floor_fraction=floor_fraction,
        num_bins=num_bins,
    )
    objects = torch.where(labels == num_classes, 0, torch.where(labels >= 0, 1, -1))
    drawn = torch.zeros_like(labels, dtype=torch.bool)
    for image, number in enumerate(num_negatives.tolist()):
        assigned = AssignResult(1, objects[image], max_iou[image], labels[image])
        drawn[image, sampler._sample_neg(assigned, number).flatten()] = True  # noqa: SLF001 - its part of `sample`
    return drawn


def instance_balanced_positives(instances: Tensor, *, num_positives: int) -> Tensor:
    """Objects count from 1 there, and 0 is the background; a base class removes what comes twice."""
    sampler = InstanceBalancedPosSampler(num=512, pos_fraction=0.25)
    drawn = torch.zeros_like(instances, dtype=torch.bool)
    for image, objects in enumerate(instances + 1):
        assigned = AssignResult(len(objects), objects, objects.float(), objects)
        drawn[image, sampler._sample_pos(assigned, num_positives).flatten()] = True  # noqa: SLF001 - the same
    return drawn
