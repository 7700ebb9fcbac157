"""Random sampling of a whole batch by sorted keys: fixed shapes, no index lists.

Specification: `steelyard.reference.hard_sampling.random_sampling`.
"""

import math
from typing import NamedTuple

from torch import Tensor

from steelyard.impl.checks import count, discrete_tensor, fraction
from steelyard.impl.hard_sampling.keyed_draws import key_tensor, smallest_keys


class Sample(NamedTuple):
    """Which candidates enter the loss."""

    positive: Tensor
    negative: Tensor


class Quotas(NamedTuple):
    """Who may be sampled, bool (..., N), and how many of them are, int (..., 1)."""

    foreground: Tensor
    background: Tensor
    num_positive: Tensor
    num_negative: Tensor


def random_sampling(
    labels: Tensor,
    keys: Tensor,
    *,
    num_classes: int,
    num_samples: int = 256,
    positive_fraction: float = 0.5,
    negatives_per_positive: float | None = None,
) -> Sample:
    """Draw a sample of each image's candidates, by explicit random keys in [0, 1).

    Shapes: `labels` int (..., N) with C = background, -1 = ignore or padding, `keys` float (..., N) -> two bool
    (..., N). Give 64-bit keys where ties would matter: of 10,000 random float32 keys a few are equal.
    Specification: `steelyard.reference.random_sampling`.
    """
    key_tensor("keys", keys)
    discrete_tensor("labels", labels, shape=keys.shape, of="that of keys")
    groups = quotas(labels, num_classes, num_samples, positive_fraction, negatives_per_positive)
    return Sample(
        smallest_keys(keys, groups.foreground, groups.num_positive),
        smallest_keys(keys, groups.background, groups.num_negative),
    )


def quotas(
    labels: Tensor,
    num_classes: int,
    num_samples: int,
    positive_fraction: float,
    negatives_per_positive: float | None,
) -> Quotas:
    """Both groups of each image and what a sample takes of them."""
    count("num_classes", num_classes)
    count("num_samples", num_samples)
    fraction("positive_fraction", positive_fraction)
    bound = negatives_per_positive
    if bound is not None and not 0.0 <= bound < math.inf:
        raise ValueError(f"negatives_per_positive: expected None or a number >= 0, got {bound}")

    foreground = (labels >= 0) & (labels < num_classes)
    num_positive = foreground.sum(dim=-1, keepdim=True).clamp(max=int(num_samples * positive_fraction))
    background = labels == num_classes
    num_negative = background.sum(dim=-1, keepdim=True).minimum(num_samples - num_positive)
    if bound is not None:
        num_negative = num_negative.minimum((bound * num_positive.clamp(min=1).double()).floor().long())
    return Quotas(foreground, background, num_positive, num_negative)
