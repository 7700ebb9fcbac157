"""GHM-C: one pass that counts gradient norms, one that weighs the cross entropy, and one backward.

The number of an example's region is never kept: every pass makes it again from the logit, so that all that
outlives a pass is one number a region.

Specification: `steelyard.reference.soft_sampling.ghm`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from steelyard.impl.checks import compute_dtype, count, discrete_tensor, float_tensor, one_of
from steelyard.impl.collectives import summed
from steelyard.impl.slices import in_slices, sum_in_slices
from steelyard.impl.soft_sampling.error_logit import focal_value, indicator
from steelyard.impl.soft_sampling.exact_density import sum_with_density, with_density
from steelyard.impl.soft_sampling.gradient_density import (
    REDUCTIONS,
    GHMLoss,
    HarmonizedLoss,
    adds_in_one_order,
    coefficient,
    mask_like,
    region_coefficients,
    region_counts,
    region_counts_and_sums,
    window_length,
)
from steelyard.impl.soft_sampling.own_channel import by_channel

if TYPE_CHECKING:  # builds of torch without distributed exist
    from torch.distributed import ProcessGroup


def cross_entropy_gradient_norm(logits: Tensor, targets: Tensor) -> Tensor:
    """Distance of the score from the target.

    Shapes: `logits` float (...,), `targets` bool or int 0/1 (...,) -> (...,); float32 for half inputs.
    Specification: `steelyard.reference.cross_entropy_gradient_norm`.
    """
    return _gradient_norm(*_elements(logits, targets, None))


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
    return _harmonized(elements, state, bins, norm, momentum, ema, reduction, group)


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
    return _harmonized(elements, state, bins, norm, momentum, ema, reduction, group)


def exact_ghm_classification_loss(
    logits: Tensor, targets: Tensor, valid: Tensor | None = None, *, epsilon: float, reduction: str = "sum"
) -> Tensor:
    """GHM-C with the exact gradient density.

    Shapes: `logits` float (...,), `targets` bool or int 0/1 (...,), `valid` bool (...,) -> () or (...,).
    From 524,288 elements on, a few are sorted at a time for the sake of memory (compiled: all at once).
    Specification: `steelyard.reference.exact_ghm_classification_loss`.
    """
    elements = _elements(logits, targets, valid)
    one_of("reduction", reduction, REDUCTIONS)
    length = window_length(epsilon)
    loss: Tensor = _HarmonizedCrossEntropy.apply(*elements, None, None, length, reduction == "sum")  # type: ignore[no-untyped-call]
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


_Elements = tuple[Tensor, Tensor, Tensor | None]
"""Logits; targets of their shape, or labels of one axis less; and the mask, where there is one."""


def _harmonized(
    elements: _Elements,
    state: Tensor | None,
    bins: int,
    norm: str,
    momentum: float | None,
    ema: str,
    reduction: str,
    group: "ProcessGroup | None",
) -> GHMLoss:
    add_up = one_of("reduction", reduction, REDUCTIONS) == "sum"
    counts, losses = _count(elements, count("bins", bins), with_losses=add_up)
    counts, dtype = summed(counts, group), compute_dtype(elements[0])
    table, new_state = region_coefficients(counts, state, dtype, norm=norm, momentum=momentum, ema=ema)
    loss: Tensor = _HarmonizedCrossEntropy.apply(*elements, table, losses, 0.0, add_up)  # type: ignore[no-untyped-call]
    return GHMLoss(loss, new_state)


class _HarmonizedCrossEntropy(torch.autograd.Function):
    """Keeps its inputs only. Coefficients: one a region; or none, and those of the exact density are made anew."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        logits: Tensor,
        targets: Tensor,
        valid: Tensor | None,
        coefficients: Tensor | None,
        losses: Tensor | None,
        epsilon: float,
        summed: bool,  # noqa: FBT001 - autograd passes everything by position
    ) -> Tensor:
        if coefficients is not None and losses is not None:  # of the regions and, last, of what is NaN
            return (coefficients * losses[:-1]).sum() + losses[-1]

        dtype = compute_dtype(logits)
        if coefficients is None:
            over = sum_with_density if summed else with_density
            tensors = _with_mask(logits, targets, valid)
            return over(_weighted_by_last(_terms), _gradient_norm, *tensors, dtype=dtype, epsilon=epsilon)

        def terms(*part: Tensor) -> Tensor:
            return _terms(*part, weights=lambda g: coefficient(g, coefficients, ()))

        tensors = _given(logits, targets, valid)
        if summed:
            return sum_in_slices(lambda *part: terms(*part).sum(), *tensors, shared=targets.ndim)
        return in_slices(terms, *tensors, shared=targets.ndim)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401, ARG004
        *tensors, _, ctx.epsilon, ctx.summed = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        logits, targets, valid, coefficients = ctx.saved_tensors

        grads = grad.expand(logits.shape)
        if coefficients is None:
            by_logit = with_density(
                lambda *part: _weighted_by_last(_derivatives)(*part[:3], part[3] * part[4]),
                _gradient_norm,
                *_with_mask(logits, targets, valid),
                others=(grads,),
                dtype=compute_dtype(logits),
                epsilon=ctx.epsilon,
            )
        elif ctx.summed:  # one factor for all: multiplied once a region, not once an element
            table = coefficients * grad

            def derivatives(*part: Tensor) -> Tensor:
                return _derivatives(*part, weights=lambda g: coefficient(g, table, ()))

            by_logit = in_slices(derivatives, *_given(logits, targets, valid), shared=targets.ndim)
        else:

            def scaled_derivatives(*part: Tensor) -> Tensor:
                *example, grad = part
                return _derivatives(*example, weights=lambda g: grad * coefficient(g, coefficients, ()))

            by_logit = in_slices(scaled_derivatives, *_given(logits, targets, valid), grads, shared=targets.ndim)
        return by_logit, *[None] * 6


