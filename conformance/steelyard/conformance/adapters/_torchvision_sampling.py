"""torchvision's hard-negative mining (`torchvision.models.detection.ssd.SSD.compute_loss`)."""

from types import SimpleNamespace

import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.ssd import SSD

KNOWN = [
    {
        "technique": "ssd_confidence_loss",
        "requirement": "SSD-2",
        "reason": "positives fill the quota where there are too few negatives, and count twice",
    },
    {
        "technique": "ssd_confidence_loss",
        "requirement": "SSD-8",
        "reason": "ranks are compared with the product: 2.5 negatives for a positive are three",
    },
    {
        "technique": "ssd_confidence_loss",
        "requirement": "SSD-9",
        "reason": "it knows no ignored candidates: what is not matched is background",
    },
    {
        "technique": "ssd_confidence_loss",
        "requirement": "SSD-13",
        "reason": "positives fill the quota where there are too few negatives, and count twice",
    },
    {
        "technique": "ssd_confidence_loss",
        "requirement": "SSD-19",
        "reason": "its loop over the images ends with the shortest list",
    },
]


def ssd_confidence_loss(logits: Tensor, labels: Tensor, *, negatives_per_positive: float) -> Tensor:
    """Every foreground candidate is matched with a box of its own; what is not matched is background, channel 0."""
    images, candidates = labels.shape
    foreground = (labels >= 0) & (labels < logits.shape[-1] - 1)
    own = torch.where(foreground, torch.arange(candidates, device=labels.device), -1)
    boxes = logits.new_tensor([0.0, 0.0, 1.0, 1.0]).expand(candidates, 4)
    loss: dict[str, Tensor] = SSD.compute_loss(
        SimpleNamespace(neg_to_pos_ratio=negatives_per_positive, box_coder=BoxCoder((10.0, 10.0, 5.0, 5.0))),
        [{"boxes": boxes, "labels": image + 1} for image in labels],
        {"cls_logits": logits.roll(1, dims=-1), "bbox_regression": logits.new_zeros((images, candidates, 4))},
        [boxes] * images,
        list(own),
    )
    return loss["classification"]
