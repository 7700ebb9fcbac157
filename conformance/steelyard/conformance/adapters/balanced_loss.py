"""balanced-loss's focal loss with what divides it (`balanced_loss.losses.focal_loss`) and class-balanced loss."""

import math
from importlib.metadata import version

import torch
from balanced_loss.losses import Loss, focal_loss
from torch import Tensor

ARRAYS = "torch"
NAME = "balanced-loss"
VERSION = version("balanced-loss")
KNOWN = [
    {
        "technique": "sigmoid_focal_loss",
        "requirement": "FL-22",
        "reason": "soft targets are taken: its focal factor is exp(-gamma y x - gamma log(1 + e^-x))",
    },
    {
        "technique": "sigmoid_focal_loss",
        "requirement": "FL-5",
        "reason": "the loss of a positive below a logit of -88.7 is lost: its focal factor overflows",
    },
    {
        "technique": "sigmoid_focal_loss",
        "requirement": "FL-6",
        "reason": "NaN gradient for logits below -88.7: its focal factor overflows",
    },
    {
        "technique": "sigmoid_focal_loss",
        "requirement": "FL-7",
        "reason": "NaN gradient for logits below -88.7: its focal factor overflows",
    },
    {
        "technique": "sigmoid_focal_loss",
        "requirement": "FL-9",
        "reason": "the focal factor overflows in float16 from logits of -11 on",
    },
    *(
        {
            "technique": "normalise_focal_loss",
            "requirement": id_,
            "reason": "divides by the number of positives: infinite without any, NaN if there are no losses either",
        }
        for id_ in ("NORM-3", "NORM-4", "NORM-9")
    ),
    {"technique": "class_balanced_weights", "requirement": "CBW-2", "reason": "NaN at beta = 1: 0 / 0"},
    {"technique": "class_balanced_loss", "requirement": "CBL-8", "reason": "NaN at beta = 1: 0 / 0"},
    {
        "technique": "class_balanced_loss",
        "requirement": "CBL-10",
        "reason": "the loss of a positive below a logit of -88.7 is lost: its focal factor overflows",
    },
    {
        "technique": "class_balanced_loss",
        "requirement": "CBL-11",
        "reason": "NaN gradient for logits below -88.7: its focal factor overflows",
    },
    {
        "technique": "class_balanced_loss",
        "requirement": "CBL-12",
        "reason": "the focal factor overflows in float16 from logits of -11 on",
    },
    {"technique": "class_balanced_loss", "requirement": "CBL-16", "reason": "NaN without samples: 0 / 0"},
]
_KINDS = {"softmax": "cross_entropy", "sigmoid": "binary_cross_entropy", "focal": "focal_loss"}


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, *, alpha: float | None, gamma: float) -> Tensor:
    """It returns the weighted sum over the number of positives, and its alpha is a weight for each element.

    The weights enter linearly: the loss of an element is the derivative of the sum by its weight. One positive of
    weight 0 is added, for without positives the denominator would be 0.
    """
    y = targets.to(logits.dtype)
    balance = torch.ones_like(y) if alpha is None else alpha * y + (1 - alpha) * (1 - y)
    weights = torch.ones_like(y).flatten().requires_grad_()
    extra = torch.zeros(1, dtype=logits.dtype, device=logits.device)
    total = focal_loss(
        torch.cat([logits.flatten(), extra]), torch.cat([y.flatten(), extra + 1]), torch.cat([weights, extra]), gamma
    )
    (by_weight,) = torch.autograd.grad(total * (y.sum() + 1), weights, create_graph=True)
    return balance * torch.reshape(by_weight, logits.shape)


def normalise_focal_loss(losses: Tensor, labels: Tensor, *, num_classes: int) -> Tensor:
    """It divides by the sum of the targets. At logits and gamma of 0 its losses are log 2, times weights linearly."""
    targets = (labels[..., None] == torch.arange(num_classes, device=labels.device)).to(losses.dtype)
    of_anchor = losses.reshape(*labels.shape, math.prod(losses.shape[labels.ndim :])).sum(dim=-1, keepdim=True)
    weights = of_anchor / (num_classes * math.log(2.0))
    total: Tensor = focal_loss(torch.zeros_like(targets), targets, weights, 0.0)
    return total


def class_balanced_weights(counts: Tensor, *, beta: float) -> Tensor:
    """They enter its loss linearly: a sample of class c at equal logits has log(C) times the weight of c."""
    loss = Loss("cross_entropy", beta=beta, samples_per_class=counts.cpu().numpy(), class_balanced=True, safe=True)
    logits = torch.zeros((1, len(counts)), device=counts.device)
    labels = torch.arange(len(counts), device=counts.device)
    return torch.stack([loss(logits, label.unsqueeze(0)) for label in labels]) / math.log(len(counts))


def class_balanced_loss(
    logits: Tensor, labels: Tensor, counts: Tensor, *, kind: str, beta: float, gamma: float
) -> Tensor:
    """The caller leaves out ignored samples. Its binary cross entropy is a mean over the channels too."""
    loss = Loss(_KINDS[kind], beta, gamma, counts.cpu().numpy(), class_balanced=True, safe=True)
    if logits.dtype == torch.float64:  # its weights and targets are float32
        logits = logits.float()
    total: Tensor = loss(logits[labels >= 0], labels[labels >= 0])
    return total * logits.shape[1] if kind == "sigmoid" else total
