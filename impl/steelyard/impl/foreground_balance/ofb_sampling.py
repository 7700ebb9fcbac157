"""Online foreground balanced sampling of a whole batch: one scatter, one gather, one sort.

Specification: `steelyard.reference.foreground_balance.ofb_sampling`.
"""

import torch
from torch import Tensor

from steelyard.impl.checks import count, discrete_tensor
from steelyard.impl.hard_sampling.keyed_draws import key_tensor


def foreground_balanced_sampling(labels: Tensor, keys: Tensor, *, num_classes: int, num_expected: int) -> Tensor:
    """Draw positives with the same total probability for every class present, by explicit random keys in [0, 1).

    Shapes: `labels` int (..., N) with C = background, -1 = ignore or padding, `keys` float (..., N) -> bool (..., N).
    Specification: `steelyard.reference.foreground_balanced_sampling`.
    """
    key_tensor("keys", keys)
    discrete_tensor("labels", labels, shape=keys.shape, of="that of keys")
    count("num_classes", num_classes)
    if num_expected < 0:
        raise ValueError(f"num_expected: expected an int >= 0, got {num_expected}")

    foreground = (labels >= 0) & (labels < num_classes)
    slot = labels.long().where(foreground, num_classes)
    sizes = torch.zeros((*labels.shape[:-1], num_classes + 1), dtype=torch.float64, device=labels.device)
    sizes = sizes.scatter_add(-1, slot, foreground.double())
    # the exponential clocks of classes of different sizes are compared: 64 bits, so that the order is the oracle's
    clocks = -sizes.gather(-1, slot) * torch.log1p(-keys.double())
    order = clocks.masked_fill(~foreground, torch.inf).sort(dim=-1, stable=True).indices
    first = (torch.arange(keys.shape[-1], device=keys.device) < num_expected).expand(keys.shape)
    return torch.zeros_like(foreground).scatter(-1, order, first) & foreground
