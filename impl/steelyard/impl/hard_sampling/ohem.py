"""Online hard example mining of whole batches: one sort, suppression in its order, the first of what is left.

Specification: `steelyard.reference.hard_sampling.ohem`.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from steelyard.impl.checks import compute_dtype, count, discrete_tensor, float_tensor, fraction
from steelyard.impl.collectives import summed
from steelyard.impl.detection.boxes import box_tensor
from steelyard.impl.detection.non_maximum_suppression import suppress_sorted
from steelyard.impl.detection.selection import best_indices, flags, take
from steelyard.impl.hard_sampling.random_sampling import Sample, check_quotas, lowest_sample

if TYPE_CHECKING:  # builds of torch without distributed exist
    from torch.distributed import ProcessGroup


def online_hard_example_mining(
    boxes: Tensor,
    labels: Tensor,
    classification_losses: Tensor,
    regression_losses: Tensor,
    *,
    num_classes: int,
    num_samples: int = 64,
    iou_threshold: float | None = 0.7,
    labels_apart: bool = True,
) -> Tensor:
    """The RoIs of each image that are learnt from: the hardest of those that non-maximum suppression leaves.

    Shapes: `boxes` float (..., R, 4), `labels` int (..., R) with C = background, -1 = ignore or padding, losses float
    (..., R) -> bool (..., R).
    Specification: `steelyard.reference.online_hard_example_mining`.
    """
    box = box_tensor("boxes", boxes).detach()
    loss = _losses(boxes, labels, classification_losses, regression_losses, num_classes).detach()
    order = best_indices(loss, loss.shape[-1], labels >= 0)
    kept = order >= 0
    if iou_threshold is not None:
        fraction("iou_threshold", iou_threshold)
        groups = take(labels.to(torch.int64), order, -1) if labels_apart else torch.zeros_like(order)
        kept = suppress_sorted(take(box, order, 0.0), groups, kept, iou_threshold)
    selected = kept & (kept.cumsum(-1) <= count("num_samples", num_samples))
    return flags(torch.where(selected, order, -1), order.shape[-1])


def online_hard_example_loss(  # noqa: PLR0913 - the quantities of a RoI, and the options of the paper by keyword
    boxes: Tensor,
    labels: Tensor,
    classification_losses: Tensor,
    regression_losses: Tensor,
    *,
    num_classes: int,
    num_samples: int = 64,
    iou_threshold: float | None = 0.7,
    labels_apart: bool = True,
    group: "ProcessGroup | None" = None,
) -> Tensor:
    """Mean loss of the RoIs that `online_hard_example_mining` selects from the images of a mini-batch.

    It is divided by the selected RoIs of all processes of the group, whose losses add up to the loss of the whole.

    Shapes: as there -> (); float32 for half losses. Only the selected RoIs get a gradient.
    Specification: `steelyard.reference.online_hard_example_loss`.
    """
    selected = online_hard_example_mining(
        boxes, labels, classification_losses, regression_losses, num_classes=num_classes, num_samples=num_samples,
        iou_threshold=iou_threshold, labels_apart=labels_apart,
    )  # fmt: skip
    loss = _losses(boxes, labels, classification_losses, regression_losses, num_classes)
    return torch.where(selected, loss, 0.0).sum() / summed(selected.sum(), group).clamp(min=1)


def stratified_hard_example_mining(
    losses: Tensor,
    labels: Tensor,
    *,
    num_classes: int,
    num_samples: int = 512,
    positive_fraction: float = 0.25,
    negatives_per_positive: float | None = None,
) -> Sample:
    """The hardest positives and the hardest negatives of each image, in the numbers of `random_sampling`.

    Shapes: `losses` float (..., N), `labels` int (..., N) with C = background, -1 = ignore or padding -> two bool
    (..., N).
    Specification: `steelyard.reference.stratified_hard_example_mining`.
    """
    if float_tensor("losses", losses).ndim == 0:
        raise ValueError("losses: expected shape (..., N), got ()")
    discrete_tensor("labels", labels, shape=losses.shape, of="that of losses")
    count("num_classes", num_classes)
    limits = check_quotas(num_samples, positive_fraction, negatives_per_positive)
    return lowest_sample(labels, -losses.detach(), num_classes, limits, negatives_per_positive)


def _losses(
    boxes: Tensor, labels: Tensor, classification_losses: Tensor, regression_losses: Tensor, num_classes: int
) -> Tensor:
    """Sum of the losses that count, in the dtype of the arithmetic."""
    if boxes.ndim < 2:
        raise ValueError(f"boxes: expected shape (..., R, 4), got {tuple(boxes.shape)}")
    shape, of = boxes.shape[:-1], "that of boxes without its last axis"
    discrete_tensor("labels", labels, shape=shape, of=of)
    float_tensor("classification_losses", classification_losses, shape=shape, of=of)
    float_tensor("regression_losses", regression_losses, shape=shape, of=of)
    count("num_classes", num_classes)
    classification = classification_losses.to(compute_dtype(classification_losses))
    regression = regression_losses.to(compute_dtype(regression_losses))
    return classification + torch.where(labels < num_classes, regression, 0.0)
