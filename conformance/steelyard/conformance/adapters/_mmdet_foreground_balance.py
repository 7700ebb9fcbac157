"""mmdet's losses for long tails (`mmdet.models.losses`)."""

import torch
from mmdet.models.losses import EQLV2Loss, SeesawLoss
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
    {
        "technique": "equalization_loss_v2",
        "requirement": "EQV-6",
        "reason": "the weights of the samples are ignored",
    },
    *(
        {
            "technique": "equalization_loss_v2",
            "requirement": id_,
            "reason": "the reduction is ignored: always the mean",
        }
        for id_ in ("EQV-7", "EQV-20")
    ),
    {
        "technique": "equalization_loss_v2",
        "requirement": "EQV-14",
        "reason": "NaN without samples: 0 divided by 0",
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


def equalization_loss_v2(  # noqa: PLR0913 - its state and its options
    logits: Tensor,
    labels: Tensor,
    positive_gradients: Tensor,
    negative_gradients: Tensor,
    weights: Tensor | None = None,
    *,
    gamma: float,
    mu: float,
    alpha: float,
    reduction: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Its samplers hand on no ignored samples; its buffers hold the gradients, and their ratio from the last call."""
    eql = EQLV2Loss(num_classes=logits.shape[1] - 1, gamma=gamma, mu=mu, alpha=alpha, reduction=reduction)
    eql.to(torch.promote_types(logits.dtype, torch.float32))
    eql.pos_grad.copy_(positive_gradients)
    eql.neg_grad.copy_(negative_gradients)
    none_yet = (eql.pos_grad == 0) & (eql.neg_grad == 0)
    eql.pos_neg = torch.where(none_yet, eql.pos_neg, eql.pos_grad / (eql.neg_grad + 1e-10))
    kept = labels != -1
    loss: Tensor = eql(logits[kept], labels[kept], weight=None if weights is None else weights[kept])
    return loss, eql.pos_grad, eql.neg_grad
