"""fvcore's focal loss (`fvcore.nn.sigmoid_focal_loss`), which detectron2 trains with."""

from importlib.metadata import version
from types import SimpleNamespace

import torch
from fvcore.nn import sigmoid_focal_loss as theirs
from torch import Tensor

from steelyard.conformance.adapters._reductions import foreground_anchors, with_names

ARRAYS = "torch"
DTYPES = ("float32", "float16", "bfloat16")  # it computes in float32 whatever comes in
NAME = "fvcore"
VERSION = version("fvcore")
KNOWN = [
    {
        "technique": "sigmoid_focal_loss",
        "requirement": "FL-22",
        "reason": "soft targets are taken: p_t and alpha_t are interpolated",
    },
    {
        "technique": "sigmoid_focal_loss",
        "requirement": "FL-7",
        "reason": "NaN gradient for gamma in (0, 1) once 1 - p_t rounds to 0",
    },
]


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, *, alpha: float | None, gamma: float) -> Tensor:
    """Targets are floats there, and alpha = -1 stands for off."""
    off = -1.0 if alpha is None else alpha
    loss: Tensor = theirs(logits, targets.to(logits.dtype), alpha=off, gamma=gamma, reduction="none")
    return torch.as_tensor(loss)


def normalise_focal_loss(losses: Tensor, labels: Tensor, *, num_classes: int) -> Tensor:
    """Its reduction "sum", divided by the number of foreground anchors afterwards: the caller's part."""
    given = SimpleNamespace(binary_cross_entropy_with_logits=lambda logits, *_, **__: logits)
    loss: Tensor = with_names(theirs, F=given)(losses, torch.zeros_like(losses), gamma=0, reduction="sum")
    return loss / foreground_anchors(losses, labels, num_classes).clamp(min=1)
