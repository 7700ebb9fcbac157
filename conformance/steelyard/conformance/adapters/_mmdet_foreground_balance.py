"""mmdet's loss for long tails (`mmdet.models.losses.SeesawLoss`)."""

import torch
from mmdet.models.losses import SeesawLoss
from torch import Tensor

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
    """It counts the mini-batch itself and has two more channels; its samplers hand on no ignored samples.

    Like every buffer of a model, its counts have the model's precision.
    """
    classes = logits.shape[1]
    seesaw = SeesawLoss(p=p, q=q, num_classes=classes, eps=epsilon or 0.0, reduction="none").to(logits.dtype)
    kept, has_class = labels != -1, (labels >= 0) & (labels < classes)
    before = counts - torch.bincount(labels[has_class], minlength=classes)
    seesaw.cum_samples[:classes] = before.to(logits.dtype)
    objectness = logits.new_zeros((len(labels), 2))
    losses = seesaw(torch.cat([logits, objectness], dim=1)[kept], labels[kept])
    if not has_class.any():
        return logits.sum(dim=1) * 0
    of_classes = losses["loss_cls_classes"]
    return of_classes.new_zeros(len(labels)).index_put((has_class,), of_classes)
