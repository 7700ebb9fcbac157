"""The positive RoI generator of a whole batch: slots of objects by sums, IoUs by bins, all boxes at once.

Specification: `steelyard.reference.generative.positive_rois`.
"""

import torch
from torch import Tensor

from steelyard.impl.checks import compute_dtype, count, discrete_tensor, float_tensor, one_of
from steelyard.impl.detection.box_overlaps import iou_of
from steelyard.impl.detection.boxes import clip_boxes, size_tensor
from steelyard.impl.generative.box_generator import boxes_in_64_bits, tries_tensor
from steelyard.impl.hard_sampling.keyed_draws import key_tensor, smallest_keys

ALLOCATIONS = ("random", "quota")


def iou_bin_quotas(weights: Tensor, *, num_rois: int) -> Tensor:
    """How many boxes of each bin of IoU, in proportion to the weights: the largest remainders round up.

    Shapes: `weights` float (J,) -> int (J,), whose sum is `num_rois`.
    Specification: `steelyard.reference.iou_bin_quotas`.
    """
    weight = _weight_tensor(weights).double()
    count("num_rois", num_rois, low=0)

    share = num_rois * weight / weight.cumsum(0)[-1]
    quota = share.floor()
    order = (quota - share).sort(stable=True).indices
    missing = num_rois - quota.sum()
    extra = torch.arange(len(weights), device=weights.device) < missing
    return quota.long() + torch.zeros_like(extra).scatter(0, order, extra)


def requested_ious(
    bin_edges: Tensor,
    weights: Tensor,
    bin_keys: Tensor,
    position_keys: Tensor,
    *,
    allocation: str = "random",
    highest: float = 0.95,
) -> Tensor:
    """The IoU asked of each box: a bin in proportion to its weight, then a uniform place in it.

    Shapes: `bin_edges` float (J + 1,), `weights` float (J,), keys float (..., n) -> (..., n); float32 for half keys.
    Specification: `steelyard.reference.requested_ious`.
    """
    key_tensor("bin_keys", bin_keys)
    float_tensor("position_keys", position_keys, shape=bin_keys.shape, of="that of bin_keys")
    asked = _asked(bin_edges, weights, bin_keys, position_keys, allocation=allocation, highest=highest)
    return asked.to(compute_dtype(position_keys))


