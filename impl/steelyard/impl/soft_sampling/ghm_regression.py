"""GHM-R on the authentic smooth L1 loss, in the same three passes as GHM-C.

Specification: `steelyard.reference.soft_sampling.ghm_regression`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from steelyard.impl.checks import compute_dtype, count, float_tensor, one_of, positive
from steelyard.impl.collectives import summed
from steelyard.impl.slices import in_slices, sum_in_slices
from steelyard.impl.soft_sampling.exact_density import sum_with_density, with_density
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


def authentic_smooth_l1_loss(predictions: Tensor, targets: Tensor, *, mu: float = 0.02) -> Tensor:
    """Authentic smooth L1 loss of every coordinate.

    Shapes: `predictions` float (...,), `targets` float (...,) -> (...,); float32 for half inputs.
    Specification: `steelyard.reference.authentic_smooth_l1_loss`.
    """
    elements = _elements(predictions, targets, None)
    one = torch.ones(1, dtype=_arithmetic(predictions, targets), device=predictions.device)
    loss: Tensor = _HarmonizedSmoothL1.apply(*elements, one, positive("mu", mu), 0.0, False)  # type: ignore[no-untyped-call]
    return loss


def authentic_smooth_l1_gradient_norm(predictions: Tensor, targets: Tensor, *, mu: float = 0.02) -> Tensor:
    """Absolute derivative of the authentic smooth L1 loss, a constant.

    Shapes: `predictions` float (...,), `targets` float (...,) -> (...,); float32 for half inputs.
    Specification: `steelyard.reference.authentic_smooth_l1_gradient_norm`.
    """
    with torch.no_grad():
        return _slope(_difference(*_elements(predictions, targets, None)), positive("mu", mu)).abs()


def ghm_regression_loss(  # noqa: PLR0913 - each option is a choice between paper and code
    predictions: Tensor,
    targets: Tensor,
    valid: Tensor | None = None,
    state: Tensor | None = None,
    *,
    mu: float = 0.02,
    bins: int = 10,
    norm: str = "nonempty",
    momentum: float | None = None,
    ema: str = "lazy",
    reduction: str = "sum",
    group: "ProcessGroup | None" = None,
) -> GHMLoss:
    """GHM-R with unit regions, counted over all processes of the group: their losses add up to the loss of the whole.

    Shapes: `predictions` float (...,), `targets` float (...,), `valid` bool (...,), `state` float (bins,)
    -> loss () or (...,), state (bins,); float32 for half inputs.
    Specification: `steelyard.reference.ghm_regression_loss`.
    """
    elements = _elements(predictions, targets, valid)
    mu, bins = positive("mu", mu), count("bins", bins)
    one_of("reduction", reduction, REDUCTIONS)

    def count_part(predictions: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
        g = _slope(_difference(predictions, targets, valid), mu).abs()
        return region_counts(g.masked_fill(~valid, torch.nan), bins)

    with torch.no_grad():
        counts = summed(sum_in_slices(count_part, *elements), group)
    dtype = _arithmetic(predictions, targets)
    table, new_state = region_coefficients(counts, state, dtype, norm=norm, momentum=momentum, ema=ema)
    loss: Tensor = _HarmonizedSmoothL1.apply(*elements, table, mu, 0.0, reduction == "sum")  # type: ignore[no-untyped-call]
    return GHMLoss(loss, new_state)


def exact_ghm_regression_loss(
    predictions: Tensor,
    targets: Tensor,
    valid: Tensor | None = None,
    *,
    epsilon: float,
    mu: float = 0.02,
    reduction: str = "sum",
) -> Tensor:
    """GHM-R with the exact gradient density.

    Shapes: `predictions` float (...,), `targets` float (...,), `valid` bool (...,) -> () or (...,).
    From 524,288 elements on, a few are sorted at a time for the sake of memory (compiled: all at once).
    Specification: `steelyard.reference.exact_ghm_regression_loss`.
    """
    elements = _elements(predictions, targets, valid)
    mu = positive("mu", mu)
    one_of("reduction", reduction, REDUCTIONS)
    length = window_length(epsilon)
    loss: Tensor = _HarmonizedSmoothL1.apply(*elements, None, mu, length, reduction == "sum")  # type: ignore[no-untyped-call]
    return loss


class GHMRegressionLoss(HarmonizedLoss):
    """`ghm_regression_loss` with its moving average.

    Shapes: `predictions` float (...,), `targets` float (...,), `valid` bool (...,) -> ().
    Specification: `steelyard.reference.ghm_regression_loss`, `steelyard.reference.moving_average_counts`.
    """

    def __init__(self, *, mu: float = 0.02, **options: Any) -> None:  # noqa: ANN401 - those of HarmonizedLoss
        super().__init__(**options)
        self.mu = positive("mu", mu)

    def forward(self, predictions: Tensor, targets: Tensor, valid: Tensor | None = None) -> Tensor:
        """The loss, a scalar."""
        result = ghm_regression_loss(predictions, targets, valid, self.state, mu=self.mu, **self._options)
        return self._keep_state(result)

    def extra_repr(self) -> str:
        """Options, for `print`."""
        return f"mu={self.mu}, {super().extra_repr()}"


class _HarmonizedSmoothL1(torch.autograd.Function):
    """Keeps its inputs only. Coefficients: one a region; or none, and those of the exact density are made anew."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        predictions: Tensor,
        targets: Tensor,
        valid: Tensor,
        coefficients: Tensor | None,
        mu: float,
        epsilon: float,
        summed: bool,  # noqa: FBT001 - autograd passes everything by position
    ) -> Tensor:
        def terms(predictions: Tensor, targets: Tensor, valid: Tensor, *by_element: Tensor) -> Tensor:
            d = _difference(predictions, targets, valid)
            # a product of two factors, since d * d may overflow; the second is 1 at infinity
            loss = d.abs() * (_finite(d).abs() / (_hypotenuse(d, mu) + mu))
            return coefficient(_slope(d, mu).abs(), coefficients, by_element) * loss

        elements = (predictions, targets, valid)
        if coefficients is None:
            over = sum_with_density if summed else with_density
            return over(terms, _norm(mu), *elements, dtype=_arithmetic(predictions, targets), epsilon=epsilon)
        if summed:
            return sum_in_slices(lambda *part: terms(*part).sum(), *elements)
        return in_slices(terms, *elements, shared=predictions.ndim)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401, ARG004
        *tensors, ctx.mu, ctx.epsilon, _ = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        predictions, targets, valid, coefficients = ctx.saved_tensors

        def gradient(predictions: Tensor, targets: Tensor, valid: Tensor, grad: Tensor, *by_element: Tensor) -> Tensor:
            slope = _slope(_difference(predictions, targets, valid), ctx.mu)
            return (grad * coefficient(slope.abs(), coefficients, by_element) * slope).to(predictions.dtype)

        elements = (predictions, targets, valid)
        grads = grad.expand(predictions.shape)
        if coefficients is None:
            dtype = _arithmetic(predictions, targets)
            by_prediction = with_density(
                gradient, _norm(ctx.mu), *elements, others=(grads,), dtype=dtype, epsilon=ctx.epsilon
            )
        else:
            by_prediction = in_slices(gradient, *elements, grads, shared=predictions.ndim)
        by_target = -by_prediction.to(targets.dtype) if ctx.needs_input_grad[1] else None
        return by_prediction, by_target, *[None] * 5


