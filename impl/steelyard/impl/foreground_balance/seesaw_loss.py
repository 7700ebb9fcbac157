"""Seesaw loss: cross entropy at logits that the factors have moved, which are made from one log-softmax.

Specification: `steelyard.reference.foreground_balance.seesaw_loss`.
"""

import math

import torch
from torch import Tensor

from steelyard.impl.checks import compute_dtype, discrete_tensor, float_tensor, fraction, non_negative
from steelyard.impl.soft_sampling.softmax_focal_loss import softmax_focal_loss


def seesaw_loss(
    logits: Tensor,
    labels: Tensor,
    counts: Tensor,
    *,
    p: float = 0.8,
    q: float = 2.0,
    epsilon: float | None = 0.01,
) -> Tensor:
    """Seesaw loss of every sample.

    Shapes: `logits` float (R, C), `labels` int (R,) with C = background, -1 = ignore, `counts` int or float (C,)
    -> (R,); float32 for half inputs. Specification: `steelyard.reference.seesaw_loss`.
    """
    float_tensor("logits", logits)
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"logits: expected shape (R, C) with C >= 2, got {tuple(logits.shape)}")
    discrete_tensor("labels", labels, shape=logits.shape[:1], of="that of logits without its class axis")
    if not isinstance(counts, Tensor) or counts.shape != logits.shape[1:]:
        raise ValueError(f"counts: expected a tensor of shape {tuple(logits.shape[1:])}")
    p, q = non_negative("p", p), non_negative("q", q)
    floor = 0.0 if epsilon is None else fraction("epsilon", epsilon)

    z = logits.to(compute_dtype(logits))
    label = labels.long().masked_fill(labels == logits.shape[1], -1)
    log_factor = _log_factor(z.detach(), label.clamp(min=0), counts, p, q, floor)
    return softmax_focal_loss(z + log_factor, label, alpha=None, gamma=0.0)


def _log_factor(z: Tensor, own: Tensor, counts: Tensor, p: float, q: float, floor: float) -> Tensor:
    """Log S of every sample, never a C x C matrix: rows of counts and scores against that of the own class."""
    log_count = counts.to(z.dtype).clamp(min=1.0).log()
    log_score = torch.log_softmax(z, dim=1)
    of_own = log_score.gather(1, own.unsqueeze(1)).clamp(min=math.log(floor) if floor else -torch.inf)
    mitigation = p * (log_count - log_count[own].unsqueeze(1)).clamp(max=0.0)
    compensation = q * (log_score - of_own).clamp(min=0.0)
    return mitigation + compensation.scatter(1, own.unsqueeze(1), 0.0)
