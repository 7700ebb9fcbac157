"""mmdet's losses with a focal factor (`mmdet.models.losses`)."""

import mmdet
import torch
from mmdet.models.dense_heads.gfl_head import Integral
from mmdet.models.losses import DistributionFocalLoss, QualityFocalLoss, VarifocalLoss
from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss
from mmdet.structures.bbox import bbox2distance, distance2bbox
from torch import Tensor

from steelyard.conformance.adapters import _mmdet_balanced_sampling as balanced_sampling
from steelyard.conformance.adapters import _mmdet_detection as detection
from steelyard.conformance.adapters import _mmdet_foreground_balance as foreground_balance
from steelyard.conformance.adapters import _mmdet_sampling as sampling
from steelyard.conformance.adapters import _mmdet_soft_sampling as soft_sampling

ARRAYS = "torch"
NAME = "mmdet"
VERSION = mmdet.__version__
DIALECTS = {**balanced_sampling.DIALECTS, **soft_sampling.DIALECTS}
KNOWN = [
    {
        "technique": "sigmoid_focal_loss",
        "requirement": "FL-22",
        "reason": "soft targets are taken: p_t and alpha_t are interpolated",
    },
    *balanced_sampling.KNOWN,
    *detection.KNOWN,
    *foreground_balance.KNOWN,
    *sampling.KNOWN,
    *soft_sampling.KNOWN,
    {
        "technique": "sigmoid_focal_loss",
        "requirement": "FL-7",
        "reason": "NaN gradient for gamma in (0, 1) once 1 - p rounds to 0",
    },
    {
        "technique": "quality_focal_loss",
        "requirement": "QFL-7",
        "reason": "NaN gradient for beta in (0, 1) where the score is the target",
    },
    {
        "technique": "quality_focal_loss_with_labels",
        "requirement": "QFLL-5",
        "reason": "an ignored anchor is multiplied by 0, which leaves NaN of what is not finite",
    },
    {
        "technique": "quality_focal_loss_with_labels",
        "requirement": "QFLL-10",
        "reason": "NaN gradient for beta in (0, 1) where the score is the target",
    },
    {
        "technique": "varifocal_loss",
        "requirement": "VFL-9",
        "reason": "NaN gradient for gamma in (0, 1) where the score is the target",
    },
    {
        "technique": "distribution_focal_loss",
        "requirement": "DFL-4",
        "reason": "IndexError at a target of n: it reads the bin n + 1",
    },
    {
        "technique": "distribution_focal_loss",
        "requirement": "DFL-20",
        "reason": "targets outside the bins are extrapolated (below 0) or raise (from n on)",
    },
    {
        "technique": "distribution_focal_loss",
        "requirement": "DFL-21",
        "reason": "IndexError at a target of n: it reads the bin n + 1",
    },
    {
        "technique": "distances_from_boxes",
        "requirement": "DFB-11",
        "reason": "a single point is broadcast to all boxes",
    },
    {
        "technique": "boxes_from_distances",
        "requirement": "BFD-9",
        "reason": "a single point is broadcast to all distances",
    },
]

aligned_iou = detection.aligned_iou
cell_anchors = detection.cell_anchors
faster_rcnn_anchors = detection.faster_rcnn_anchors
grid_anchors = detection.grid_anchors
grid_points = detection.grid_points
inside_image = detection.inside_image
instance_balanced_positives = balanced_sampling.instance_balanced_positives
iou_balanced_negatives = balanced_sampling.iou_balanced_negatives
max_iou_assignment = detection.max_iou_assignment
max_iou_matching = detection.max_iou_matching
pairwise_giou = detection.pairwise_giou
pairwise_intersection_over_area = detection.pairwise_intersection_over_area
pairwise_iou = detection.pairwise_iou
retinanet_anchors = detection.retinanet_anchors
random_sampling = sampling.random_sampling
ssd_confidence_loss = sampling.ssd_confidence_loss
stratified_hard_example_mining = sampling.stratified_hard_example_mining
classification_aware_regression_loss = soft_sampling.classification_aware_regression_loss
ghm_classification_loss = soft_sampling.ghm_classification_loss
ghm_classification_loss_with_labels = soft_sampling.ghm_classification_loss_with_labels
ghm_classification_sum = soft_sampling.ghm_classification_sum
ghm_regression_loss = soft_sampling.ghm_regression_loss
isr_p_weights = soft_sampling.isr_p_weights
normalise_focal_loss = soft_sampling.normalise_focal_loss
equalization_loss_v2 = foreground_balance.equalization_loss_v2
seesaw_loss = foreground_balance.seesaw_loss


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, *, alpha: float | None, gamma: float) -> Tensor:
    """It has no way to switch alpha off: 1/2 weighs both classes alike, and twice that is 1."""
    half = 0.5 if alpha is None else alpha
    loss: Tensor = py_sigmoid_focal_loss(logits, targets, gamma=gamma, alpha=half, reduction="none")
    return 2.0 * loss if alpha is None else loss


