"""The softmax of all channels but a row's own, whose sum keeps its digits where the own share is near 1.

An exp of every channel in each pass, and one in a row mended. Eager, nothing of the logits' size is copied; three
numbers of a row are kept, which spare the backward pass the search for the highest and the sum.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from steelyard.impl.checks import compute_dtype
from steelyard.impl.slices import in_slices


def sums_besides_own(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The highest logit (a constant), the sum of exp(z - highest) but for the own channel, and own logit - highest.

    Shapes: `logits` float (..., K), `labels` int (...), -1 = ignore -> three (..., 1); float32 for half inputs.
    """

    def sums(logits: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        z, own = logits.to(compute_dtype(logits)), _own_channel(labels)
        highest = z.detach().amax(dim=-1, keepdim=True)
        below = z.gather(-1, own) - highest
        e = exp_besides_own(z, highest, own, below) if in_place() else besides_own(own, (z - highest).exp())
        return highest, e.sum(dim=-1, keepdim=True), below

    highest, others, below = in_slices(sums, logits, labels, shared=labels.ndim)
    return highest, others, below


def by_logits(logits: Tensor, labels: Tensor, sums: Sequence[Tensor], by_margin: Tensor) -> Tensor:
    """From the derivatives by the margins of the others over the own logit, log(others) - below, those by the logits.

    They rise with the softmax of the others and fall with the own one; 0 where ignored, whatever stands there.
    Shapes: `logits` (..., K), `labels` int (...), the `sums` besides the own channel, `by_margin` (...) -> (..., K).
    """

    def rows(logits: Tensor, labels: Tensor, by_margin: Tensor, *sums: Tensor) -> Tensor:
        highest, others, below = sums
        own = _own_channel(labels)
        others = others.masked_fill((labels == -1).unsqueeze(-1), 1.0).clamp(min=torch.finfo(others.dtype).tiny)
        by_exp = by_margin.unsqueeze(-1) / others
        of_own = -others * by_exp  # of floats alone: what made them would be repeated in a compiled loop
        if in_place():
            # NaN where a row is ignored; where it counts, its sum and so both numbers are NaN too
            e = exp_besides_own(logits.to(others.dtype), highest, own, below, by_exp)
            e = torch.nan_to_num(e, nan=0.0)
            return e.mul_(by_exp).scatter_add_(-1, own, of_own).to(logits.dtype)
        z = logits.to(others.dtype)
        elsewhere = torch.where(by_exp == 0, 0.0, (z - highest).exp() * by_exp)
        return torch.where(is_own(own, z), of_own, elsewhere).to(logits.dtype)

    return in_slices(rows, logits, labels, by_margin, *sums, shared=labels.ndim)


def _own_channel(labels: Tensor) -> Tensor:
    return labels.clamp(min=0).to(torch.int64).unsqueeze(-1)


def in_place() -> bool:
    """Whether tensors of our own may be changed in place, and nothing is compiled."""
    return not (torch.compiler.is_compiling() or torch.is_grad_enabled())


def exp_besides_own(z: Tensor, highest: Tensor, own: Tensor, below: Tensor, *mapped_with: Tensor) -> Tensor:
    """exp(z - highest), 0 in the own channel, which is `below` the highest; a tensor that may be changed in place.

    Shapes: `z` (..., K); the others (..., 1), `own` int64 -> (..., K). What is mapped over by `vmap` in `below` or
    the further numbers of rows is mapped over in the result, which may therefore be combined with them in place.
    """
    at_own = below.exp()
    for number in (at_own, *mapped_with):
        highest = torch.add(highest, number, alpha=0)
    # exactly 0 if it is the highest one; else a rounding beside others that add up to more than 1
    return (z - highest).exp_().scatter_add_(-1, own, -at_own)


def is_own(own: Tensor, values: Tensor) -> Tensor:
    """Where a row's own channel is. Comparisons are fused by a compiler, and a scatter is not.

    Shapes: `own` float or int (..., 1), `values` (..., K) -> bool (..., K).
    """
    # as floats: a loop of which all is of one type is a loop over vectors to its end
    return own.to(values.dtype) == torch.arange(values.shape[-1], dtype=values.dtype, device=values.device)


def at_own(own: Tensor, values: Tensor) -> Tensor:
    """The values there, and 0 besides."""
    return torch.where(is_own(own, values), values, 0.0)


def besides_own(own: Tensor, values: Tensor) -> Tensor:
    """The values besides, and 0 there."""
    return torch.where(is_own(own, values), 0.0, values)
