"""Wrong gradient densities and harmonizing weights, each as it is found in the wild or easily written.

The losses are built of weights, so a wrong weight makes a wrong loss: `WRONG_REGIONS` and `WRONG_WINDOWS` serve
their contracts too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

import numpy as np

from steelyard.conformance.contract import Array, Mutant, OptionValue
from steelyard.conformance.plain_mistakes import (
    broadcasting,
    failing_on_empty,
    losing_the_tail,
    overwriting,
    unchecked,
    without_mask,
)
from steelyard.conformance.soft_sampling.ghm_inputs import number_of
from steelyard.reference.soft_sampling import gradient_density as oracle

Both = tuple[Array, Array]
RegionWeights = Callable[..., Both]
"""Called with gradient_norms, valid, state and the options; returns weights and state."""
WindowWeights = Callable[..., Array]
"""Called with gradient_norms, valid and epsilon."""

_HALF_COUNTER = 2048  # float16 plus one is itself from here on
_TINY = 1e-300


class Wrong(NamedTuple):
    """A wrong function of weights."""

    id: str
    summary: str
    function: Callable[..., Any]
    seen_in: str = ""


# --- unit regions ---------------------------------------------------------------------------------------------


def right_regions(gradient_norms: Array, valid: Array, state: Array, **options: Any) -> Both:  # noqa: ANN401
    """The oracle's, as a plain tuple."""
    weights, new_state = oracle.unit_region_weights(gradient_norms, valid, state, **options)
    return weights, new_state


def _counted(gradient_norms: Array, valid: Array) -> Array:
    return np.asarray(valid, dtype=np.bool_) & ~np.isnan(gradient_norms)


def _of_region(per_region: Array, gradient_norms: Array, bins: int) -> Array:
    """A number of each region at each element."""
    index = oracle.unit_region_index(np.nan_to_num(np.asarray(gradient_norms, np.float64)), bins=bins)
    return np.asarray(per_region)[index]


def _on(change: Callable[[Array, Array, int], tuple[Array, Array]]) -> RegionWeights:
    """The right weights of other norms and another mask; 0 where not valid."""

    def weights(gradient_norms: Array, valid: Array, state: Array, *, bins: int, **options: Any) -> Both:  # noqa: ANN401
        norms, mask = change(np.asarray(gradient_norms, np.float64), np.asarray(valid, np.bool_), bins)
        found, new_state = right_regions(norms, mask, state, bins=bins, **options)
        return np.where(valid, found, 0.0), new_state

    return weights


def _set(name: str, value: Callable[[Any], OptionValue]) -> RegionWeights:
    """The right weights with another option."""

    def weights(gradient_norms: Array, valid: Array, state: Array, **options: Any) -> Both:  # noqa: ANN401
        return right_regions(gradient_norms, valid, state, **{**options, name: value(options[name])})

    return weights


def ten_regions(gradient_norms: Array, valid: Array, state: Array, *, bins: int, **options: Any) -> Both:  # noqa: ANN401
    right_regions(gradient_norms, valid, state, bins=bins, **options)
    weights, new_state = right_regions(gradient_norms, valid, np.resize(state, 10), bins=10, **options)
    return weights, np.resize(new_state, bins)


def fed_back(gradient_norms: Array, valid: Array, state: Array, **options: Any) -> Both:  # noqa: ANN401
    weights, _ = right_regions(gradient_norms, valid, state, **options)
    return right_regions(np.clip(weights * gradient_norms, 0.0, 1.0), valid, state, **options)


def regions_of_state(
    gradient_norms: Array, valid: Array, state: Array, *, bins: int, norm: str, momentum: float | None, ema: str
) -> Both:
    weights, new_state = right_regions(gradient_norms, valid, state, bins=bins, norm=norm, momentum=momentum, ema=ema)
    if momentum is None or norm == "M":
        return weights, new_state
    here = np.count_nonzero(oracle.unit_region_counts(gradient_norms, valid, bins=bins))
    return weights * here / number_of(new_state > 0), new_state


def inverse_weights(gradient_norms: Array, valid: Array, state: Array, **options: Any) -> Both:  # noqa: ANN401
    weights, new_state = right_regions(gradient_norms, valid, state, **options)
    return np.where(weights > 0, 1.0 / np.maximum(weights, _TINY), weights), new_state


def squared_weights(gradient_norms: Array, valid: Array, state: Array, **options: Any) -> Both:  # noqa: ANN401
    weights, new_state = right_regions(gradient_norms, valid, state, **options)
    return weights**2, new_state


