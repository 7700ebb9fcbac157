"""GHM-C: one pass that counts gradient norms, one that weighs the cross entropy, and one backward.

The number of an example's region is never kept: every pass makes it again from the logit, so that all that
outlives a pass is one number a region. Labels, channel numbers and masks are views of the shape of the logits
that own no memory.

Specification: `steelyard.reference.soft_sampling.ghm`.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from steelyard.impl.checks import compute_dtype, count, discrete_tensor, float_tensor, one_of
from steelyard.impl.collectives import summed
from steelyard.impl.slices import in_slices, sum_in_slices
from steelyard.impl.soft_sampling.exact_density import inverse_density_of
from steelyard.impl.soft_sampling.gradient_density import (
    REDUCTIONS,
    GHMLoss,
    HarmonizedLoss,
    coefficient,
    mask_like,
    region_coefficients,
    region_counts,
    window_length,
)

if TYPE_CHECKING:  # builds of torch without distributed exist
    from torch.distributed import ProcessGroup

LINEAR = 40.0  # from here on log(1 + e^x) is x in float64 too


def cross_entropy_gradient_norm(logits: Tensor, targets: Tensor) -> Tensor:
    """Distance of the score from the target.

    Shapes: `logits` float (...,), `targets` bool or int 0/1 (...,) -> (...,); float32 for half inputs.
    Specification: `steelyard.reference.cross_entropy_gradient_norm`.
    """
    logits, targets, one, valid = _elements(logits, targets, None)
    return _gradient_norm(logits, targets, one, valid)


def ghm_classification_loss(  # noqa: PLR0913 - each option is a choice between paper and code
    logits: Tensor,
    targets: Tensor,
    valid: Tensor | None = None,
    state: Tensor | None = None,
    *,
    bins: int = 10,
    norm: str = "nonempty",
    momentum: float | None = None,
    ema: str = "lazy",
    reduction: str = "sum",
    group: "ProcessGroup | None" = None,
) -> GHMLoss:
    """GHM-C with unit regions, counted over all processes of the group: their losses add up to the loss of the whole.

    Shapes: `logits` float (...,), `targets` bool or int 0/1 (...,), `valid` bool (...,), `state` float (bins,)
    -> loss () or (...,), state (bins,); float32 for half inputs.
    Specification: `steelyard.reference.ghm_classification_loss`.
    """
    elements = _elements(logits, targets, valid)
    one_of("reduction", reduction, REDUCTIONS)
    counts = summed(_count(elements, count("bins", bins)), group)
    dtype = compute_dtype(logits)
    table, new_state = region_coefficients(counts, state, dtype, norm=norm, momentum=momentum, ema=ema)
    loss: Tensor = _HarmonizedCrossEntropy.apply(*elements, table, 0.0, reduction == "sum")  # type: ignore[no-untyped-call]
    return GHMLoss(loss, new_state)


def ghm_classification_loss_with_labels(  # noqa: PLR0913 - each option is a choice between paper and code
    logits: Tensor,
    labels: Tensor,
    state: Tensor | None = None,
    *,
    bins: int = 10,
    norm: str = "nonempty",
    momentum: float | None = None,
    ema: str = "lazy",
    reduction: str = "sum",
    group: "ProcessGroup | None" = None,
) -> GHMLoss:
    """GHM-C from one class id an anchor; `group` as in `ghm_classification_loss`.

    Shapes: `logits` float (..., C), `labels` int (...) with C = background, -1 = ignore, `state` float (bins,)
    -> loss () or (..., C), state (bins,); float32 for half inputs.
    Specification: `steelyard.reference.ghm_classification_loss_with_labels`.
    """
    elements = _elements_of_labels(logits, labels)
    one_of("reduction", reduction, REDUCTIONS)
    counts = summed(_count(elements, count("bins", bins)), group)
    dtype = compute_dtype(logits)
    table, new_state = region_coefficients(counts, state, dtype, norm=norm, momentum=momentum, ema=ema)
    loss: Tensor = _HarmonizedCrossEntropy.apply(*elements, table, 0.0, reduction == "sum")  # type: ignore[no-untyped-call]
    return GHMLoss(loss, new_state)


def exact_ghm_classification_loss(
    logits: Tensor, targets: Tensor, valid: Tensor | None = None, *, epsilon: float, reduction: str = "sum"
) -> Tensor:
    """GHM-C with the exact gradient density.

    Shapes: `logits` float (...,), `targets` bool or int 0/1 (...,), `valid` bool (...,) -> () or (...,).
    From 262,144 elements on, a sixteenth is sorted at a time for the sake of memory (compiled: all at once).
    Specification: `steelyard.reference.exact_ghm_classification_loss`.
    """
    elements = _elements(logits, targets, valid)
    one_of("reduction", reduction, REDUCTIONS)
    length = window_length(epsilon)
    loss: Tensor = _HarmonizedCrossEntropy.apply(*elements, None, length, reduction == "sum")  # type: ignore[no-untyped-call]
    return loss


class GHMClassificationLoss(HarmonizedLoss):
    """`ghm_classification_loss` with its moving average.

    Shapes: `logits` float (..., C); `targets` bool or int 0/1 (..., C) with `valid` bool (..., C), or labels int (...).
    Specification: `steelyard.reference.ghm_classification_loss`, `steelyard.reference.moving_average_counts`.
    """

    def forward(self, logits: Tensor, targets: Tensor, valid: Tensor | None = None) -> Tensor:
        """The loss, a scalar."""
        if targets.ndim == logits.ndim:
            return self._keep_state(ghm_classification_loss(logits, targets, valid, self.state, **self._options))
        if valid is not None:
            raise ValueError("valid: expected None beside labels, whose -1 says ignore")
        return self._keep_state(ghm_classification_loss_with_labels(logits, targets, self.state, **self._options))


_Elements = tuple[Tensor, Tensor, Tensor, Tensor]
"""Logits, targets, the target that means positive, and the mask, all of one shape."""


class _HarmonizedCrossEntropy(torch.autograd.Function):
    """Keeps its inputs only. Coefficients: one a region; or none, and those of the exact density are made anew."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        logits: Tensor,
        targets: Tensor,
        positive: Tensor,
        valid: Tensor,
        coefficients: Tensor | None,
        epsilon: float,
        summed: bool,  # noqa: FBT001 - autograd passes everything by position
    ) -> Tensor:
        def terms(logits: Tensor, targets: Tensor, positive: Tensor, valid: Tensor, *by_element: Tensor) -> Tensor:
            x = _log_odds_of_error(logits, targets, positive, valid)
            return coefficient(x.sigmoid(), coefficients, by_element) * softplus(x, threshold=LINEAR)

        elements = (logits, targets, positive, valid)
        by_element = _by_element(elements, coefficients, epsilon)
        if summed:
            return sum_in_slices(lambda *part: terms(*part).sum(), *elements, *by_element)
        return in_slices(terms, *elements, *by_element, shared=logits.ndim, out=by_element[0] if by_element else None)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401, ARG004
        *tensors, ctx.epsilon, _ = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        logits, targets, positive, valid, coefficients = ctx.saved_tensors

        def gradient(
            logits: Tensor, targets: Tensor, positive: Tensor, valid: Tensor, grad: Tensor, *by_element: Tensor
        ) -> Tensor:
            g = _log_odds_of_error(logits, targets, positive, valid).sigmoid()
            g = grad * coefficient(g, coefficients, by_element) * g  # one name: frees the other temporaries
            return torch.where(targets == positive, -g, g).to(logits.dtype)

        elements = (logits, targets, positive, valid)
        by_element = _by_element(elements, coefficients, ctx.epsilon)
        tensors = (*elements, grad.expand(logits.shape), *by_element)
        out = by_element[0] if by_element else None
        return in_slices(gradient, *tensors, shared=logits.ndim, out=out), *[None] * 6


