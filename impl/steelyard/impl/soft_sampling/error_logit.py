"""The focal loss and its derivative as functions of the logit u of the error 1 - p_t.

That is the logit itself for negatives, and its opposite for positives. Sigmoid and softmax focal loss, varifocal
loss and quality focal loss of negatives are all this function, at a logit or at a margin. One exp and one log1p
serve the cross entropy, the error and the derivative; all of them keep their relative accuracy where they are tiny.
"""

import torch
from torch import Tensor

SATURATED = 80.0  # log(1 + e^u) is u from here on in float64 too, and e^u does not overflow in float32


def focal_value(u: Tensor, gamma: float) -> Tensor:
    """-(1 - p_t)^gamma log(p_t) with 1 - p_t = sigmoid(u)."""
    odds, tail = _odds_and_tail(u)
    cross_entropy = torch.maximum(tail, u)  # beyond the cut of the odds it is u
    if gamma == 0:
        return cross_entropy
    return _power(odds / (1.0 + odds), gamma) * cross_entropy


def focal_derivative(u: Tensor, gamma: float) -> Tensor:
    """Derivative of `focal_value` with respect to u: (1 - p_t)^gamma (1 - p_t - gamma p_t log p_t)."""
    odds, tail = _odds_and_tail(u)
    p_t = (1.0 + odds).reciprocal()
    error = odds * p_t
    if gamma == 0:
        return error
    return _power(error, gamma) * torch.addcmul(error, tail, p_t, value=gamma)


def indicator(targets: Tensor, dtype: torch.dtype) -> Tensor:
    """1.0 for positives and 0.0 for negatives."""
    if targets.dtype == torch.bool and not torch.compiler.is_compiling():
        targets = targets.view(torch.uint8)  # a bool takes seven times as long to become a float
    return targets.to(dtype)


def _odds_and_tail(u: Tensor) -> tuple[Tensor, Tensor]:
    """Odds of the error, (1 - p_t) / p_t, cut where they would overflow, and log(1 + odds) = -log p_t below the cut."""
    odds = u.clamp(max=SATURATED).exp()
    return odds, odds.log1p()


def _power(error: Tensor, gamma: float) -> Tensor:
    """`error` to the power gamma > 0; the usual one is a product."""
    if gamma == 1:
        return error
    if gamma == 2:
        return error * error
    return torch.exp(gamma * error.clamp(min=torch.finfo(error.dtype).tiny).log())
