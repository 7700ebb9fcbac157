"""torchvision's focal loss (`torchvision.ops.sigmoid_focal_loss`) and what its RetinaNet divides it by."""

from types import SimpleNamespace

import torch
import torchvision
from torch import Tensor
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, Matcher
from torchvision.models.detection.retinanet import RetinaNetClassificationHead
from torchvision.ops import sigmoid_focal_loss as theirs

from steelyard.conformance.adapters import _torchvision_detection as detection
from steelyard.conformance.adapters import _torchvision_sampling as sampling
from steelyard.conformance.adapters._reductions import with_names

ARRAYS = "torch"
NAME = "torchvision"
VERSION = torchvision.__version__
KNOWN = [
    {
        "technique": "sigmoid_focal_loss",
        "requirement": "FL-22",
        "reason": "soft targets are taken: p_t and alpha_t are interpolated",
    },
    *detection.KNOWN,
    *sampling.KNOWN,
    {
        "technique": "sigmoid_focal_loss",
        "requirement": "FL-7",
        "reason": "NaN gradient for gamma in (0, 1) once 1 - p_t rounds to 0",
    },
    {
        "technique": "normalise_focal_loss",
        "requirement": "NORM-9",
        "reason": "labels of more images than there are losses are left out",
    },
]

box_area = detection.box_area
cell_anchors = detection.cell_anchors
clip_boxes = detection.clip_boxes
grid_anchors = detection.grid_anchors
max_iou_matching = detection.max_iou_matching
pairwise_giou = detection.pairwise_giou
pairwise_iou = detection.pairwise_iou
retinanet_anchors = detection.retinanet_anchors
ssd_confidence_loss = sampling.ssd_confidence_loss


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, *, alpha: float | None, gamma: float) -> Tensor:
    """Targets are floats there, and alpha = -1 stands for off."""
    off = -1.0 if alpha is None else alpha
    loss: Tensor = theirs(logits, targets.to(logits.dtype), alpha=off, gamma=gamma, reduction="none")
    return torch.as_tensor(loss)


def normalise_focal_loss(losses: Tensor, labels: Tensor, *, num_classes: int) -> Tensor:
    """As its RetinaNet's head does; of every class one object, with which the class's foreground is matched."""
    head = SimpleNamespace(BETWEEN_THRESHOLDS=Matcher.BETWEEN_THRESHOLDS)
    matched = torch.where(labels == num_classes, -1, torch.where(labels == -1, Matcher.BETWEEN_THRESHOLDS, labels))
    objects = [{"labels": torch.arange(num_classes)}] * len(losses)
    compute_loss = RetinaNetClassificationHead.compute_loss
    reduce = with_names(compute_loss, sigmoid_focal_loss=lambda logits, _, reduction: getattr(logits, reduction)())
    loss: Tensor = reduce(head, objects, {"cls_logits": losses}, matched)
    return loss


def random_sampling(
    labels: Tensor, *, num_classes: int, num_samples: int, positive_fraction: float
) -> tuple[Tensor, Tensor]:
    """Its sampler draws its own random numbers; 0 is the background there, and 1 and above the foreground."""
    theirs = torch.where(labels == num_classes, 0, torch.where(labels >= 0, labels + 1, -1))
    sampler = BalancedPositiveNegativeSampler(num_samples, positive_fraction)
    positive, negative = sampler(list(theirs))
    return torch.stack(positive).bool(), torch.stack(negative).bool()