def _terms(
    logits: Tensor, targets: Tensor, valid: Tensor | None = None, *, weights: Callable[[Tensor], Tensor]
) -> Tensor:
    u = _log_odds_of_error(logits, targets, valid)
    return weights(_error(u)) * focal_value(u, 0.0)


def _derivatives(
    logits: Tensor, targets: Tensor, valid: Tensor | None = None, *, weights: Callable[[Tensor], Tensor]
) -> Tensor:
    x = logits.to(compute_dtype(logits))
    negated = _negation_of_positives(targets, x)
    g = _error(_where_valid(negated(x, -torch.inf), valid))
    g = weights(g) * g  # one name: frees the other temporaries
    return negated(g, 0.0).to(logits.dtype)


def _weighted_by_last(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Of one argument more, which has the weights."""
    return lambda *part: function(*part[:-1], weights=lambda _: part[-1])


def _given(logits: Tensor, targets: Tensor, valid: Tensor | None) -> tuple[Tensor, ...]:
    """Without the mask, where there is none."""
    return (logits, targets) if valid is None else (logits, targets, valid)


def _gradient_norm(logits: Tensor, targets: Tensor, valid: Tensor | None = None) -> Tensor:
    return torch.sigmoid(_log_odds_of_error(logits, targets, valid))


def _with_mask(logits: Tensor, targets: Tensor, valid: Tensor | None) -> tuple[Tensor, ...]:
    return logits, targets, mask_like(logits, valid, of="logits")


def _count(elements: _Elements, bins: int, *, with_losses: bool) -> tuple[Tensor, Tensor | None]:
    """Examples in each region and, where floats are added in one order, the sums of their cross entropies too."""
    logits, targets, valid = elements
    tensors = _given(*elements)
    with_losses = with_losses and adds_in_one_order(logits.device, bins)

    def count_part(*part: Tensor) -> tuple[Tensor, ...]:
        u = _log_odds_of_error(*part)
        if with_losses:
            return region_counts_and_sums(_error(u), _cross_entropy(u), bins)
        return (region_counts(_error(u), bins),)

    with torch.no_grad():
        counts, *losses = sum_in_slices(count_part, *tensors, shared=targets.ndim)
        # what is no example has norm 0: it was counted in the first region
        if targets.ndim < logits.ndim:
            left_out = (targets == -1).sum() * logits.shape[-1]
        else:
            left_out = torch.zeros_like(counts[0]) if valid is None else (~valid).sum()
        counts = counts - torch.nn.functional.pad(left_out.view(1), (0, bins - 1))
    return counts, losses[0] if losses else None


def _error(u: Tensor) -> Tensor:
    """1 - p_t, the gradient norm, from its log-odds."""
    # a compiler writes results of exp and sigmoid to memory where they are used twice, and those of expm1 not
    return (torch.expm1(-u) + 2.0).reciprocal() if torch.compiler.is_compiling() else u.sigmoid()


def _cross_entropy(u: Tensor) -> Tensor:
    """-log p_t from the log-odds of the error."""
    if not torch.compiler.is_compiling():
        return focal_value(u, 0.0)
    # by the error, which the regions need too: an exp less
    g = _error(u)
    return u.clamp(min=0.0) - torch.log1p(torch.maximum(-g, g - 1.0))


def _log_odds_of_error(logits: Tensor, targets: Tensor, valid: Tensor | None = None) -> Tensor:
    """The logit, negated for positives. -inf where not an example: certainly right, so loss 0 and gradient 0."""
    x = logits.to(compute_dtype(logits))
    return _where_valid(_negation_of_positives(targets, x)(x, -torch.inf), valid)


def _where_valid(u: Tensor, valid: Tensor | None) -> Tensor:
    return u if valid is None else torch.where(valid, u, -torch.inf)


def _negation_of_positives(targets: Tensor, like: Tensor) -> Callable[[Tensor, float], Tensor]:
    """What negates values by targets or, if they have an axis less, by labels, of which -1 gets the number given."""
    if targets.ndim == like.ndim:
        signs = torch.rsub(indicator(targets, like.dtype), 1.0, alpha=2.0)
        return lambda values, ignored: values * signs  # noqa: ARG005 - the mask tells what is no example
    return lambda values, ignored: by_channel(
        values,
        targets,
        background=lambda values: values,
        element=lambda values, is_own: values * (1.0 - 2.0 * is_own),
        ignored=ignored,
    )


def _elements(logits: Tensor, targets: Tensor, valid: Tensor | None) -> _Elements:
    float_tensor("logits", logits)
    discrete_tensor("targets", targets, shape=logits.shape, of="that of logits")
    return logits, targets, None if valid is None else mask_like(logits, valid, of="logits")


def _elements_of_labels(logits: Tensor, labels: Tensor) -> _Elements:
    float_tensor("logits", logits)
    if logits.ndim == 0:
        raise ValueError("logits: expected shape (..., C), got ()")
    discrete_tensor("labels", labels, shape=logits.shape[:-1], of="that of logits without its class axis")
    return logits, labels, None
