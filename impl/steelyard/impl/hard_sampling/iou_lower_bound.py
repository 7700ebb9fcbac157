"""IoU lower bound for a whole batch: labels by two comparisons, draws by sorted keys.

Specification: `steelyard.reference.hard_sampling.iou_lower_bound`.
"""

import torch
from torch import Tensor

from steelyard.impl.checks import count, discrete_tensor, float_tensor, fraction, one_of
from steelyard.impl.hard_sampling.keyed_draws import key_tensor, smallest_keys
from steelyard.impl.hard_sampling.random_sampling import Sample

ROUNDINGS = ("down", "half_even")


def iou_range_labels(
    max_iou: Tensor,
    classes: Tensor,
    *,
    num_classes: int,
    foreground_iou: float = 0.5,
    background_low: float = 0.1,
    background_high: float = 0.5,
) -> Tensor:
    """Label candidates by their largest IoU: foreground, background within a range, or ignored.

    Shapes: `max_iou` float (...), `classes` int (...) with -1 = ignore or padding -> int64 (...).
    Specification: `steelyard.reference.iou_range_labels`.
    """
    float_tensor("max_iou", max_iou)
    discrete_tensor("classes", classes, shape=max_iou.shape, of="that of max_iou")
    count("num_classes", num_classes)
    fraction("foreground_iou", foreground_iou)
    fraction("background_low", background_low)
    fraction("background_high", background_high)

    iou = max_iou.double()  # float32 has no 0.7: both sides of a comparison in the thresholds' own format
    in_range = (iou >= background_low) & (iou < background_high)
    label = torch.where(iou >= foreground_iou, classes.long(), torch.where(in_range, num_classes, -1))
    return torch.where(classes == -1, -1, label)


def iou_lower_bound_sampling(  # noqa: PLR0913 - the ranges and the quota, by keyword
    max_iou: Tensor,
    classes: Tensor,
    keys: Tensor,
    *,
    num_classes: int,
    foreground_iou: float = 0.5,
    background_low: float = 0.1,
    background_high: float = 0.5,
    num_samples: int = 64,
    positive_fraction: float = 0.25,
    rounding: str = "down",
    fill_from_below: bool = False,
) -> Sample:
    """Draw a sample of each image's candidates, its background from the range only, by explicit keys in [0, 1).

    Shapes: `max_iou` float (..., N), `classes` int (..., N) with -1 = ignore or padding, `keys` float (..., N)
    -> two bool (..., N).
    Specification: `steelyard.reference.iou_lower_bound_sampling`.
    """
    key_tensor("keys", keys)
    float_tensor("max_iou", max_iou, shape=keys.shape, of="that of keys")
    labels = iou_range_labels(
        max_iou, classes, num_classes=num_classes, foreground_iou=foreground_iou,
        background_low=background_low, background_high=background_high,
    )  # fmt: skip
    count("num_samples", num_samples)
    fraction("positive_fraction", positive_fraction)
    one_of("rounding", rounding, ROUNDINGS)

    share = num_samples * positive_fraction
    quota = torch.full((1,), int(share) if rounding == "down" else round(share), device=keys.device)
    positive = smallest_keys(keys, (labels >= 0) & (labels < num_classes), quota)
    left = num_samples - positive.sum(dim=-1, keepdim=True)
    negative = smallest_keys(keys, labels == num_classes, left)
    if fill_from_below:
        left = left - negative.sum(dim=-1, keepdim=True)
        limit = min(background_low, background_high, foreground_iou)
        negative = negative | smallest_keys(keys, (max_iou.double() < limit) & (classes != -1), left)
    return Sample(positive, negative)
