"""Losses whose target is a number in [0, 1]: the cross entropy against it, and the distance of the score from it.

Specification: `steelyard.reference.soft_sampling.soft_target`.
"""

import torch
from torch import Tensor

from steelyard.impl.checks import discrete_tensor, float_tensor


def soft_cross_entropy(x: Tensor, y: Tensor, *, is_dense: bool = False) -> Tensor:
    """Cross entropy of sigmoid(x) against y: terms >= 0 only, and 0 for an infinite logit that is right.

    relu and clamp, since at 0 their derivatives are those of one branch, as a second derivative needs it; abs has
    one of its own there. A target that `is_dense` was not made from labels.
    """
    above, below = torch.relu(x), x.clamp(max=0.0)
    linear = above * (1.0 - y) - below * y
    # 0 instead of 0 * inf; a logit that is NaN goes on in the other term
    if is_dense and torch.compiler.is_compiling():  # a loop over vectors, which nan_to_num is not
        linear = torch.where(linear.isnan(), 0.0, linear)
    else:
        linear = torch.nan_to_num(linear, nan=0.0, posinf=torch.inf, neginf=-torch.inf)
    return linear + torch.log1p(torch.exp(below - above))


def score_minus_target(x: Tensor, y: Tensor) -> Tensor:
    """Distance sigmoid(x) - y, from both ends of [0, 1]: full relative accuracy at y = 0 and 1."""
    return (1.0 - y) * torch.sigmoid(x) - y * torch.sigmoid(-x)


def check_labels_and_quality(logits: Tensor, labels: Tensor, quality: Tensor) -> None:
    """Logits (..., C), integer labels (...), floating quality (...)."""
    float_tensor("logits", logits)
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise ValueError(f"logits: expected shape (..., C) with C >= 1, got {tuple(logits.shape)}")
    discrete_tensor("labels", labels, shape=logits.shape[:-1], of="that of logits without its class axis")
    float_tensor("quality", quality, shape=labels.shape, of="that of labels")
