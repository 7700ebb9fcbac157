"""One round of bootstrapping for many pools at once; the rounds themselves are a loop around a training.

Specification: `steelyard.reference.hard_sampling.bootstrapping`.
"""

import math

import torch
from torch import Tensor

from steelyard.impl.checks import count, discrete_tensor, float_tensor
from steelyard.impl.hard_sampling.hard_negative_mining import hardest


def mine_false_positives(
    scores: Tensor, held: Tensor, *, add_threshold: float = 0.0, max_new: int | None = None
) -> Tensor:
    """The hardest false positives that are no negatives yet; none, where the classifier has converged.

    Shapes: `scores` float (..., M), `held` bool (..., M), True for negatives and for padding -> bool (..., M).
    Specification: `steelyard.reference.mine_false_positives`.
    """
    found = _false_positives(scores, held, add_threshold)
    return found if max_new is None else hardest(scores, found, _at_most(max_new, found))


def mine_random_false_positives(
    scores: Tensor, held: Tensor, keys: Tensor, *, add_threshold: float = 0.0, max_new: int | None = 250
) -> Tensor:
    """A random subset of the false positives that are no negatives yet, by explicit random keys in [0, 1).

    Shapes: `scores`, `keys` float (..., M), `held` bool (..., M), True for negatives and for padding -> bool (..., M).
    Specification: `steelyard.reference.mine_random_false_positives`.
    """
    found = _false_positives(scores, held, add_threshold)
    float_tensor("keys", keys, shape=scores.shape, of="that of scores")
    return found if max_new is None else hardest(-keys, found, _at_most(max_new, found))


def _false_positives(scores: Tensor, held: Tensor, add_threshold: float) -> Tensor:
    if float_tensor("scores", scores).ndim == 0:
        raise ValueError("scores: expected shape (..., M), got ()")
    discrete_tensor("held", held, shape=scores.shape, of="that of scores")
    if not -math.inf < add_threshold < math.inf:
        raise ValueError(f"add_threshold: expected a finite number, got {add_threshold}")
    return (scores.detach() > add_threshold) & ~held.to(torch.bool)


def _at_most(max_new: int, group: Tensor) -> Tensor:
    return torch.full((1,), count("max_new", max_new), device=group.device)
