"""Equalization loss v2: the cross entropy of every channel by two weights a class, and the sums of its gradients.

Specification: `steelyard.reference.foreground_balance.equalization_loss_v2`.
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from steelyard.impl.checks import compute_dtype, discrete_tensor, float_tensor, non_negative, one_of, positive
from steelyard.impl.collectives import summed
from steelyard.impl.soft_sampling.focal_loss import sigmoid_focal_loss_with_labels

if TYPE_CHECKING:  # builds of torch without distributed exist
    from torch.distributed import ProcessGroup

REDUCTIONS = ("mean", "sum", "none")
_FIRST_RATIO = 100.0
_NO_ZERO = 1e-10


class EqualizationLoss(NamedTuple):
    """What the equalization loss v2 returns."""

    loss: Tensor
    positive_gradients: Tensor
    negative_gradients: Tensor


def equalization_loss_v2(  # noqa: PLR0913 - state and options of the paper
    logits: Tensor,
    labels: Tensor,
    positive_gradients: Tensor,
    negative_gradients: Tensor,
    weights: Tensor | None = None,
    *,
    gamma: float = 12.0,
    mu: float = 0.8,
    alpha: float = 4.0,
    reduction: str = "mean",
    group: "ProcessGroup | None" = None,
) -> EqualizationLoss:
    """Loss of a mini-batch, of each process of the group its share; the gradients of each class added up so far.

    Shapes: `logits` float (R, C + 1), `labels` int (R,) with C = background, -1 = ignore, `positive_gradients`,
    `negative_gradients` float (C,), `weights` float (R,) -> loss () or (R, C + 1), (C,), (C,); float32 for half inputs.
    Specification: `steelyard.reference.equalization_loss_v2`.
    """
    float_tensor("logits", logits)
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"logits: expected shape (R, C + 1) with C >= 1, got {tuple(logits.shape)}")
    discrete_tensor("labels", labels, shape=logits.shape[:1], of="that of logits without its class axis")
    of_classes = torch.Size((logits.shape[1] - 1,))
    for name, sums in (("positive_gradients", positive_gradients), ("negative_gradients", negative_gradients)):
        float_tensor(name, sums, shape=of_classes, of="the classes of logits, without background")
    if weights is not None:
        float_tensor("weights", weights, shape=labels.shape, of="that of labels")
    gamma, alpha = positive("gamma", gamma), non_negative("alpha", alpha)
    one_of("reduction", reduction, REDUCTIONS)

    dtype = compute_dtype(logits)
    up, down = positive_gradients.detach().to(dtype), negative_gradients.detach().to(dtype)
    on_positives, on_negatives = _balance(up, down, gamma, mu, alpha)
    is_positive = labels.unsqueeze(1) == torch.arange(logits.shape[1], device=logits.device)
    kept = (labels != -1).unsqueeze(1)
    factor = torch.where(is_positive, on_positives, on_negatives)
    if weights is not None:
        factor = factor * weights.unsqueeze(1).to(dtype)
    factor = torch.where(kept, factor, 0.0)  # whatever the weight of an ignored sample is

    loss = sigmoid_focal_loss_with_labels(logits, labels, alpha=None, gamma=0.0) * factor
    if reduction != "none":
        loss = loss.sum()
    if reduction == "mean":
        loss = loss / summed(kept.sum(), group).clamp(min=1)
    seen = summed(_sizes(logits.detach().to(dtype), is_positive, kept, factor.detach()), group)
    return EqualizationLoss(loss, up + seen[0], down + seen[1])


def _balance(up: Tensor, down: Tensor, gamma: float, mu: float, alpha: float) -> tuple[Tensor, Tensor]:
    """Weights of positives and negatives of every channel, (C + 1,); 1 in the object's."""
    none_yet = (up == 0) & (down == 0)
    steep = gamma * (torch.where(none_yet, _FIRST_RATIO, up / (down + _NO_ZERO)) - mu)
    one = steep.new_ones(1)
    return torch.cat([1.0 + alpha * torch.sigmoid(-steep), one]), torch.cat([torch.sigmoid(steep), one])


def _sizes(z: Tensor, is_positive: Tensor, kept: Tensor, factor: Tensor) -> Tensor:
    """Weighted gradients of every class, of positives and of negatives, (2, C): columns are summed, nothing scatters.

    Sums by index would add in another order every time on a GPU.
    """
    size = torch.where(kept, torch.sigmoid(torch.where(is_positive, -z, z)) * factor, 0.0)[:, :-1]
    of_positives = torch.where(is_positive[:, :-1], size, 0.0)
    return torch.stack([of_positives.sum(dim=0), torch.where(is_positive[:, :-1], 0.0, size).sum(dim=0)])