def by_rows(gradient_norms: Array, valid: Array, state: Array, **options: Any) -> Both:  # noqa: ANN401
    weights, new_state = right_regions(gradient_norms, valid, state, **options)
    counted = _counted(gradient_norms, valid)
    rows = np.count_nonzero(counted.any(axis=tuple(range(1, counted.ndim))))
    return weights * rows / number_of(counted), new_state


def per_image(gradient_norms: Array, valid: Array, state: Array, **options: Any) -> Both:  # noqa: ANN401
    weights, new_state = right_regions(gradient_norms, valid, state, **options)
    if np.ndim(gradient_norms) < 2:  # without an axis of images there is one
        return weights, new_state
    images = [
        right_regions(g[None], v[None], state, **options)[0][0]
        for g, v in zip(np.asarray(gradient_norms), np.asarray(valid), strict=True)
    ]
    return np.stack(images) if images else weights, new_state


def _scaled(
    factor: Callable[[Array, Array, Array, Array, float], Array], *, averaged: bool | None = None
) -> RegionWeights:
    """Weights times a factor of each region's counts, old and new averages, and all counts, in some calls."""

    def weights(
        gradient_norms: Array,
        valid: Array,
        state: Array,
        *,
        bins: int,
        momentum: float | None,
        **options: Any,  # noqa: ANN401
    ) -> Both:
        found, new_state = right_regions(gradient_norms, valid, state, bins=bins, momentum=momentum, **options)
        if averaged is not None and averaged != (momentum is not None):
            return found, new_state
        counts = oracle.unit_region_counts(gradient_norms, valid, bins=bins).astype(np.float64)
        size = counts if momentum is None else new_state
        per_region = factor(counts, np.asarray(state, np.float64), size, np.asarray(gradient_norms), momentum or 0.0)
        return found * _of_region(per_region, gradient_norms, bins), new_state

    return weights


def _half_counter(counts: Array, _: Array, size: Array, norms: Array, __: float) -> Array:
    if norms.dtype != np.float16:
        return np.ones(counts.shape)
    return np.where(counts > _HALF_COUNTER, counts / _HALF_COUNTER, 1.0)


def _corrected_start(counts: Array, state: Array, _: Array, __: Array, momentum: float) -> Array:
    return np.full(counts.shape, 1.0 if state.any() else 1.0 - momentum)


WRONG_REGIONS = (
    Wrong("swapped-norm", "M in place of the number of regions that are not empty, and the reverse",
          _set("norm", lambda norm: {"M": "nonempty", "nonempty": "M"}[norm])),
    Wrong("last-edge-open", "no region for a norm that rounds to 1", _on(lambda g, v, _: (g, v & (g != 1.0)))),
    Wrong("upper-closed", "regions that hold their upper edge in place of the lower one",
          _on(lambda g, v, _: (np.where(g > 0, np.nextafter(g, -1.0), g), v))),
    Wrong("fed-back", "the histogram of the norms times their weights", fed_back),
    Wrong("ignored-counted", "examples that are not valid counted in the histogram",
          _on(lambda g, v, _: (g, np.ones(v.shape, np.bool_)))),
    Wrong("regions-of-state", "n counting the regions whose moving average is not 0", regions_of_state),
    Wrong("swapped-momentum", "momentum on the new counts",
          _set("momentum", lambda momentum: None if momentum is None else 1.0 - momentum)),
    Wrong("zero-momentum-is-off", "momentum = 0 taken as no moving average",
          _set("momentum", lambda momentum: momentum or None), seen_in="mmdet"),
    Wrong("swapped-average", "lazy for full and full for lazy",
          _set("ema", lambda ema: {"lazy": "full", "full": "lazy"}[ema])),
    Wrong("lost-state", "the old moving average lost: every call is the first one",
          lambda gradient_norms, valid, state, **options: right_regions(
              gradient_norms, valid, np.zeros_like(state) if options["momentum"] is not None else state, **options)),
    Wrong("old-average", "the moving average before this call in the weights",
          _scaled(lambda _, state, size, __, ___: size / np.where(state > 0, state, 1.0), averaged=True)),
    Wrong("corrected-start", "the first step from zeros corrected by 1 - momentum",
          _scaled(_corrected_start, averaged=True)),
    Wrong("unaveraged-weights", "the counts of the call in the weights, the average kept for nothing",
          _scaled(lambda counts, _, size, __, ___: size / np.maximum(counts, 1.0), averaged=True)),
    Wrong("smoothed", "one more example in every region",
          _scaled(lambda _, __, size, ___, ____: size / (size + 1.0))),
    Wrong("half-counter", "counts that stop at 2048 in float16", _scaled(_half_counter)),
    Wrong("inverse-weights", "R / N for N / R", inverse_weights),
    Wrong("per-image", "a histogram for each image", per_image),
    Wrong("ten-regions", "ten regions whatever was asked for", ten_regions),
    Wrong("nan-in-last-region", "NaN counted in the last region",
          _on(lambda g, v, _: (np.where(np.isnan(g), 1.0, g), v)), seen_in="torch.bucketize"),
)  # fmt: skip
WRONG_INDEX = Wrong(
    "rounded-product", "floor(g M), which rounds g M first",
    _on(lambda g, v, bins: ((np.minimum(np.floor(g * bins), bins - 1) + 0.5) / bins, v)),
)  # fmt: skip
"""Right for norms that follow from logits or boxes, as far as these are clear of edges."""


