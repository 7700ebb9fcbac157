"""IoU-balanced negatives of a whole batch: bins by comparison with their edges, draws by sorted keys.

Specification: `steelyard.reference.hard_sampling.iou_balanced_sampling`.
"""

import torch
from torch import Tensor

from steelyard.impl.checks import count, discrete_tensor, float_tensor, fraction, one_of
from steelyard.impl.hard_sampling.keyed_draws import draw_by_groups, key_tensor, smallest_keys

UPPER_EDGES = ("all", "negatives")


def iou_balanced_negatives(  # noqa: PLR0913 - the bins and the floor, by keyword
    labels: Tensor,
    max_iou: Tensor,
    num_negatives: Tensor,
    keys: Tensor,
    fill_keys: Tensor,
    *,
    num_classes: int,
    num_bins: int = 3,
    floor_iou: float | None = None,
    floor_fraction: float = 0.0,
    upper: str | float = "all",
) -> Tensor:
    """Draw `num_negatives` of each image, balanced over their IoUs, by explicit random keys in [0, 1).

    Shapes: `labels` int (..., N) with C = background, -1 = ignore or padding (IoU 0 there), `max_iou`, `keys`,
    `fill_keys` float (..., N), `num_negatives` int (...) -> bool (..., N).
    Specification: `steelyard.reference.iou_balanced_negatives`.
    """
    key_tensor("keys", keys)
    float_tensor("fill_keys", fill_keys, shape=keys.shape, of="that of keys")
    discrete_tensor("labels", labels, shape=keys.shape, of="that of keys")
    float_tensor("max_iou", max_iou, shape=keys.shape, of="that of keys")
    discrete_tensor("num_negatives", num_negatives, shape=keys.shape[:-1], of="that of keys without the last axis")
    count("num_classes", num_classes)
    count("num_bins", num_bins)
    fraction("floor_fraction", floor_fraction)
    _check_edges(floor_iou, upper)

    negative = labels == num_classes
    iou = max_iou.double()  # the edges are the specification's, to the last bit
    lower = 0.0 if floor_iou is None else floor_iou
    above = negative & ((iou > 0.0) if floor_iou == 0.0 else (iou >= lower))
    below = negative & ~above
    bins = torch.where(above, _bin_of(iou, negative, num_bins, lower, upper), -1)

    number = num_negatives.long().unsqueeze(-1)
    wanted = (number * (1.0 - floor_fraction)).long() if floor_fraction else number
    from_bins = torch.maximum(wanted, number - below.sum(dim=-1, keepdim=True))
    from_bins = from_bins.minimum(above.sum(dim=-1, keepdim=True))
    quota = wanted.div(num_bins, rounding_mode="floor")
    drawn = draw_by_groups(bins, keys, fill_keys, quota=quota, total=from_bins, num_groups=num_bins)
    return drawn if floor_iou is None else drawn | smallest_keys(keys, below, number - from_bins)


def _bin_of(iou: Tensor, negative: Tensor, num_bins: int, lower: float, upper: str | float) -> Tensor:
    """The bin of each IoU: how many of the inner edges (..., N, K - 1) it has reached."""
    if isinstance(upper, str):
        counted = iou.masked_fill(~negative, 0.0) if upper == "negatives" else iou
        none = iou.new_zeros((*iou.shape[:-1], 1))  # an image without candidates has a largest IoU too
        top = torch.cat([counted, none], dim=-1).amax(dim=-1, keepdim=True)
    else:
        top = iou.new_full((1,), upper)
    inner = torch.arange(1, num_bins, device=iou.device, dtype=iou.dtype)
    edges = lower + (top - lower) * inner / num_bins
    return (iou.unsqueeze(-1) >= edges.unsqueeze(-2)).sum(dim=-1)


def _check_edges(floor_iou: float | None, upper: str | float) -> None:
    if floor_iou is not None and not 0.0 <= floor_iou < 1.0:
        raise ValueError(f"floor_iou: expected None or a number in [0, 1), got {floor_iou}")
    if isinstance(upper, str):
        one_of("upper", upper, UPPER_EDGES)
    elif not (floor_iou or 0.0) < upper <= 1.0:
        raise ValueError(f"upper: expected all, negatives, or a number in (floor, 1], got {upper}")
