"""mmdet's hard-negative mining and its samplers (`mmdet.models.dense_heads`, `mmdet.models.task_modules`)."""

from types import SimpleNamespace

import torch
from mmdet.models.dense_heads import SSDHead
from mmdet.models.task_modules import AssignResult, OHEMSampler, RandomSampler
from mmengine.structures import InstanceData
from torch import Tensor

KNOWN = [
    {
        "technique": "ssd_confidence_loss",
        "requirement": "SSD-8",
        "reason": "TypeError at a ratio that is not whole",
    },
    {
        "technique": "ssd_confidence_loss",
        "requirement": "SSD-11",
        "reason": "topk promises no order of equal losses",
    },
    {
        "technique": "stratified_hard_example_mining",
        "requirement": "SH-4",
        "reason": "topk promises no order of equal losses",
    },
]

_Sample = tuple[Tensor, Tensor]


def ssd_confidence_loss(logits: Tensor, labels: Tensor, *, negatives_per_positive: float) -> Tensor:
    """It takes one image and a whole ratio; its head gives ignored candidates the background's label and no weight."""
    background, ratio = logits.shape[-1] - 1, negatives_per_positive
    head = SimpleNamespace(
        num_classes=background,
        train_cfg={"neg_pos_ratio": int(ratio) if ratio == int(ratio) else ratio, "smoothl1_beta": 1.0},
        reg_decoded_bbox=False,
    )
    divisor = ((labels >= 0) & (labels < background)).sum().clamp(min=1)
    total = logits.new_zeros(())
    for z, image in zip(logits, labels, strict=True):
        boxes = z.new_zeros((len(image), 4))
        weights = (image != -1).to(z.dtype)
        target = torch.where(image == -1, background, image)
        loss, _ = SSDHead.loss_by_feat_single(head, z, boxes, boxes, target, weights, boxes, boxes, divisor)
        total = total + loss[0]
    return total


def random_sampling(
    labels: Tensor,
    *,
    num_classes: int,
    num_samples: int,
    positive_fraction: float,
    negatives_per_positive: float | None,
) -> _Sample:
    """It draws its own random numbers."""
    bound = -1 if negatives_per_positive is None else negatives_per_positive
    sampler = RandomSampler(num_samples, positive_fraction, neg_pos_ub=bound, add_gt_as_proposals=False)
    samples = [_sampled(sampler, image, num_classes) for image in labels]
    return torch.stack([positive for positive, _ in samples]), torch.stack([negative for _, negative in samples])


def stratified_hard_example_mining(
    losses: Tensor,
    labels: Tensor,
    *,
    num_classes: int,
    num_samples: int,
    positive_fraction: float,
    negatives_per_positive: float | None,
) -> _Sample:
    """Its sampler asks a network for the losses of boxes; here a box carries the place of its candidate."""
    bound = -1 if negatives_per_positive is None else negatives_per_positive
    samples = []
    for loss, image in zip(_along_one_axis(losses), _along_one_axis(labels), strict=True):
        context = SimpleNamespace(
            bbox_head=SimpleNamespace(num_classes=num_classes, loss=lambda cls_score, **_: {"loss_cls": cls_score}),
            _bbox_forward=lambda _, rois, loss=loss: {"cls_score": loss[rois[:, 1].long()]},
        )
        sampler = OHEMSampler(num_samples, positive_fraction, context, neg_pos_ub=bound, add_gt_as_proposals=False)
        samples.append(_sampled(sampler, image, num_classes, feats=None))
    positive, negative = (torch.stack(masks).reshape(labels.shape) for masks in zip(*samples, strict=True))
    return positive, negative


def _along_one_axis(values: Tensor) -> Tensor:
    """Images, as mmdet has them."""
    return values.reshape(values.shape[:-1].numel(), values.shape[-1])


def _sampled(sampler: RandomSampler | OHEMSampler, labels: Tensor, num_classes: int, **keywords: None) -> _Sample:
    """One image: all of its foreground belongs to one object, and box i begins at x = i."""
    foreground = (labels >= 0) & (labels < num_classes)
    assigned = torch.where(foreground, 1, torch.where(labels == num_classes, 0, -1))
    place = torch.arange(len(labels), dtype=torch.float32, device=labels.device)
    boxes = torch.stack([place, torch.zeros_like(place), place + 1, torch.ones_like(place)], dim=-1)
    found = sampler.sample(
        AssignResult(1, assigned, None, labels),
        InstanceData(priors=boxes),
        InstanceData(bboxes=boxes.new_tensor([[0.0, 0.0, 1.0, 1.0]]), labels=labels.new_zeros(1)),
        **keywords,
    )
    positive, negative = torch.zeros_like(foreground), torch.zeros_like(foreground)
    positive[found.pos_inds], negative[found.neg_inds] = True, True
    return positive, negative