def _gradient_norm(*elements: Tensor) -> Tensor:
    return torch.sigmoid(_log_odds_of_error(*elements))


def _by_element(elements: _Elements, coefficients: Tensor | None, epsilon: float) -> tuple[Tensor, ...]:
    """Coefficient of every element by the exact density, where no region has one."""
    if coefficients is not None:
        return ()
    dtype = compute_dtype(elements[0])
    return (inverse_density_of(_gradient_norm, *elements, dtype=dtype, epsilon=epsilon),)


def _count(elements: _Elements, bins: int) -> Tensor:
    def count_part(logits: Tensor, targets: Tensor, positive: Tensor, valid: Tensor) -> Tensor:
        return region_counts(_gradient_norm(logits, targets, positive, valid), valid, bins)

    with torch.no_grad():
        return sum_in_slices(count_part, *elements)


def _log_odds_of_error(logits: Tensor, targets: Tensor, positive: Tensor, valid: Tensor) -> Tensor:
    """The logit, negated for positives. -inf where not an example: certainly right, so loss 0 and gradient 0."""
    x = logits.to(compute_dtype(logits))
    return torch.where(valid, torch.where(targets == positive, -x, x), -torch.inf)


def _elements(logits: Tensor, targets: Tensor, valid: Tensor | None) -> _Elements:
    float_tensor("logits", logits)
    discrete_tensor("targets", targets, shape=logits.shape, of="that of logits")
    one = torch.ones((), dtype=targets.dtype, device=logits.device).expand(logits.shape)
    return logits, targets, one, mask_like(logits, valid, of="logits")


def _elements_of_labels(logits: Tensor, labels: Tensor) -> _Elements:
    float_tensor("logits", logits)
    if logits.ndim == 0:
        raise ValueError("logits: expected shape (..., C), got ()")
    discrete_tensor("labels", labels, shape=logits.shape[:-1], of="that of logits without its class axis")
    channel = torch.arange(logits.shape[-1], device=logits.device).expand(logits.shape)
    label = labels.unsqueeze(-1)
    return logits, label.expand(logits.shape), channel, (label != -1).expand(logits.shape)
