"""Inputs that the contracts of the gradient harmonizing mechanism share.

A weight jumps where a gradient norm crosses the edge of a unit region, or where two norms are half a window apart.
So norms are drawn clear of these places, by more than the working precision may move them, or exactly on them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from steelyard.conformance.contract import Array, Case, OptionValue
from steelyard.conformance.generation import Draw
from steelyard.conformance.precision import round_to
from steelyard.conformance.soft_sampling.focal_inputs import HALF, option
from steelyard.reference.logistic import sigmoid
from steelyard.reference.soft_sampling.ghm_regression import authentic_smooth_l1_gradient_norm
from steelyard.reference.soft_sampling.gradient_density import unit_region_counts, unit_region_index

GHM_PAPER = 'Li, Liu, Wang, "Gradient Harmonized Single-stage Detector", AAAI 2019, arXiv 1811.05181'
GHM_CODE = "the authors' code (libuyu/GHM_Detection)"
BINS, EPSILON, MU = 10, 0.1, 0.02
_ON_EDGE = 1e-9  # far nearer than any that is clear of it
MOMENTA = (0.75, 0.7, 0.5, 0.9)

Options = dict[str, OptionValue]


def margin(dtype: str) -> float:
    """How far clear of an edge: a norm near 1 is off by 2^-9 in bfloat16 and by 2^-24 in float32."""
    return 2.0**-6 if dtype in HALF else 2.0**-16


# --- unit regions ---------------------------------------------------------------------------------------------


def draw_regions(draw: Draw, *, averaged: bool | None = None) -> Options:
    """Ten regions in every way of the paper and the code. Averaged: None: sometimes."""
    with_average = draw.flag(40) if averaged is None else averaged
    return {
        "bins": BINS,
        "norm": draw.choice(("nonempty", "M")),
        "momentum": draw.choice(MOMENTA) if with_average else None,
        "ema": draw.choice(("lazy", "full")),
    }


def draw_state(draw: Draw, bins: int, dtype: str) -> Array:
    """Zeros, as at the start, or some counts over and over."""
    if draw.flag(40):
        return np.zeros(bins)
    few = draw.array((3,), lambda: draw.choice((0.0, 1.0, 2.5, 7.0, 100.0)))
    return round_to(dtype, np.resize(few, bins))


def draw_valid(draw: Draw, shape: tuple[int, ...]) -> Array:
    """Mostly examples, and at least one."""
    valid = np.asarray(draw.array(shape, lambda: float(draw.flag(20))) == 0.0)
    valid.flat[:1] |= not valid.any()
    return valid


def with_bins(bins: int, case: Case) -> Case:
    """Another number of regions, the state of the same numbers over and over."""
    state = np.resize(case.arguments["state"], bins)
    return replace(case.with_options(bins=bins), arguments={**case.arguments, "state": state})


def draw_norms(draw: Draw, shape: tuple[int, ...], dtype: str) -> Array:
    """Gradient norms in [0, 1], both ends among them."""
    norms = draw.array(shape, lambda: draw.choice((0.0, 1.0)) if draw.flag(15) else draw.fraction())
    return round_to(dtype, norms)


def _next_to_an_edge(norms: Array, bins: int, dtype: str) -> tuple[Array, Array]:
    """Which norms are, and the middle of the region of each."""
    edges = np.arange(1, bins) / bins
    near = np.asarray((np.abs(norms[..., None] - edges) < margin(dtype)).any(axis=-1))
    return near, (np.minimum(np.floor(norms * bins), bins - 1) + 0.5) / bins


def clear_norms(case: Case) -> Case:
    """Norms next to an edge move into the middle of a region."""
    norms = case.arguments["gradient_norms"]
    near, middle = _next_to_an_edge(norms, int(option(case, "bins")), case.dtype)
    cleared = round_to(case.dtype, np.where(near, middle, norms))
    return replace(case, arguments={**case.arguments, "gradient_norms": cleared})


def clear_logits(logits: Array, targets: Array, bins: int, dtype: str) -> Array:
    """Logits whose gradient norm is next to an edge move so that it is in the middle of a region."""
    sign = np.where(targets == 1, -1.0, 1.0)
    near, middle = _next_to_an_edge(sigmoid(sign * logits), bins, dtype)
    return round_to(dtype, np.where(near, sign * (np.log(middle) - np.log1p(-middle)), logits))


def clear_classification(case: Case) -> Case:
    """`clear_logits` of a case."""
    logits, targets = case.arguments["logits"], case.arguments["targets"]
    cleared = clear_logits(logits, targets, int(option(case, "bins")), case.dtype)
    return replace(case, arguments={**case.arguments, "logits": cleared})


def clear_regression(case: Case) -> Case:
    """Where the gradient norm is next to an edge, target 0 and a prediction in the middle of a region."""
    predictions, targets = case.arguments["predictions"], case.arguments["targets"]
    mu = option(case, "mu")
    norms = authentic_smooth_l1_gradient_norm(predictions, targets, mu=mu)
    near, middle = _next_to_an_edge(norms, int(option(case, "bins")), case.dtype)
    moved = np.copysign(difference_of_norm(middle, mu), predictions - targets)
    arguments = {
        **case.arguments,
        "predictions": round_to(case.dtype, np.where(near, moved, predictions)),
        "targets": np.where(near, 0.0, targets),
    }
    return replace(case, arguments=arguments)


def norms_domain(moved: Array, case: Case) -> Array:
    """Norms stay in [0, 1]; those on an edge are exact and stay."""
    norms = case.arguments["gradient_norms"]
    edges = np.arange(0, int(option(case, "bins")) + 1) / option(case, "bins")
    return np.where(np.isin(norms, edges), norms, np.clip(moved, 0.0, 1.0))


# --- exact windows --------------------------------------------------------------------------------------------


def clear_sources(norms: Array, epsilon: float, dtype: str) -> Array:
    """For each norm, in flat order, which one to take in its place so that no two are half a window apart."""
    values = np.ravel(norms)
    sources = np.arange(values.size)
    kept: list[int] = []
    for i, value in enumerate(values):
        distance = np.abs(np.abs(values[kept] - value) - epsilon / 2.0)
        if (distance < margin(dtype)).any():
            sources[i] = kept[0]
        else:
            kept.append(i)
    return sources


def clear_window_norms(case: Case) -> Case:
    """Norms of which no two are half a window apart."""
    norms = case.arguments["gradient_norms"]
    cleared = norms.ravel()[clear_sources(norms, option(case, "epsilon"), case.dtype)].reshape(norms.shape)
    return replace(case, arguments={**case.arguments, "gradient_norms": cleared})


def clear_window_logits(case: Case) -> Case:
    """Logits of whose gradient norms no two are half a window apart."""
    logits, sign = case.arguments["logits"], np.where(case.arguments["targets"] == 1, -1.0, 1.0)
    signed = (sign * logits).ravel()
    sources = clear_sources(sigmoid(signed), option(case, "epsilon"), case.dtype)
    cleared = sign * signed[sources].reshape(logits.shape)
    return replace(case, arguments={**case.arguments, "logits": cleared})


def clear_window_regression(case: Case) -> Case:
    """Predictions and targets of whose gradient norms no two are half a window apart."""
    predictions, targets = case.arguments["predictions"], case.arguments["targets"]
    norms = authentic_smooth_l1_gradient_norm(predictions, targets, mu=option(case, "mu"))
    sources = clear_sources(norms, option(case, "epsilon"), case.dtype)
    pair = {name: case.arguments[name].ravel()[sources].reshape(norms.shape) for name in ("predictions", "targets")}
    return replace(case, arguments={**case.arguments, **pair})


def kept_on_edges(name: str) -> Callable[[Array, Case], Array]:
    """Domain of predictions or targets: where the gradient norm is on an edge, in M-ths or tenths, they stay."""

    def domain(moved: Array, case: Case) -> Array:
        norms = authentic_smooth_l1_gradient_norm(
            case.arguments["predictions"], case.arguments["targets"], mu=option(case, "mu")
        )
        parts = norms * float(case.options.get("bins") or BINS)
        with np.errstate(invalid="ignore"):
            on_edge = (np.abs(parts - np.round(parts)) < _ON_EDGE) & (norms > 0.01) & (norms < 0.99)
        return np.where(on_edge, case.arguments[name], moved)

    return domain


def norms_window_domain(moved: Array, case: Case) -> Array:
    """Norms stay in [0, 1]; dyadic ones may be half a window apart, and stay."""
    norms = case.arguments["gradient_norms"]
    return np.where(norms * 64.0 % 1.0 == 0.0, norms, np.clip(moved, 0.0, 1.0))


# --- losses ---------------------------------------------------------------------------------------------------


def draw_targets(draw: Draw, shape: tuple[int, ...]) -> Array:
    """0 and 1."""
    return draw.integers(shape, 0, 1)


def draw_logits(draw: Draw, shape: tuple[int, ...], dtype: str) -> Array:
    """Within 6, so that the regions in the middle are reached, and never 0, whose gradient norm 1/2 is an edge."""
    logits = draw.logits(shape, dtype, reach=6.0)
    return np.where(logits == 0.0, -3.0, logits)


def difference_of_norm(norms: Array, mu: float) -> Array:
    """The absolute difference at which the authentic smooth L1 loss has this gradient norm."""
    return np.asarray(mu * norms / np.sqrt((1.0 - norms) * (1.0 + norms)))


def draw_boxes(draw: Draw, shape: tuple[int, ...], dtype: str, mu: float = MU) -> dict[str, Array]:
    """Predictions and targets whose gradient norms are spread over [0, 1)."""
    targets = draw.array(shape, lambda: draw.choice((0.0, 0.5, -0.25, 1.0)) if draw.flag() else 4.0 * draw.fraction())
    norms = 0.005 + 0.99 * draw.array(shape, draw.fraction)
    sign = draw.array(shape, lambda: -1.0 if draw.flag() else 1.0)
    targets = round_to(dtype, targets)
    return {"predictions": round_to(dtype, targets + sign * difference_of_norm(norms, mu)), "targets": targets}


def loss_shape(draw: Draw) -> tuple[int, ...]:
    """Up to four images of up to four elements."""
    return draw.shape(draw.integer(1, 2))


# --- what laws are made of ------------------------------------------------------------------------------------


def counts_of(norms: Array, valid: Array, case: Case) -> Array:
    """Examples in each region."""
    return unit_region_counts(norms, valid, bins=int(option(case, "bins")))


def sums_of_regions(values: Array, norms: Array, valid: Array, case: Case) -> Array:
    """Sum of a value over the examples of each region."""
    bins = int(option(case, "bins"))
    index = unit_region_index(np.where(valid, norms, 0.0), bins=bins)
    return np.bincount(index.ravel(), weights=np.where(valid, values, 0.0).ravel(), minlength=bins)


def elementwise(case: Case, change: Callable[[Array], Array], *but: str) -> Case:
    """The same change to every argument but these, which are no elements."""
    return case.with_arguments(**{n: v if n in but else change(v) for n, v in case.arguments.items()})


def reversed_elements(case: Case) -> Case:
    """The elements in reverse, the state as it is."""
    return elementwise(case, lambda values: values[::-1].copy(), "state")


def twice(case: Case) -> Case:
    """Every element twice."""
    return elementwise(case, lambda values: np.concatenate([values, values]), "state")


def beside_examples(draw: Draw, case: Case, name: str) -> Case:
    """Every element twice, all of them examples; then the first is NaN, and sometimes the last infinite."""
    doubled = twice(case)
    values = doubled.arguments[name]
    values.flat[0] = np.nan
    values.flat[-1] = draw.choice((np.inf, -np.inf, values.flat[-1]))
    if "labels" in doubled.arguments:
        return doubled.with_arguments(labels=np.maximum(doubled.arguments["labels"], 0))
    return doubled.with_arguments(valid=np.ones(values.shape, dtype=np.bool_))


def not_valid(case: Case) -> Case:
    """No element is an example."""
    return case.with_arguments(valid=np.zeros(case.arguments["valid"].shape, dtype=np.bool_))


def valid_of(case: Case, shape: tuple[int, ...]) -> Array:
    """Which elements are examples; without a mask all of them."""
    return case.arguments.get("valid", np.ones(shape, dtype=np.bool_))


def number_of(mask: Array) -> int:
    """How many there are, or 1 where there are none: a divisor."""
    return max(int(np.count_nonzero(mask)), 1)
