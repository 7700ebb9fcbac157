"""mmdet's GHM losses, PISA, and what its losses are divided by (`mmdet.models.losses`)."""

from types import SimpleNamespace

import torch
from mmdet.models.losses import GHMC, GHMR, carl_loss, isr_p
from mmdet.models.losses.utils import weight_reduce_loss
from torch import Tensor

from steelyard.conformance.adapters._reductions import foreground_anchors

DIALECTS = {
    "ghm_classification_loss": "authors_code",
    "ghm_classification_loss_with_labels": "authors_code",
    "ghm_classification_sum": "authors_code",
    "ghm_regression_loss": "authors_code",
    "isr_p_weights": "max",
    "normalise_focal_loss": "batch_foreground",
}
KNOWN = [
    *(
        {
            "technique": technique,
            "requirement": id_,
            "reason": "float16 gradients pass through the number of examples, which is beyond its range",
        }
        for technique, id_ in (
            ("ghm_classification_loss", "GHMC-10"),
            ("ghm_classification_loss_with_labels", "GHML-10"),
            ("ghm_regression_loss", "GHMR-10"),
        )
    ),
    *(
        {
            "technique": technique,
            "requirement": id_,
            "reason": "an element that is not valid is multiplied by 0, which leaves NaN of what is not finite",
        }
        for technique, id_ in (
            ("ghm_classification_loss", "GHMC-13"),
            ("ghm_classification_loss_with_labels", "GHML-13"),
            ("ghm_regression_loss", "GHMR-13"),
        )
    ),
    *(
        {
            "technique": "ghm_classification_sum",
            "requirement": id_,
            "reason": 'reduction "sum" raises: it passes an average factor on, which the reduction refuses',
        }
        for id_ in (
            "GHMS-1",
            "GHMS-2",
            "GHMS-3",
            "GHMS-4",
            "GHMS-5",
            "GHMS-6",
            "GHMS-7",
            "GHMS-8",
            "GHMS-9",
            "GHMS-10",
        )
    ),
    {
        "technique": "ghm_regression_loss",
        "requirement": "GHMR-9",
        "reason": "the weighted losses are added up in float16, infinite above 65504",
    },
    {
        "technique": "ghm_regression_loss",
        "requirement": "GHMR-24",
        "reason": "a single target is broadcast to all predictions",
    },
    *(
        {
            "technique": "ghm_regression_loss",
            "requirement": id_,
            "reason": "the square of a difference from 256 on is infinite in float16",
        }
        for id_ in ("GHMR-29", "GHMR-30")
    ),
    {
        "technique": "normalise_focal_loss",
        "requirement": "NORM-3",
        "reason": "avg_factor 0 stands for 2^-23: without foreground the loss is 8 million times as large",
    },
    {
        "technique": "isr_p_weights",
        "requirement": "IP-1",
        "reason": "IoU plus rank in one float32: in a crowd, IoUs that are near are equal, in any order",
    },
    {
        "technique": "isr_p_weights",
        "requirement": "IP-2",
        "reason": "from the third image on, objects of different images merge",
    },
    {
        "technique": "isr_p_weights",
        "requirement": "IP-4",
        "reason": "label weights stand inside of the power; positives of weight 0 have a rank",
    },
    {
        "technique": "isr_p_weights",
        "requirement": "IP-5",
        "reason": "the weight of an ignored sample is given back as it is",
    },
    {
        "technique": "isr_p_weights",
        "requirement": "IP-8",
        "reason": "NaN where all losses are 0",
    },
    {
        "technique": "isr_p_weights",
        "requirement": "IP-18",
        "reason": "the label weights are overwritten",
    },
]


def ghm_classification_loss(
    logits: Tensor, targets: Tensor, valid: Tensor, state: Tensor, *, bins: int, momentum: float | None, reduction: str
) -> tuple[Tensor, Tensor]:
    """As its head calls it. Its targets are float32, in which a cross entropy of float64 logits is computed too."""
    ghm = _with_state(GHMC(bins=bins, momentum=momentum or 0), state)
    return _reduced(
        ghm(_no_float64(logits), targets, valid, reduction_override=_THEIRS[reduction]), reduction, valid
    ), ghm.acc_sum if momentum else state


def ghm_classification_loss_with_labels(
    logits: Tensor, labels: Tensor, state: Tensor, *, bins: int, momentum: float | None, reduction: str
) -> tuple[Tensor, Tensor]:
    """The same with a weight of 0 for ignored anchors, one anchor a row."""
    ghm = _with_state(GHMC(bins=bins, momentum=momentum or 0), state)
    label = labels.flatten()
    loss = ghm(_no_float64(logits).flatten(0, -2), label, label != -1, reduction_override=_THEIRS[reduction])
    valid = (labels != -1).unsqueeze(-1).expand(logits.shape)
    if reduction == "none":
        loss = loss.reshape(logits.shape)
    return _reduced(loss, reduction, valid), ghm.acc_sum if momentum else state


def ghm_classification_sum(logits: Tensor, targets: Tensor, valid: Tensor, *, bins: int) -> Tensor:
    """Its reduction "sum", as documented."""
    loss: Tensor = GHMC(bins=bins, reduction="sum")(_no_float64(logits), targets, valid)
    return loss