def legal_regions(**legal: Callable[[Any], Any]) -> dict[str, Callable[[Any], Any]]:
    """What an implementation without checks makes of options out of range."""
    return {
        "norm": lambda norm: norm if norm in oracle.NORMS else "nonempty",
        "ema": lambda ema: ema if ema in oracle.MOVING_AVERAGES else "lazy",
        "momentum": lambda momentum: None if momentum is None else min(max(momentum, 0.0), 0.999),
        **legal,
    }


def first_output(function: Callable[..., Any], spoil: Callable[[Callable[..., Array]], Callable[..., Array]]) -> Any:  # noqa: ANN401
    """A plain mistake in the first of several outputs."""

    def mutant(**keywords: Any) -> Any:  # noqa: ANN401
        return spoil(lambda **kept: np.asarray(function(**kept)[0]))(**keywords), *function(**keywords)[1:]

    return mutant


def without_state(function: Callable[..., Any]) -> Callable[..., Any]:
    """The first moving average starts from one example in every region."""

    @wraps(function)
    def mutant(**keywords: Any) -> Any:  # noqa: ANN401
        return function(**{"state": np.ones(keywords["bins"]), **keywords})

    return mutant


def flowing(**keywords: Array | OptionValue) -> Array:
    """The gradient of a sum of weights by norms that are not detached: whatever it is, it is not 0."""
    return np.ones(np.shape(keywords["gradient_norms"]))  # type: ignore[arg-type]


_WEIGHTS = oracle.unit_region_weights
WEIGHT_MUTANTS = (
    *(Mutant(f"unit-region/{wrong.id}", wrong.summary, wrong.function, seen_in=wrong.seen_in)
      for wrong in (*WRONG_REGIONS, WRONG_INDEX)),
    Mutant("unit-region/by-rows", "the number of rows in place of that of elements", by_rows),
    Mutant("unit-region/nan-weight-is-zero", "weight 0 for NaN: a broken network looks trained",
           first_output(_WEIGHTS, lambda function: lambda **keywords: np.nan_to_num(function(**keywords)))),
    Mutant("unit-region/flowing-gradient", "weights that are not detached", _WEIGHTS, flowing),
    Mutant("unit-region/lost-tail", "no weights for the last elements of a large input",
           first_output(_WEIGHTS, losing_the_tail)),
    Mutant("unit-region/in-place", "the state overwritten", overwriting(_WEIGHTS, "state"),
           seen_in="mmdet and the authors' code, whose state is a buffer of the module"),
    Mutant("unit-region/unchecked", "no check of the options", unchecked(_WEIGHTS, **legal_regions())),
    Mutant("unit-region/broadcast", "the mask broadcast to norms of another shape",
           broadcasting(_WEIGHTS, "valid", "gradient_norms")),
    Mutant("unit-region/raises-on-empty", "an error on empty input", failing_on_empty(_WEIGHTS, "gradient_norms")),
    Mutant("unit-region/no-mask-is-none", "no example without a mask",
           without_mask(_WEIGHTS, "valid", "gradient_norms")),
    Mutant("unit-region/no-state-is-one", "an average that starts from one example in every region",
           without_state(_WEIGHTS)),
)  # fmt: skip


# --- exact windows --------------------------------------------------------------------------------------------


