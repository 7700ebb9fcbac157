"""Prior-probability initialisation of a classification head.

Specification: `steelyard.reference.soft_sampling.prior_probability`.
"""

import math

import torch
from torch import Tensor


def prior_probability_bias(prior: float = 0.01) -> float:
    """Bias of a sigmoid head that starts every class at probability `prior`.

    For `torch.nn.init.constant_`. Specification: `steelyard.reference.prior_probability_bias`.
    """
    _check_prior(prior)
    return math.log(prior) - math.log1p(-prior)


def softmax_prior_probability_bias(
    num_classes: int, *, prior: float = 0.01, dtype: torch.dtype = torch.float64, device: torch.device | None = None
) -> Tensor:
    """Biases of a softmax head whose background, the last channel, starts at 1 - `prior`.

    Shapes: -> (C + 1,). Specification: `steelyard.reference.softmax_prior_probability_bias`.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes: expected an int >= 1, got {num_classes}")
    _check_prior(prior)
    background = math.log(num_classes) - prior_probability_bias(prior)
    is_background = torch.arange(num_classes + 1, device=device) == num_classes
    return torch.zeros(num_classes + 1, dtype=dtype, device=device).masked_fill(is_background, background)


def _check_prior(prior: float) -> None:
    if not 0.0 < prior < 1.0:
        raise ValueError(f"prior: expected a number strictly between 0 and 1, got {prior}")