def quality_focal_loss(logits: Tensor, targets: Tensor, *, beta: float) -> Tensor:
    """It sums over classes; ours is elementwise, so every shape serves as (elements, 1)."""
    loss: Tensor = QualityFocalLoss(beta=beta, reduction="none")(logits.reshape(-1, 1), targets.reshape(-1, 1))
    return torch.reshape(loss, logits.shape)


def quality_focal_loss_with_labels(logits: Tensor, labels: Tensor, quality: Tensor, *, beta: float) -> Tensor:
    """As its head calls it, with a weight of 0 for ignored anchors.

    It sums over classes: each channel serves as a problem of one class, in which label 1 is the background.
    """
    classes = torch.arange(logits.shape[-1], device=logits.device)
    label = labels.unsqueeze(-1)
    background = torch.where(label == classes, 0, 1).flatten()
    weights = (label != -1).expand(logits.shape).flatten().to(logits.dtype)
    target = (background, quality.unsqueeze(-1).expand(logits.shape).flatten())
    loss: Tensor = QualityFocalLoss(beta=beta, reduction="none")(logits.reshape(-1, 1), target, weights)
    return torch.reshape(loss, logits.shape)


def distribution_focal_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """It wants one distribution a row."""
    loss: Tensor = DistributionFocalLoss(reduction="none")(logits.flatten(0, -2), targets.flatten())
    return torch.reshape(loss, targets.shape)


def distribution_expectation(logits: Tensor) -> Tensor:
    """It gives the four sides of a point: each distribution serves as four."""
    four = logits.unsqueeze(-2).expand(*logits.shape[:-1], 4, logits.shape[-1])
    distances: Tensor = Integral(logits.shape[-1] - 1)(four)
    return torch.reshape(distances[:, 0], logits.shape[:-1])


def distances_from_boxes(
    points: Tensor, boxes: Tensor, strides: Tensor, *, num_bins: int, margin: float | None
) -> Tensor:
    """As its GFL head calls it: everything in strides, one point a row."""
    stride = strides.unsqueeze(-1)
    distances: Tensor = bbox2distance(
        (points / stride).reshape(-1, 2),
        (boxes / stride).reshape(-1, 4),
        max_dis=None if margin is None else num_bins - 1,
        eps=margin or 0.0,
    )
    return torch.reshape(distances, boxes.shape)


def boxes_from_distances(points: Tensor, distances: Tensor, strides: Tensor) -> Tensor:
    """It wants distances in pixels, one point a row."""
    boxes: Tensor = distance2bbox(points.reshape(-1, 2), (distances * strides.unsqueeze(-1)).reshape(-1, 4))
    return torch.reshape(boxes, distances.shape)


def varifocal_loss(logits: Tensor, targets: Tensor, *, alpha: float | None, gamma: float, iou_weighted: bool) -> Tensor:
    """A weight of 1 is off."""
    weight = 1.0 if alpha is None else alpha
    loss: Tensor = VarifocalLoss(alpha=weight, gamma=gamma, iou_weighted=iou_weighted, reduction="none")(
        logits, targets
    )
    return torch.as_tensor(loss)