def _window(
    side: Callable[[Array, float], Array] | None = None,
    *,
    length: Callable[[Array, float], Array] | None = None,
    ignored: bool = False,
) -> WindowWeights:
    """The weights with another rule of who is a neighbour (of g_k - g), or another length."""

    def weights(gradient_norms: Array, valid: Array, *, epsilon: float) -> Array:
        right = oracle.harmonizing_weights(gradient_norms, valid, epsilon=epsilon)
        g, half = np.asarray(gradient_norms, np.float64), epsilon / 2.0
        counted = ~np.isnan(g) if ignored else _counted(g, valid)
        inside = side or (lambda distance, half: (distance >= -half) & (distance < half))
        flat, numbers = g.ravel(), g[counted]
        neighbours = np.array([np.count_nonzero(inside(numbers - one, half)) for one in flat]).reshape(g.shape)
        spans = np.minimum(half, 1.0 - g) + np.minimum(half, g) if length is None else length(g, half)
        wrong = np.count_nonzero(counted) * spans / np.maximum(neighbours, 1)
        return np.where(_counted(g, valid), wrong, right)

    return weights


def right_windows(gradient_norms: Array, valid: Array, *, epsilon: float) -> Array:
    """The oracle's."""
    return oracle.harmonizing_weights(gradient_norms, valid, epsilon=epsilon)


def of_mean_one(gradient_norms: Array, valid: Array, *, epsilon: float) -> Array:
    weights = right_windows(gradient_norms, valid, epsilon=epsilon)
    counted = _counted(gradient_norms, valid)
    total = weights[counted].sum()
    return weights * np.count_nonzero(counted) / total if total > 0 else weights


def without_itself(gradient_norms: Array, valid: Array, *, epsilon: float) -> Array:
    """Neighbours that are others; at least 1."""
    weights = right_windows(gradient_norms, valid, epsilon=epsilon)
    number = np.count_nonzero(_counted(gradient_norms, valid))
    g = np.asarray(gradient_norms, np.float64)
    spans = np.minimum(epsilon / 2.0, 1.0 - g) + np.minimum(epsilon / 2.0, g)
    neighbours = number * spans / np.where(weights > 0, weights, 1.0)
    return np.where(weights > 0, weights * neighbours / np.maximum(neighbours - 1.0, 1.0), weights)


def windows_fed_back(gradient_norms: Array, valid: Array, *, epsilon: float) -> Array:
    weights = right_windows(gradient_norms, valid, epsilon=epsilon)
    return right_windows(np.clip(weights * gradient_norms, 0.0, 1.0), valid, epsilon=epsilon)


def of_all_elements(gradient_norms: Array, valid: Array, *, epsilon: float) -> Array:
    number = number_of(_counted(gradient_norms, valid))
    return right_windows(gradient_norms, valid, epsilon=epsilon) * np.size(gradient_norms) / number


def windows_per_image(gradient_norms: Array, valid: Array, *, epsilon: float) -> Array:
    images = [
        right_windows(g[None], v[None], epsilon=epsilon)[0]
        for g, v in zip(np.asarray(gradient_norms), np.asarray(valid), strict=True)
    ]
    return np.stack(images) if images else right_windows(gradient_norms, valid, epsilon=epsilon)


def empty_window(gradient_norms: Array, valid: Array, *, epsilon: float) -> Array:
    """In the working dtype g + epsilon / 2 is g where epsilon is small, and nobody is below it: 0 / 0."""
    g = np.asarray(gradient_norms)
    right = right_windows(g, valid, epsilon=epsilon)
    return np.where(_counted(g, valid) & (g + g.dtype.type(epsilon / 2.0) == g), np.nan, right)


def inverse_windows(gradient_norms: Array, valid: Array, *, epsilon: float) -> Array:
    weights = right_windows(gradient_norms, valid, epsilon=epsilon)
    return np.where(weights > 0, 1.0 / np.maximum(weights, _TINY), weights)


def half_window_counter(gradient_norms: Array, valid: Array, *, epsilon: float) -> Array:
    """Counts that stop at 2048 in float16."""
    weights = right_windows(gradient_norms, valid, epsilon=epsilon)
    if np.asarray(gradient_norms).dtype != np.float16:
        return weights
    g, number = np.asarray(gradient_norms, np.float64), np.count_nonzero(_counted(gradient_norms, valid))
    spans = np.minimum(epsilon / 2.0, 1.0 - g) + np.minimum(epsilon / 2.0, g)
    neighbours = number * spans / np.where(weights > 0, weights, np.inf)
    return weights * np.maximum(neighbours / _HALF_COUNTER, 1.0)


def _epsilon(value: float) -> WindowWeights:
    def weights(gradient_norms: Array, valid: Array, *, epsilon: float) -> Array:
        right_windows(gradient_norms, valid, epsilon=epsilon)
        return right_windows(gradient_norms, valid, epsilon=value)

    return weights


