"""SSD's hard-negative mining of a whole batch, and the confidence loss on what it selects.

Specification: `steelyard.reference.hard_sampling.hard_negative_mining`.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from steelyard.impl.checks import count, discrete_tensor, float_tensor, non_negative
from steelyard.impl.collectives import summed
from steelyard.impl.hard_sampling.keyed_draws import smallest_keys
from steelyard.impl.hard_sampling.random_sampling import Sample
from steelyard.impl.soft_sampling.softmax_focal_loss import softmax_focal_loss

if TYPE_CHECKING:  # builds of torch without distributed exist
    from torch.distributed import ProcessGroup


def hard_negative_mining(
    losses: Tensor,
    labels: Tensor,
    *,
    num_classes: int,
    negatives_per_positive: float = 3.0,
    min_negatives: int = 0,
) -> Sample:
    """All positives of each image, and its background candidates of the largest loss.

    Shapes: `losses` float (..., N), `labels` int (..., N) with C = background, -1 = ignore or padding -> two bool
    (..., N).
    Specification: `steelyard.reference.hard_negative_mining`.
    """
    if float_tensor("losses", losses).ndim == 0:
        raise ValueError("losses: expected shape (..., N), got ()")
    discrete_tensor("labels", labels, shape=losses.shape, of="that of losses")
    count("num_classes", num_classes)
    ratio = non_negative("negatives_per_positive", negatives_per_positive)
    count("min_negatives", min_negatives, low=0)

    positive = (labels >= 0) & (labels < num_classes)
    num_positive = positive.sum(dim=-1, keepdim=True)
    wanted = (ratio * num_positive.double()).floor().long().clamp(min=min_negatives)
    return Sample(positive, hardest(losses, labels == num_classes, wanted))


def ssd_confidence_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    negatives_per_positive: float = 3.0,
    min_negatives: int = 0,
    group: "ProcessGroup | None" = None,
) -> Tensor:
    """SSD's confidence loss of a mini-batch: cross entropy of the positives and of the mined negatives.

    It is divided by the positives of all processes of the group, whose losses add up to the loss of the whole.

    Shapes: `logits` float (..., N, C + 1), the background last, `labels` int (..., N) with C = background,
    -1 = ignore or padding -> (); float32 for half inputs.
    Specification: `steelyard.reference.ssd_confidence_loss`.
    """
    if float_tensor("logits", logits).ndim < 2 or logits.shape[-1] < 2:
        raise ValueError(f"logits: expected shape (..., N, C + 1) with C >= 1, got {tuple(logits.shape)}")
    cross_entropy = softmax_focal_loss(logits, labels, alpha=None, gamma=0.0)
    positive, negative = hard_negative_mining(
        cross_entropy, labels, num_classes=logits.shape[-1] - 1,
        negatives_per_positive=negatives_per_positive, min_negatives=min_negatives,
    )  # fmt: skip
    selected = torch.where(positive | negative, cross_entropy, 0.0)
    return selected.sum() / summed(positive.sum(), group).clamp(min=1)


def hardest(losses: Tensor, group: Tensor, number: Tensor) -> Tensor:
    """The members of a group with the largest losses, of equal ones the first.

    Shapes: `losses` float (..., N), `group` bool (..., N), `number` int (..., 1) -> bool (..., N).
    """
    return smallest_keys(-losses.detach(), group, number)
