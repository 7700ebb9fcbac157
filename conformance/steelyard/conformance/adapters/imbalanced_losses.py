"""imbalanced-losses' focal losses, with the sigmoid and with the softmax."""

from importlib.metadata import version

import torch
from imbalanced_losses import SigmoidFocalLoss, SoftmaxFocalLoss
from torch import Tensor

ARRAYS = "torch"
DTYPES = ("float32", "float16", "bfloat16")  # its class weights are float32 whatever comes in
NAME = "imbalanced-losses"
VERSION = version("imbalanced-losses")
KNOWN = [
    {
        "technique": "sigmoid_focal_loss",
        "requirement": "FL-22",
        "reason": "soft targets are taken: p_t and alpha_t are interpolated",
    },
    {
        "technique": "sigmoid_focal_loss",
        "requirement": "FL-7",
        "reason": "NaN gradient for gamma in (0, 1) once 1 - p rounds to 0",
    },
    {
        "technique": "softmax_focal_loss",
        "requirement": "SFL-7",
        "reason": "NaN gradient for gamma in (0, 1) once 1 - p rounds to 0",
    },
]


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, *, alpha: float | None, gamma: float) -> Tensor:
    """Targets are floats there, and alpha = -1 stands for off."""
    off = -1.0 if alpha is None else alpha
    loss: Tensor = SigmoidFocalLoss(alpha=off, gamma=gamma, reduction="none")(logits, targets.to(logits.dtype))
    return torch.as_tensor(loss)


def softmax_focal_loss(logits: Tensor, labels: Tensor, *, alpha: float | None, gamma: float) -> Tensor:
    """Its alpha is a weight for each class: the background's, the last one, is 1 - alpha."""
    foreground = logits.shape[-1] - 1
    weights = None if alpha is None else torch.tensor([alpha] * foreground + [1 - alpha])
    loss: Tensor = SoftmaxFocalLoss(alpha=weights, gamma=gamma, reduction="none", ignore_index=-1)(
        logits.flatten(0, -2), labels.flatten()
    )
    return torch.reshape(loss, labels.shape)
