"""kornia's focal losses (`kornia.losses.binary_focal_loss_with_logits` and `kornia.losses.focal_loss`)."""

from types import SimpleNamespace

import kornia
import torch
from kornia.losses import binary_focal_loss_with_logits, focal_loss
from torch import Tensor

from steelyard.conformance.adapters._reductions import with_names

ARRAYS = "torch"
NAME = "kornia"
VERSION = kornia.__version__
KNOWN = [
    {
        "technique": "sigmoid_focal_loss",
        "requirement": "FL-22",
        "reason": "soft targets are taken: the losses of both targets are interpolated",
    },
    *(
        {
            "technique": "softmax_focal_loss",
            "requirement": id_,
            "reason": "alpha weighs class 0 by 1 - alpha: there it is the background, which is last here",
        }
        for id_ in ("SFL-1", "SFL-2", "SFL-4", "SFL-5", "SFL-6", "SFL-7", "SFL-8", "SFL-9", "SFL-10")
    ),
    *(
        {
            "technique": "normalise_focal_loss",
            "requirement": id_,
            "reason": "reduction mean divides by the number of elements, anchors times classes, and asks for no labels",
        }
        for id_ in ("NORM-1", "NORM-2", "NORM-3", "NORM-4", "NORM-9")
    ),
]


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, *, alpha: float | None, gamma: float) -> Tensor:
    """It wants a batch and a class axis; ours is elementwise, so every shape serves as (elements, 1)."""
    loss: Tensor = binary_focal_loss_with_logits(
        logits.reshape(-1, 1), targets.reshape(-1, 1).to(logits.dtype), alpha=alpha, gamma=gamma, reduction="none"
    )
    return torch.reshape(loss, logits.shape)


def softmax_focal_loss(logits: Tensor, labels: Tensor, *, alpha: float | None, gamma: float) -> Tensor:
    """It gives one element a class, 0 in all but the true one; its class axis is the second one."""
    loss: Tensor = focal_loss(
        logits.flatten(0, -2), labels.flatten(), alpha=alpha, gamma=gamma, reduction="none", ignore_index=-1
    )
    return torch.reshape(loss.sum(dim=1), labels.shape)


def normalise_focal_loss(losses: Tensor, labels: Tensor, *, num_classes: int) -> Tensor:
    """Its reduction "mean", the default of PyTorch's losses: it asks for no labels."""
    given = SimpleNamespace(functional=SimpleNamespace(logsigmoid=lambda logits: logits))
    reduce = with_names(binary_focal_loss_with_logits, nn=given)  # all negative, gamma 0: the losses themselves
    loss: Tensor = reduce(losses.movedim(-1, 1), torch.zeros_like(losses).movedim(-1, 1), None, 0.0, "mean")
    return loss
