"""IoU-balanced negatives of a whole batch: bins by comparison with their edges, draws by sorted keys.

Specification: `steelyard.reference.hard_sampling.iou_balanced_sampling`.
"""

import torch
from torch import Tensor

from steelyard.impl.checks import compute_dtype, count, discrete_tensor, float_tensor, fraction, one_of
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
    iou = max_iou.to(compute_dtype(max_iou))
    lower = 0.0 if floor_iou is None else floor_iou
    reached = iou.unsqueeze(-2) >= _edges(iou, negative, num_bins, lower, upper).unsqueeze(-1)
    small = torch.int8 if num_bins <= 127 else torch.int32
    above = negative & ((iou > 0.0) if floor_iou == 0.0 else reached[..., 0, :])
    below = negative & ~above
    bins = torch.where(above, reached[..., 1:, :].sum(dim=-2, dtype=small), -1)

    number = num_negatives.long().unsqueeze(-1)
    wanted = (number * (1.0 - floor_fraction)).long() if floor_fraction else number
    from_bins = torch.maximum(wanted, number - below.sum(dim=-1, keepdim=True))
    from_bins = from_bins.minimum(above.sum(dim=-1, keepdim=True))
    quota = wanted.div(num_bins, rounding_mode="floor")
    drawn = draw_by_groups(bins, keys, fill_keys, quota=quota, total=from_bins, num_groups=num_bins)
    return drawn if floor_iou is None else drawn | smallest_keys(keys, below, number - from_bins)


def _edges(iou: Tensor, negative: Tensor, num_bins: int, lower: float, upper: str | float) -> Tensor:
    """Lower edges of the bins (..., K), in the dtype of the IoUs.

    They are the specification's, of float64, rounded up: the same IoUs reach them, and none has to be widened.
    """
    if isinstance(upper, str):
        counted = iou.masked_fill(~negative, 0.0) if upper == "negatives" else iou
        if iou.shape[-1] == 0:  # an image without candidates has a largest IoU too
            counted = iou.new_zeros((*iou.shape[:-1], 1))
        top = counted.amax(dim=-1, keepdim=True).clamp(min=0.0).double()
    else:
        top = iou.new_full((1,), upper, dtype=torch.float64)
    edges = lower + (top - lower) * torch.arange(num_bins, device=iou.device, dtype=torch.float64) / num_bins
    near = edges.to(iou.dtype)
    return torch.where(near.double() < edges, near.nextafter(near.new_full((), torch.inf)), near)


def _check_edges(floor_iou: float | None, upper: str | float) -> None:
    if floor_iou is not None and not 0.0 <= floor_iou < 1.0:
        raise ValueError(f"floor_iou: expected None or a number in [0, 1), got {floor_iou}")
    if isinstance(upper, str):
        one_of("upper", upper, UPPER_EDGES)
    elif not (floor_iou or 0.0) < upper <= 1.0:
        raise ValueError(f"upper: expected all, negatives, or a number in (floor, 1], got {upper}")
