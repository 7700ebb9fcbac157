"""pytorch-toolbelt's losses with a focal factor (`pytorch_toolbelt.losses`)."""

from importlib.metadata import version

import torch
from pytorch_toolbelt.losses import CrossEntropyFocalLoss
from pytorch_toolbelt.losses.functional import focal_loss_with_logits
from pytorch_toolbelt.losses.quality_focal_loss import QualityFocalLoss
from torch import Tensor

ARRAYS = "torch"
DTYPES = ("float32", "float16", "bfloat16")  # it computes in float32 whatever comes in
NAME = "pytorch-toolbelt"
VERSION = version("pytorch-toolbelt")
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
        "technique": "quality_focal_loss",
        "requirement": "QFL-7",
        "reason": "NaN gradient for beta in (0, 1) where the score is the target",
    },
    *(
        {
            "technique": "softmax_focal_loss",
            "requirement": id_,
            "reason": "binary cross entropies of all channels, not the cross entropy of the softmax",
        }
        for id_ in (
            "SFL-1",
            "SFL-2",
            "SFL-3",
            "SFL-4",
            "SFL-5",
            "SFL-6",
            "SFL-7",
            "SFL-8",
            "SFL-9",
            "SFL-10",
            "SFL-11",
            "SFL-12",
        )
    ),
]


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, *, alpha: float | None, gamma: float) -> Tensor:
    """As it stands, without a reduction."""
    loss: Tensor = focal_loss_with_logits(logits, targets, gamma=gamma, alpha=alpha, reduction="none")
    return torch.as_tensor(loss)


def softmax_focal_loss(logits: Tensor, labels: Tensor, *, alpha: float | None, gamma: float) -> Tensor:
    """It has no alpha: the anchors are weighted here. Its class axis is the second one."""
    loss: Tensor = CrossEntropyFocalLoss(gamma=gamma, reduction="none", ignore_index=-1)(
        logits.flatten(0, -2), labels.flatten()
    )
    loss = torch.reshape(loss, labels.shape)
    return loss if alpha is None else torch.where(labels == logits.shape[-1] - 1, 1 - alpha, alpha) * loss


def quality_focal_loss(logits: Tensor, targets: Tensor, *, beta: float) -> Tensor:
    """As it stands, without a reduction."""
    loss: Tensor = QualityFocalLoss(beta=beta, reduction="none")(logits, targets)
    return torch.as_tensor(loss)