def ghm_regression_loss(
    predictions: Tensor,
    targets: Tensor,
    valid: Tensor,
    state: Tensor,
    *,
    mu: float,
    bins: int,
    momentum: float | None,
    reduction: str,
) -> tuple[Tensor, Tensor]:
    """As its head calls it."""
    ghm = _with_state(GHMR(mu=mu, bins=bins, momentum=momentum or 0), state)
    loss = ghm(predictions, targets, valid, reduction_override=_THEIRS[reduction])
    return _reduced(loss, reduction, valid), ghm.acc_sum if momentum else state


def isr_p_weights(  # noqa: PLR0913 - the quantities of a sample
    iou: Tensor,
    classification_losses: Tensor,
    labels: Tensor,
    gt_index: Tensor,
    image_index: Tensor | None = None,
    label_weights: Tensor | None = None,
    *,
    num_classes: int,
    gamma: float,
    beta: float,
) -> Tensor:
    """Images in sequence; the losses as its scores, and boxes that have these IoUs.

    Its ranks are float32 whatever comes in.
    """
    if image_index is None:
        images = torch.arange(labels.shape[:-1].numel(), device=labels.device)
        image_index = images.reshape(*labels.shape[:-1], 1).expand(labels.shape)
    if label_weights is None:
        label_weights = torch.ones_like(iou)
    image, order = image_index.flatten().sort(stable=True)
    losses = classification_losses.reshape(len(order), *classification_losses.shape[labels.ndim :]).float()
    weights = label_weights.flatten().float()
    in_sequence = bool((image_index.flatten() == image).all())
    overlap = iou.flatten().float() if in_sequence else _without_ties(iou.flatten())
    boxes, label, gt = _boxes_of_overlap(overlap), labels.flatten(), gt_index.flatten()
    if in_sequence:
        placed = label, weights
    else:
        boxes, losses, gt = boxes[order], losses[order], gt[order]
        placed = label[order], weights[order]
    positive = (placed[0] >= 0) & (placed[0] < num_classes)
    of_images = [SimpleNamespace(pos_assigned_gt_inds=gt[positive & (image == i)]) for i in torch.unique(image)]
    unit = torch.ones_like(boxes) * boxes.new_tensor([0, 0, 1, 1])
    _, weighed, _, _ = isr_p(
        losses,
        boxes,
        (*placed, unit, unit),
        unit,
        of_images,
        loss_cls=lambda scores, _, reduction_override: scores,  # noqa: ARG005 - its name there
        bbox_coder=SimpleNamespace(decode=lambda _, deltas: deltas),
        k=gamma,
        bias=beta,
        num_class=num_classes,
    )
    back = weighed if in_sequence else torch.empty_like(weighed).scatter_(0, order, weighed)
    return torch.reshape(back, labels.shape)


def classification_aware_regression_loss(
    logits: Tensor,
    labels: Tensor,
    regression_losses: Tensor,
    *,
    activation: str,
    k: float,
    b: float,
    avg_factor: float | None,
) -> Tensor:
    """Its samplers hand on no ignored samples; the regression losses serve as its predictions."""
    kept = labels.flatten() != -1
    coordinates = regression_losses.shape[labels.ndim :] or (1,)
    losses = regression_losses.reshape(len(kept), *coordinates)[kept]
    sigmoid = activation == "sigmoid"
    result = carl_loss(
        logits.reshape(len(kept), logits.shape[-1])[kept],
        labels.flatten()[kept],
        losses,
        losses,
        loss_bbox=lambda predictions, _, reduction_override: predictions,  # noqa: ARG005 - its name there
        k=k,
        bias=b,
        avg_factor=avg_factor,
        sigmoid=sigmoid,
        num_class=logits.shape[-1] - (not sigmoid),
    )
    loss: Tensor = result["loss_carl"][0]
    return loss


def normalise_focal_loss(losses: Tensor, labels: Tensor, *, num_classes: int) -> Tensor:
    """With avg_factor, the number of foreground anchors; its own heads count one where an image has none."""
    foreground = foreground_anchors(losses, labels, num_classes)
    loss: Tensor = weight_reduce_loss(losses, reduction="mean", avg_factor=foreground)
    return loss


_THEIRS = {"sum": "mean", "none": "none"}  # "mean" divides by the number of examples, as each of our terms is


def _reduced(loss: Tensor, reduction: str, valid: Tensor) -> Tensor:
    return loss / valid.sum().clamp(min=1) if reduction == "none" else loss


def _with_state(ghm: GHMC | GHMR, state: Tensor) -> GHMC | GHMR:
    """Its moving average, which exists only where its momentum is above 0, at the given state."""
    ghm.to(torch.promote_types(state.dtype, torch.float32))
    if ghm.momentum > 0:
        ghm.acc_sum.copy_(state)
    return ghm


def _no_float64(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype == torch.float64 else logits


def _without_ties(iou: Tensor) -> Tensor:
    """The same order with the lower index first: its ties go by place, which changes when images are sorted."""
    place = iou.argsort(descending=True, stable=True).argsort()
    return 1.0 - place / len(iou)


def _boxes_of_overlap(iou: Tensor) -> Tensor:
    """Boxes of these IoUs with the unit square. Other measures than an IoU go by their place in the order."""
    if bool(((iou < 0) | (iou > 1)).any()):
        values, place = torch.unique(iou, return_inverse=True)
        iou = (place + 1) / len(values)
    zero = torch.zeros_like(iou)
    return torch.stack([zero, zero, iou, torch.ones_like(iou)], dim=-1)
