"""The classification loss that the detector trains with."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def focal_loss(
    logits: Tensor, targets: Tensor, alpha: float | None = 0.25, gamma: float = 2.0, reduction: str = "mean"
) -> Tensor:
    """Sigmoid focal loss; `alpha` weighs the positives, 1 - alpha the negatives, None neither."""
    positive = targets == 1
    signed = torch.where(positive, logits, -logits)
    loss = -torch.exp(gamma * logsigmoid(-signed)) * logsigmoid(signed)
    if alpha is not None:
        loss = torch.where(positive, alpha * loss, (1 - alpha) * loss)
    return loss.mean() if reduction == "mean" else loss
