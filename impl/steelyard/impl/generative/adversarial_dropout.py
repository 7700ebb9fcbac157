"""Adversarial spatial dropout of a whole batch: the mask drawn, the reward, the loss of the adversary.

Specification: `steelyard.reference.generative.adversarial_dropout`.
"""

import torch
from torch import Tensor

from steelyard.impl.checks import compute_dtype, count, discrete_tensor, float_tensor, fraction
from steelyard.impl.hard_sampling.keyed_draws import smallest_keys
from steelyard.impl.soft_sampling.error_logit import focal_value


def adversarial_dropout_mask(
    probabilities: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    num_classes: int,
    num_candidates: int = 20,
    num_dropped: int = 15,
) -> Tensor:
    """Draw `num_dropped` of the `num_candidates` cells of each positive that the adversary would block first.

    Shapes: `probabilities` and `keys` float (P, D, D), `labels` int (P,) -> bool (P, D, D), True = blocked.
    Specification: `steelyard.reference.adversarial_dropout_mask`.
    """
    _check_grid("probabilities", probabilities)
    discrete_tensor("labels", labels, shape=probabilities.shape[:1], of="one of each of probabilities")
    float_tensor("keys", keys, shape=probabilities.shape, of="that of probabilities")
    count("num_classes", num_classes)
    count("num_candidates", num_candidates, low=0)
    if not 0 <= num_dropped <= num_candidates:
        raise ValueError(f"num_dropped: expected an int in [0, {num_candidates}], the candidates, got {num_dropped}")

    cells = probabilities.flatten(1)
    order = cells.sort(dim=-1, descending=True, stable=True).indices
    first = (torch.arange(cells.shape[-1], device=cells.device) < num_candidates).expand(cells.shape)
    foreground = (labels >= 0) & (labels < num_classes)
    candidates = torch.zeros_like(cells, dtype=torch.bool).scatter(-1, order, first) & foreground[:, None]
    number = torch.full((1, 1), num_dropped, device=cells.device)
    return smallest_keys(keys.flatten(1), candidates, number).reshape(probabilities.shape)


def dropout_is_rewarded(
    before: Tensor, after: Tensor, labels: Tensor, *, num_classes: int, margin: float = 0.1
) -> Tensor:
    """Foreground whose probability of the true class fell by more than the margin.

    Shapes: `before` and `after` float (P,), `labels` int (P,) -> bool (P,).
    Specification: `steelyard.reference.dropout_is_rewarded`.
    """
    float_tensor("before", before)
    if before.ndim != 1:
        raise ValueError(f"before: expected shape (P,), got {tuple(before.shape)}")
    float_tensor("after", after, shape=before.shape, of="that of before")
    discrete_tensor("labels", labels, shape=before.shape, of="that of before")
    count("num_classes", num_classes)
    fraction("margin", margin)
    # compared with the margin in 64 bits, so that the answer at the margin is the oracle's
    return (labels >= 0) & (labels < num_classes) & (before.double() - after.double() > margin)


def dropout_mask_loss(logits: Tensor, targets: Tensor, rewarded: Tensor) -> Tensor:
    """Binary cross entropy of the cells of the rewarded RoIs, over the number of the cells of all.

    Shapes: `logits` float (P, D, D), `targets` bool or int 0/1 (P, D, D), `rewarded` bool (P,) -> ().
    Specification: `steelyard.reference.dropout_mask_loss`.
    """
    _check_grid("logits", logits)
    discrete_tensor("targets", targets, shape=logits.shape, of="that of logits")
    discrete_tensor("rewarded", rewarded, shape=logits.shape[:1], of="one of each of logits")
    left_out = (rewarded == 0)[:, None, None]
    # before the logarithm: what is left out must not bring NaN into the gradient either
    f = logits.to(compute_dtype(logits)).masked_fill(left_out, 0.0)
    losses = focal_value(torch.where(targets == 1, -f, f), 0.0).masked_fill(left_out, 0.0)
    return losses.sum() / max(logits.numel(), 1)


def _check_grid(name: str, value: Tensor) -> None:
    float_tensor(name, value)
    if value.ndim != 3 or value.shape[1] != value.shape[2]:
        raise ValueError(f"{name}: expected shape (P, D, D), got {tuple(value.shape)}")
