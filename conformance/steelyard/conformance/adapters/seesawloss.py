"""seesawloss's loss for long tails (`seesawloss.SeesawLoss`)."""

from importlib.metadata import version

import torch
from seesawloss import SeesawLoss
from torch import Tensor
from torch.nn.functional import one_hot

ARRAYS = "torch"
NAME = "seesawloss"
VERSION = version("seesawloss")
KNOWN = [
    {
        "technique": "seesaw_loss",
        "requirement": "SSW-14",
        "reason": "in a half-precision model its counts are in half precision too: NaN from 65,520 samples on",
    },
    {
        "technique": "seesaw_loss",
        "requirement": "SSW-15",
        "reason": "in a half-precision model its counts are in half precision too: NaN from 65,520 samples on",
    },
]


def seesaw_loss(logits: Tensor, labels: Tensor, counts: Tensor, *, p: float, q: float, epsilon: float | None) -> Tensor:
    """It returns the mean, so it is asked for one sample at a time, which it counts itself; it knows no background."""
    classes = logits.shape[1]
    losses = list(logits.sum(dim=1) * 0)
    for i in torch.nonzero((labels >= 0) & (labels < classes)).flatten().tolist():
        seesaw = SeesawLoss(classes, p, q, epsilon or 0.0).to(logits.dtype)
        seesaw.accumulate[:] = (counts - one_hot(labels[i], classes)).to(logits.dtype)
        losses[i] = seesaw(logits[i : i + 1], labels[i : i + 1])
    return torch.stack(losses) if losses else logits.sum(dim=1)
