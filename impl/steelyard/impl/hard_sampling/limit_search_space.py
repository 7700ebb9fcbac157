"""Candidates of little objectness left out, for a whole batch: one comparison, nothing is compacted.

Specification: `steelyard.reference.hard_sampling.limit_search_space`.
"""

import torch
from torch import Tensor

from steelyard.impl.checks import count, discrete_tensor, float_tensor, fraction
from steelyard.impl.hard_sampling.keyed_draws import key_tensor, smallest_keys
from steelyard.impl.hard_sampling.random_sampling import Sample


def objectness_filter(
    labels: Tensor,
    objectness: Tensor,
    *,
    num_classes: int,
    threshold: float = 0.01,
    keep_positives: bool = True,
) -> Tensor:
    """Labels with -1 in the place of those whose objectness is below the threshold.

    Shapes: `labels` int (...), `objectness` float (...), probabilities -> int64 (...).
    Specification: `steelyard.reference.objectness_filter`.
    """
    float_tensor("objectness", objectness)
    discrete_tensor("labels", labels, shape=objectness.shape, of="that of objectness")
    count("num_classes", num_classes)
    kept = _kept(objectness, threshold)
    if keep_positives:
        kept = kept | (labels != num_classes)
    return torch.where(kept, labels.long(), -1)


def objectness_filter_scores(scores: Tensor, objectness: Tensor, *, threshold: float = 0.01) -> Tensor:
    """Class scores at test time: below the threshold 1 for the background, 0 for all others.

    Shapes: `scores` float (..., C + 1), the background last, `objectness` float (...) -> (..., C + 1).
    Specification: `steelyard.reference.objectness_filter_scores`.
    """
    float_tensor("scores", scores)
    if scores.ndim == 0 or scores.shape[-1] == 0:
        raise ValueError(f"scores: expected shape (..., C + 1), got {tuple(scores.shape)}")
    float_tensor("objectness", objectness, shape=scores.shape[:-1], of="that of scores without the last axis")
    background = torch.arange(scores.shape[-1], device=scores.device) == scores.shape[-1] - 1
    return torch.where(_kept(objectness, threshold).unsqueeze(-1), scores, background.to(scores.dtype))


def objectness_prior_sampling(
    labels: Tensor,
    objectness: Tensor,
    keys: Tensor,
    *,
    num_classes: int,
    threshold: float = 0.03,
    positive_fraction: float = 0.25,
    negatives_without_positives: int = 256,
) -> Sample:
    """All positives that the objectness prior keeps, and random negatives in proportion, by keys in [0, 1).

    Shapes: `labels` int (..., N) with C = background, -1 = ignore or padding, `objectness`, `keys` float (..., N)
    -> two bool (..., N).
    Specification: `steelyard.reference.objectness_prior_sampling`.
    """
    key_tensor("keys", keys)
    float_tensor("objectness", objectness, shape=keys.shape, of="that of keys")
    left = objectness_filter(labels, objectness, num_classes=num_classes, threshold=threshold, keep_positives=False)
    if not 0.0 < positive_fraction <= 1.0:
        raise ValueError(f"positive_fraction: expected a number in (0, 1], got {positive_fraction}")
    count("negatives_without_positives", negatives_without_positives, low=0)

    positive = (left >= 0) & (left < num_classes)
    num_positive = positive.sum(dim=-1, keepdim=True)
    number = (num_positive.double() * (1.0 - positive_fraction) / positive_fraction).ceil().long()
    number = torch.where(num_positive > 0, number, negatives_without_positives)
    return Sample(positive, smallest_keys(keys, left == num_classes, number))


def _kept(objectness: Tensor, threshold: float) -> Tensor:
    """In the threshold's own format: a float32 has no 0.03."""
    return objectness.double() >= fraction("threshold", threshold)
