"""cbloss's focal loss and class-balanced loss (`cbloss.loss`)."""

from importlib.metadata import version

import torch
from cbloss.loss import ClassBalancedLoss, FocalLoss
from torch import Tensor, nn

ARRAYS = "torch"
DTYPES = ("float32", "float16", "bfloat16")  # its weights are float32 whatever comes in
NAME = "cbloss"
VERSION = version("cbloss")
KNOWN = [
    {
        "technique": "sigmoid_focal_loss",
        "requirement": "FL-22",
        "reason": "soft targets are taken: p_t is interpolated, alpha is not",
    },
    {"technique": "sigmoid_focal_loss", "requirement": "FL-1", "reason": "alpha on positives and negatives alike"},
    {"technique": "sigmoid_focal_loss", "requirement": "FL-2", "reason": "alpha on positives and negatives alike"},
    {"technique": "sigmoid_focal_loss", "requirement": "FL-4", "reason": "alpha on positives and negatives alike"},
    {"technique": "sigmoid_focal_loss", "requirement": "FL-5", "reason": "alpha on positives and negatives alike"},
    {"technique": "sigmoid_focal_loss", "requirement": "FL-6", "reason": "alpha on positives and negatives alike"},
    {
        "technique": "sigmoid_focal_loss",
        "requirement": "FL-7",
        "reason": "NaN gradient for gamma in (0, 1) once 1 - p rounds to 0, and alpha on positives and negatives alike",
    },
    {"technique": "sigmoid_focal_loss", "requirement": "FL-8", "reason": "alpha on positives and negatives alike"},
    {"technique": "sigmoid_focal_loss", "requirement": "FL-9", "reason": "alpha on positives and negatives alike"},
    {"technique": "sigmoid_focal_loss", "requirement": "FL-10", "reason": "alpha on positives and negatives alike"},
    {"technique": "sigmoid_focal_loss", "requirement": "FL-11", "reason": "alpha on positives and negatives alike"},
    {"technique": "sigmoid_focal_loss", "requirement": "FL-20", "reason": "alpha on positives and negatives alike"},
    {"technique": "class_balanced_weights", "requirement": "CBW-2", "reason": "NaN at beta = 1: 0 / 0"},
    {"technique": "class_balanced_weights", "requirement": "CBW-4", "reason": "NaN for a class without samples: 0 / 0"},
    {"technique": "class_balanced_loss", "requirement": "CBL-8", "reason": "NaN at beta = 1: 0 / 0"},
    {"technique": "class_balanced_loss", "requirement": "CBL-15", "reason": "NaN for a class without samples: 0 / 0"},
    {"technique": "class_balanced_loss", "requirement": "CBL-16", "reason": "NaN without samples: the mean of nothing"},
]


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, *, alpha: float | None, gamma: float) -> Tensor:
    """Two classes stand for one channel; alpha = 1 stands for off."""
    loss: Tensor = FocalLoss(2, alpha=1.0 if alpha is None else alpha, gamma=gamma, reduction="none")(logits, targets)
    return torch.as_tensor(loss)


def class_balanced_weights(counts: Tensor, *, beta: float) -> Tensor:
    """Its weights are an attribute of the loss."""
    return torch.as_tensor(_loss(counts, beta).weights, device=counts.device)


def class_balanced_loss(logits: Tensor, labels: Tensor, counts: Tensor, *, beta: float) -> Tensor:
    """Softmax only: its other losses take other targets. The caller leaves out ignored samples."""
    loss = _loss(counts, beta)
    loss.weights = loss.weights.to(logits.device)
    return torch.as_tensor(loss(logits[labels >= 0], labels[labels >= 0]))


def _loss(counts: Tensor, beta: float) -> nn.Module:
    samples = counts.cpu().numpy()
    return ClassBalancedLoss(samples, beta, len(samples), nn.CrossEntropyLoss(reduction="none"))
