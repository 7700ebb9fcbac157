"""Repeat-factor sampling: scatters over the incidence of classes and images.

Specification: `steelyard.reference.foreground_balance.repeat_factor_sampling`.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from steelyard.impl.checks import count, discrete_tensor, float_tensor, non_negative, one_of
from steelyard.impl.collectives import summed

if TYPE_CHECKING:  # builds of torch without distributed exist
    from torch.distributed import ProcessGroup

ROUNDINGS = ("stochastic", "ceil")


def image_repeat_factors(
    labels: Tensor,
    *,
    num_classes: int,
    threshold: float = 0.001,
    square_root: bool = True,
    group: "ProcessGroup | None" = None,
) -> Tensor:
    """How often each image of a data set is to come in an epoch, on average.

    Frequencies are those in the images of all processes of the group.

    Shapes: `labels` int (N, M), -1 fills up -> float64 (N,). Memory: N M, never N C.
    Specification: `steelyard.reference.image_repeat_factors`.
    """
    discrete_tensor("labels", labels, shape=labels.shape, of="its own")
    if labels.ndim != 2:
        raise ValueError(f"labels: expected shape (N, M), got {tuple(labels.shape)}")
    count("num_classes", num_classes)
    non_negative("threshold", threshold)

    slot = labels.long().where(labels >= 0, num_classes).sort(dim=1).values
    first_of_its_class = torch.ones_like(slot, dtype=torch.bool)
    first_of_its_class[:, 1:] = slot[:, 1:] != slot[:, :-1]
    images = torch.zeros(num_classes + 1, dtype=torch.float64, device=labels.device)
    images = images.index_add(0, slot.flatten(), first_of_its_class.flatten().double())
    number = images.new_full((1,), labels.shape[0])  # of all images, in the place of those without a class
    images = summed(torch.cat([images[:num_classes], number]), group)
    ratio = threshold * images[num_classes] / images
    factor = (ratio.sqrt() if square_root else ratio).clamp(min=1.0)
    ones = torch.ones((labels.shape[0], 1), dtype=torch.float64, device=labels.device)
    return torch.cat([ones, factor[slot].where(slot < num_classes, 1.0)], dim=1).amax(dim=1)


def repeat_counts(repeat_factors: Tensor, keys: Tensor, *, rounding: str = "stochastic") -> Tensor:
    """How often each image comes in one epoch, by explicit random keys in [0, 1).

    Shapes: `repeat_factors` float (N,), `keys` float (N,) -> int64 (N,).
    Specification: `steelyard.reference.repeat_counts`.
    """
    float_tensor("repeat_factors", repeat_factors)
    if repeat_factors.ndim != 1:
        raise ValueError(f"repeat_factors: expected shape (N,), got {tuple(repeat_factors.shape)}")
    float_tensor("keys", keys, shape=repeat_factors.shape, of="that of repeat_factors")
    one_of("rounding", rounding, ROUNDINGS)

    factor = repeat_factors.double()
    whole = factor.floor()
    once_more = factor.ceil() > whole if rounding == "ceil" else keys.double() < factor - whole
    return whole.long() + once_more.long()


def repeated_images(counts: Tensor, keys: Tensor) -> Tensor:
    """The order of one epoch, by explicit random keys; its length is that of `keys`, so nothing waits for the device.

    Shapes: `counts` int (N,), `keys` float (sum of counts,) -> int64 (sum of counts,).
    Specification: `steelyard.reference.repeated_images`.
    """
    discrete_tensor("counts", counts, shape=counts.shape, of="its own")
    float_tensor("keys", keys)
    if counts.ndim != 1 or keys.ndim != 1:
        raise ValueError(f"counts, keys: expected one axis each, got {tuple(counts.shape)} and {tuple(keys.shape)}")
    images = torch.arange(counts.shape[0], device=counts.device)
    places = images.repeat_interleave(counts.long(), output_size=keys.shape[0])
    return places[keys.argsort(stable=True)]