def _elements(predictions: Tensor, targets: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    float_tensor("predictions", predictions)
    float_tensor("targets", targets, shape=predictions.shape, of="that of predictions")
    return predictions, targets, mask_like(predictions, valid, of="predictions")


def _norm(mu: float) -> Callable[..., Tensor]:
    return lambda *elements: _slope(_difference(*elements), mu).abs()


def _arithmetic(predictions: Tensor, targets: Tensor) -> torch.dtype:
    return torch.promote_types(compute_dtype(predictions), compute_dtype(targets))


def _difference(predictions: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """Prediction less target; 0 where not an example: loss 0 and gradient 0."""
    dtype = _arithmetic(predictions, targets)
    return torch.where(valid, predictions.to(dtype) - targets.to(dtype), 0.0)


def _slope(d: Tensor, mu: float) -> Tensor:
    return _finite(d) / _hypotenuse(d, mu)


def _hypotenuse(d: Tensor, mu: float) -> Tensor:
    return torch.hypot(_finite(d), torch.full((), mu, dtype=d.dtype, device=d.device))


def _finite(d: Tensor) -> Tensor:
    """Infinity as the largest number: its quotient by the hypotenuse is 1, the limit."""
    largest = torch.finfo(d.dtype).max
    return d.clamp(-largest, largest)
