"""Class-balanced loss: one gather of weights on top of the fused losses of samples.

Specification: `steelyard.reference.foreground_balance.class_balanced_loss`.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from steelyard.impl.checks import discrete_tensor, float_tensor, non_negative, one_of
from steelyard.impl.collectives import summed
from steelyard.impl.detection.imbalance_indices import effective_number
from steelyard.impl.soft_sampling.focal_loss import sigmoid_focal_loss_with_labels
from steelyard.impl.soft_sampling.softmax_focal_loss import softmax_focal_loss

if TYPE_CHECKING:  # builds of torch without distributed exist
    from torch.distributed import ProcessGroup

KINDS = ("softmax", "sigmoid", "focal")


def class_balanced_weights(counts: Tensor, *, beta: float = 0.999) -> Tensor:
    """Weight of every class, inverse to its effective number of samples.

    Shapes: `counts` int or float (C,) -> float64 (C,).
    Specification: `steelyard.reference.class_balanced_weights`.
    """
    if not isinstance(counts, Tensor) or counts.ndim != 1:
        raise ValueError("counts: expected a tensor of shape (C,)")
    effective = effective_number(counts, beta=beta)
    occurs = effective > 0.0
    smallest = effective.masked_fill(~occurs, torch.inf).amin()
    inverse = (smallest / effective).where(occurs, 0.0)
    return inverse * (occurs.sum() / inverse.sum().clamp(min=1.0))


def class_balanced_loss(
    logits: Tensor,
    labels: Tensor,
    counts: Tensor,
    *,
    kind: str = "softmax",
    beta: float = 0.999,
    gamma: float = 2.0,
    group: "ProcessGroup | None" = None,
) -> Tensor:
    """Mean over the samples, those of all processes of the group, of their loss times the weight of their class.

    Shapes: `logits` float (R, C), `labels` int (R,) with -1 = ignore, `counts` int or float (C,) -> (); float32 for
    half inputs. Specification: `steelyard.reference.class_balanced_loss`.
    """
    one_of("kind", kind, KINDS)
    float_tensor("logits", logits)
    channels = 2 if kind == "softmax" else 1
    if logits.ndim != 2 or logits.shape[1] < channels:
        raise ValueError(f"logits: expected shape (R, C) with C >= {channels}, got {tuple(logits.shape)}")
    discrete_tensor("labels", labels, shape=logits.shape[:1], of="that of logits without its class axis")
    gamma = non_negative("gamma", gamma)
    of_class = class_balanced_weights(counts, beta=beta)
    if of_class.shape != logits.shape[1:]:
        raise ValueError(f"counts: expected shape {tuple(logits.shape[1:])}, got {tuple(of_class.shape)}")

    if kind == "softmax":
        loss = softmax_focal_loss(logits, labels, alpha=None, gamma=0.0)
    else:
        focusing = gamma if kind == "focal" else 0.0
        loss = sigmoid_focal_loss_with_labels(logits, labels, alpha=None, gamma=focusing).sum(dim=1)
    weight = of_class.to(loss.dtype)[labels.clamp(min=0).long()]  # of an ignored sample some number: its loss is 0
    return (weight * loss).sum() / summed((labels >= 0).sum(), group).clamp(min=1)