def instance_slots(labels: Tensor, *, num_classes: int, num_rois: int) -> Tensor:
    """How many boxes each object is to have before the surplus is dropped: alike for classes, then for objects.

    Shapes: `labels` int (..., M) with C = background, -1 = ignore or padding -> int (..., M).
    Specification: `steelyard.reference.instance_slots`.
    """
    if not isinstance(labels, Tensor) or labels.ndim == 0:
        raise ValueError("labels: expected a tensor of shape (..., M)")
    discrete_tensor("labels", labels, shape=labels.shape, of="its own")
    count("num_classes", num_classes)
    count("num_rois", num_rois, low=0)

    foreground = (labels >= 0) & (labels < num_classes)
    place = labels.long().where(foreground, num_classes)
    sizes = torch.zeros((*labels.shape[:-1], num_classes + 1), dtype=torch.int64, device=labels.device)
    sizes = sizes.scatter_add(-1, place, foreground.long())
    present = (sizes > 0).sum(dim=-1, keepdim=True).clamp(min=1)
    of_class = (num_rois + present - 1) // present
    own = sizes.gather(-1, place).clamp(min=1)
    return ((of_class + own - 1) // own).masked_fill(~foreground, 0)


def generate_positive_rois(  # noqa: PLR0913, PLR0917 - one tensor of keys for each random choice
    gt_boxes: Tensor,
    gt_labels: Tensor,
    image_size: Tensor,
    bin_edges: Tensor,
    weights: Tensor,
    slot_keys: Tensor,
    bin_keys: Tensor,
    position_keys: Tensor,
    coin_keys: Tensor,
    first_keys: Tensor,
    second_keys: Tensor,
    *,
    num_classes: int,
    allocation: str = "random",
    highest: float = 0.95,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Boxes around the objects of each image, balanced over classes, their IoUs, those asked for, numbers, classes.

    Shapes: `gt_boxes` float (B, M, 4), `gt_labels` int (B, M), `image_size` (B, 2), `slot_keys` float (B, n + M),
    `bin_keys`, `position_keys`, `coin_keys` float (B, n), `first_keys`, `second_keys` float (B, n, R, 2) -> (B, n, 4)
    and four of (B, n). Specification: `steelyard.reference.generate_positive_rois`.
    """
    float_tensor("gt_boxes", gt_boxes)
    if gt_boxes.ndim != 3 or gt_boxes.shape[-1] != 4:
        raise ValueError(f"gt_boxes: expected shape (B, M, 4), got {tuple(gt_boxes.shape)}")
    images, objects = gt_boxes.shape[:2]
    discrete_tensor("gt_labels", gt_labels, shape=gt_boxes.shape[:2], of="one of each of gt_boxes")
    float_tensor("coin_keys", coin_keys)
    if coin_keys.ndim != 2 or len(coin_keys) != images:
        raise ValueError(f"coin_keys: expected shape ({images}, n), got {tuple(coin_keys.shape)}")
    n = coin_keys.shape[1]
    float_tensor("slot_keys", slot_keys, shape=torch.Size((images, n + objects)), of="one of each slot")
    float_tensor("bin_keys", bin_keys, shape=coin_keys.shape, of="that of coin_keys")
    float_tensor("position_keys", position_keys, shape=coin_keys.shape, of="that of coin_keys")
    tries_tensor("first_keys", first_keys, coin_keys.shape)
    tries_tensor("second_keys", second_keys, coin_keys.shape)

    size = size_tensor("image_size", image_size, torch.float64)
    clipped = clip_boxes(gt_boxes.double(), size)
    usable = (clipped[..., 2:] > clipped[..., :2]).all(dim=-1)
    slots = instance_slots(torch.where(usable, gt_labels.long(), -1), num_classes=num_classes, num_rois=n)
    number, found = _owners(slots, slot_keys, n)
    # one more object, of which an image without any takes its boxes
    ours = number.where(found, objects)
    own_box = torch.cat([clipped, clipped.new_zeros(images, 1, 4)], dim=1)
    own_box = own_box.gather(1, ours[..., None].expand(images, n, 4))
    nothing = torch.full((images, 1), -1, dtype=torch.int64, device=gt_labels.device)
    own_label = torch.cat([gt_labels.long(), nothing], dim=1).gather(1, ours)

    asked = _asked(bin_edges, weights, bin_keys, position_keys, allocation=allocation, highest=highest)
    drawn, _ = boxes_in_64_bits(own_box, asked, coin_keys, first_keys, second_keys)
    drawn = clip_boxes(drawn, size)
    dtype = compute_dtype(gt_boxes)
    asked = asked.masked_fill(~found, 0.0)
    return drawn.to(dtype), iou_of(drawn, own_box).to(dtype), asked.to(dtype), number.where(found, -1), own_label


def _owners(slots: Tensor, slot_keys: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Object of each kept slot, (B, n), and whether there is one: slots stand object by object."""
    end = slots.cumsum(dim=-1)
    total = slots.sum(dim=-1, keepdim=True)
    place = torch.arange(slot_keys.shape[-1], device=slots.device).expand(slot_keys.shape)
    kept = smallest_keys(slot_keys, place < total, torch.full_like(total, n))
    kept_place = (~kept).byte().sort(dim=-1, stable=True).indices[..., :n]
    owner = torch.searchsorted(end, kept_place.contiguous(), right=True)
    return owner, (total > 0).expand(owner.shape)


def _asked(
    bin_edges: Tensor, weights: Tensor, bin_keys: Tensor, position_keys: Tensor, *, allocation: str, highest: float
) -> Tensor:
    """`requested_ious` in 64 bits."""
    _weight_tensor(weights)
    float_tensor("bin_edges", bin_edges, shape=torch.Size((len(weights) + 1,)), of="one more than of weights")
    one_of("allocation", allocation, ALLOCATIONS)
    if not 0.0 < highest < 1.0:
        raise ValueError(f"highest: expected a number strictly between 0 and 1, got {highest}")

    if allocation == "random":
        level = weights.double().cumsum(0)
        last = (level < level[-1]).sum()  # the product may be rounded up to the end
        place = torch.minimum(torch.searchsorted(level, bin_keys.double() * level[-1], right=True), last)
    else:
        level = iou_bin_quotas(weights, num_rois=bin_keys.shape[-1]).cumsum(0)
        rank = bin_keys.sort(dim=-1, stable=True).indices.argsort(dim=-1)
        place = torch.searchsorted(level, rank, right=True)
    edge = bin_edges.double()
    low, high = edge[place], edge[place + 1]
    return (low + position_keys.double() * (high - low)).clamp(max=highest)


def _weight_tensor(weights: Tensor) -> Tensor:
    float_tensor("weights", weights)
    if weights.ndim != 1 or len(weights) == 0:
        raise ValueError(f"weights: expected shape (J,) with J >= 1, got {tuple(weights.shape)}")
    return weights