WRONG_WINDOWS = (
    Wrong("unclipped-window", "windows of full length at 0 and 1",
          _window(length=lambda g, half: np.full(g.shape, 2.0 * half))),
    Wrong("closed-window", "windows that hold both ends", _window(lambda d, half: (d >= -half) & (d <= half))),
    Wrong("upper-closed-window", "windows that hold their upper end in place of the lower one",
          _window(lambda d, half: (d > -half) & (d <= half))),
    Wrong("double-window", "neighbours within epsilon on either side", _window(
        lambda d, half: (d >= -2.0 * half) & (d < 2.0 * half))),
    Wrong("ignored-neighbours", "elements that are not valid as neighbours", _window(ignored=True)),
    Wrong("all-elements", "the number of all elements as that of examples", of_all_elements),
    Wrong("without-itself", "an example that is not its own neighbour", without_itself),
    Wrong("windows-fed-back", "the density of the norms times their weights", windows_fed_back),
    Wrong("mean-one", "weights brought to a mean of 1", of_mean_one),
    Wrong("windows-per-image", "neighbours in the same image only", windows_per_image),
    Wrong("empty-window", "NaN where a window is below the resolution of the format", empty_window),
    Wrong("fixed-window", "epsilon = 0.1 whatever was asked for", _epsilon(0.1)),
    Wrong("half-window-counter", "counts that stop at 2048 in float16", half_window_counter),
    Wrong("inverse-windows", "the density by the number of examples", inverse_windows),
)  # fmt: skip


def legal_epsilon(epsilon: float) -> float:
    """What an implementation without checks makes of a length out of range."""
    return min(max(epsilon, 1e-30), 2.0)


def _nan_neighbour(gradient_norms: Array, valid: Array, *, epsilon: float) -> Array:
    g = np.asarray(gradient_norms, np.float64)
    filled = right_windows(np.nan_to_num(g, nan=1.0), valid, epsilon=epsilon)
    return np.where(np.isnan(g) & np.asarray(valid, np.bool_), np.nan, filled)


def _as_density(weights: WindowWeights) -> WindowWeights:
    """N by the weight."""

    def density(gradient_norms: Array, valid: Array, *, epsilon: float) -> Array:
        found = weights(gradient_norms=gradient_norms, valid=valid, epsilon=epsilon)
        number = np.count_nonzero(_counted(gradient_norms, valid))
        return np.where(found == 0.0, 0.0, number / np.where(found == 0.0, 1.0, found))

    return density


def _plain(name: str, function: Callable[..., Array]) -> tuple[Mutant, ...]:
    return (
        Mutant(f"{name}/flowing-gradient", "weights that are not detached", function, flowing),
        Mutant(f"{name}/lost-tail", "nothing for the last elements of a large input", losing_the_tail(function)),
        Mutant(f"{name}/in-place", "its inputs overwritten", overwriting(function, "gradient_norms", "valid")),
        Mutant(f"{name}/unchecked", "no check of epsilon", unchecked(function, epsilon=legal_epsilon)),
        Mutant(f"{name}/broadcast", "the mask broadcast to norms of another shape",
               broadcasting(function, "valid", "gradient_norms")),
        Mutant(f"{name}/raises-on-empty", "an error on empty input", failing_on_empty(function, "gradient_norms")),
        Mutant(f"{name}/no-mask-is-none", "no example without a mask",
               without_mask(function, "valid", "gradient_norms")),
    )  # fmt: skip


HARMONIZING_MUTANTS = (
    *(Mutant(f"harmonizing/{wrong.id}", wrong.summary, wrong.function) for wrong in WRONG_WINDOWS),
    Mutant("harmonizing/nan-neighbour", "NaN as a neighbour of norms near 1", _nan_neighbour),
    *_plain("harmonizing", oracle.harmonizing_weights),
)
DENSITY_MUTANTS = (
    *(Mutant(f"gradient-density/{wrong.id}", wrong.summary, _as_density(wrong.function)) for wrong in WRONG_WINDOWS
      if wrong.id not in ("all-elements", "inverse-windows")),
    Mutant("gradient-density/harmonizing", "its inverse times the number of examples", right_windows),
    Mutant("gradient-density/nan-neighbour", "NaN as a neighbour of norms near 1", _as_density(_nan_neighbour)),
    *_plain("gradient-density", oracle.gradient_density),
)  # fmt: skip
