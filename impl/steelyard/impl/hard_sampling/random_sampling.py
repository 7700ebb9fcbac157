"""Random sampling of a whole batch: fixed shapes, no index lists.

Specification: `steelyard.reference.hard_sampling.random_sampling`.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from steelyard.impl import cpu_operators
from steelyard.impl.checks import count, discrete_tensor, fraction
from steelyard.impl.hard_sampling.keyed_draws import key_tensor, smallest_keys
from steelyard.impl.hard_sampling.samples_in_rows import draw_in_rows, lowest_sample_in_rows
from steelyard.impl.hard_sampling.uniform_draws import count_members, draw_uniformly


class Sample(NamedTuple):
    """Which candidates enter the loss."""

    positive: Tensor
    negative: Tensor


def random_sampling(
    labels: Tensor,
    keys: Tensor | None = None,
    *,
    num_classes: int,
    num_samples: int = 256,
    positive_fraction: float = 0.5,
    negatives_per_positive: float | None = None,
) -> Sample:
    """Draw a sample of each image's candidates, by explicit random keys in [0, 1), or by torch's own random numbers.

    Shapes: `labels` int (..., N) with C = background, -1 = ignore or padding, `keys` float (..., N) -> two bool
    (..., N). Give 64-bit keys where ties would matter: of 10,000 random float32 keys a few are equal. Without keys the
    sample has the same distribution, and costs less than drawing the keys.
    Specification: `steelyard.reference.random_sampling`.
    """
    shape = _shape(labels) if keys is None else key_tensor("keys", keys).shape
    discrete_tensor("labels", labels, shape=shape, of="that of keys")
    count("num_classes", num_classes)
    limits = check_quotas(num_samples, positive_fraction, negatives_per_positive)
    if keys is not None:
        return lowest_sample(labels, keys, num_classes, limits, negatives_per_positive)
    if cpu_operators.used_for(labels):
        return Sample(*draw_in_rows(labels, (num_classes, num_samples, limits[0], negatives_per_positive)))
    members = count_members(labels, num_classes)
    numbers = _quotas(members.size, limits, negatives_per_positive)
    return Sample(*draw_uniformly(labels, num_classes, members, numbers, limits))


def lowest_sample(
    labels: Tensor, values: Tensor, num_classes: int, limits: tuple[int, int], negatives_per_positive: float | None
) -> Sample:
    """The positives and the negatives of each image with the lowest values; `limits` are those of `check_quotas`.

    Shapes: `labels` int (..., N), `values` float (..., N) -> two bool (..., N).
    """
    if cpu_operators.used_for(labels):
        quota = num_classes, limits[1], limits[0], negatives_per_positive
        return Sample(*lowest_sample_in_rows(labels, values, quota))
    numbers = _quotas(count_members(labels, num_classes).size, limits, negatives_per_positive)
    return Sample(
        smallest_keys(values, (labels >= 0) & (labels < num_classes), numbers[..., :1], limit=limits[0]),
        smallest_keys(values, labels == num_classes, numbers[..., 1:], limit=limits[1]),
    )


def check_quotas(num_samples: int, positive_fraction: float, negatives_per_positive: float | None) -> tuple[int, int]:
    """The most positives and negatives of a sample, if these are options of one."""
    count("num_samples", num_samples)
    fraction("positive_fraction", positive_fraction)
    bound = negatives_per_positive
    if bound is not None and not 0.0 <= bound < math.inf:
        raise ValueError(f"negatives_per_positive: expected None or a number >= 0, got {bound}")
    return int(num_samples * positive_fraction), num_samples


def _quotas(sizes: Tensor, limits: tuple[int, int], negatives_per_positive: float | None) -> Tensor:
    """What a sample takes of the foreground and of the background, int (..., 2), of which there are `sizes`."""
    num_positive = sizes[..., :1].clamp(max=limits[0])
    num_negative = sizes[..., 1:].minimum(limits[1] - num_positive)
    if negatives_per_positive is not None:
        most = (negatives_per_positive * num_positive.clamp(min=1).double()).floor().long()
        num_negative = num_negative.minimum(most)
    return torch.cat([num_positive, num_negative], dim=-1)


def _shape(labels: Tensor) -> torch.Size:
    if not isinstance(labels, Tensor) or labels.ndim == 0:
        raise ValueError("labels: expected a tensor of shape (..., N)")
    return labels.shape
