"""monai's focal loss, with the sigmoid and with the softmax, and its sampler of hard negatives."""

from importlib.metadata import version

import torch
from monai.apps.detection.utils.hard_negative_sampler import HardNegativeSampler
from monai.losses import FocalLoss
from torch import Tensor

from steelyard.conformance.adapters._reductions import with_names

ARRAYS = "torch"
DTYPES = ("float32", "float16", "bfloat16")  # it computes in float32 whatever comes in
NAME = "monai"
VERSION = version("monai")
KNOWN = [
    {
        "technique": "sigmoid_focal_loss",
        "requirement": "FL-22",
        "reason": "soft targets are taken: the sign of the logit is interpolated",
    },
    *(
        {
            "technique": "softmax_focal_loss",
            "requirement": id_,
            "reason": "alpha weighs class 0 by 1 - alpha: there it is the background, which is last here",
        }
        for id_ in ("SFL-1", "SFL-2", "SFL-4", "SFL-5", "SFL-6", "SFL-8", "SFL-9", "SFL-10")
    ),
    {
        "technique": "softmax_focal_loss",
        "requirement": "SFL-7",
        "reason": "NaN gradient for gamma in (0, 1) once a p rounds to 1, also that of another class",
    },
    *(
        {
            "technique": "normalise_focal_loss",
            "requirement": id_,
            "reason": "reduction sum is a sum over images and classes of the mean over anchors, and asks for no labels",
        }
        for id_ in ("NORM-1", "NORM-2", "NORM-3", "NORM-4", "NORM-5", "NORM-9")
    ),
    *(
        {
            "technique": "hard_negative_mining",
            "requirement": id_,
            "reason": "an image without positives gets the negatives of one positive",
        }
        for id_ in ("HN-1", "HN-2", "HN-3", "HN-5", "HN-11", "HN-13", "HN-17")
    ),
    *(
        {
            "technique": "stratified_hard_example_mining",
            "requirement": id_,
            "reason": "negatives in proportion to the positives found: 2 draw 6 where others draw 62; positives "
            "at random; a division by zero where no positive is asked for",
        }
        for id_ in ("SH-1", "SH-2", "SH-3", "SH-4", "SH-6", "SH-7", "SH-8", "SH-9", "SH-10", "SH-12", "SH-15")
    ),
]


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, *, alpha: float | None, gamma: float) -> Tensor:
    """It wants a batch and a class axis; ours is elementwise, so every shape serves as (elements, 1)."""
    loss: Tensor = FocalLoss(gamma=gamma, alpha=alpha, reduction="none")(logits.reshape(-1, 1), targets.reshape(-1, 1))
    return torch.reshape(loss, logits.shape)


def softmax_focal_loss(logits: Tensor, labels: Tensor, *, alpha: float | None, gamma: float) -> Tensor:
    """It gives one element a class, 0 in all but the true one; its class axis is the second one."""
    focal_loss = FocalLoss(
        to_onehot_y=True, use_softmax=True, gamma=gamma, alpha=alpha, reduction="none", ignore_index=-1
    )
    loss: Tensor = focal_loss(logits.flatten(0, -2), labels.reshape(-1, 1))
    return torch.reshape(loss.sum(dim=1), labels.shape)


def normalise_focal_loss(losses: Tensor, labels: Tensor, *, num_classes: int) -> Tensor:
    """Its reduction "sum", to be divided by the number of foreground anchors afterwards: it asks for no labels."""
    reduce = with_names(FocalLoss.forward, sigmoid_focal_loss=lambda logits, *_: logits)
    loss: Tensor = reduce(FocalLoss(reduction="sum"), losses.movedim(-1, 1), torch.zeros_like(losses).movedim(-1, 1))
    return loss


def hard_negative_mining(
    losses: Tensor, labels: Tensor, *, num_classes: int, negatives_per_positive: float, min_negatives: int
) -> tuple[Tensor, Tensor]:
    """The losses as its scores; a batch that holds all positives, and a pool that leaves nothing to chance."""
    share = 1.0 / (1.0 + negatives_per_positive)
    room = int(labels.shape[-1] / share) + 1
    return _sampled(HardNegativeSampler(room, share, min_neg=min_negatives, pool_size=1), losses, labels, num_classes)


def stratified_hard_example_mining(
    losses: Tensor, labels: Tensor, *, num_classes: int, num_samples: int, positive_fraction: float
) -> tuple[Tensor, Tensor]:
    """The losses as its scores; a pool that leaves nothing to chance among the negatives."""
    sampler = HardNegativeSampler(num_samples, positive_fraction, min_neg=0, pool_size=1)
    return _sampled(sampler, losses, labels, num_classes)


def _sampled(sampler: HardNegativeSampler, losses: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """0 is the background there, and 1 and above the foreground."""
    theirs = torch.where(labels == num_classes, 0, torch.where(labels >= 0, labels + 1, -1))
    positive, negative = sampler(list(theirs.reshape(theirs.shape[:-1].numel(), theirs.shape[-1])), losses.flatten())
    return torch.stack(positive).bool().reshape(labels.shape), torch.stack(negative).bool().reshape(labels.shape)
