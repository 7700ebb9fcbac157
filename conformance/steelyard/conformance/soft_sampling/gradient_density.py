"""Contracts of the gradient density: exact windows, unit regions, their moving average, and the weights of both.

Li, Liu, Wang, "Gradient Harmonized Single-stage Detector", AAAI 2019 (arXiv 1811.05181), equations 4 to 13, and
the authors' code, which differs twice (dialects).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from steelyard.conformance.checking import (
    BadInput,
    Bench,
    bad_option,
    bad_shape,
    float_format,
    gradient,
    leaving_out,
    padding,
    plain,
    purity,
    refuses,
    value,
)
from steelyard.conformance.contract import (
    Argument,
    Array,
    Case,
    Kind,
    Level,
    Output,
    Requirement,
    Technique,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.precision import round_to
from steelyard.conformance.soft_sampling.focal_inputs import FULL, HALF
from steelyard.conformance.soft_sampling.ghm_inputs import (
    EPSILON,
    GHM_CODE,
    GHM_PAPER,
    Options,
    clear_norms,
    clear_window_norms,
    draw_norms,
    draw_regions,
    draw_state,
    draw_valid,
    loss_shape,
    norms_domain,
    norms_window_domain,
    not_valid,
    number_of,
    with_bins,
)
from steelyard.conformance.soft_sampling.ghm_laws import (
    AVERAGE,
    CONSTANT,
    DIALECTS,
    EDGES,
    EPSILON_OPTION,
    HALVES,
    IMPLIED,
    NOT_A_NUMBER,
    ONE_HISTOGRAM,
    REGION_OPTIONS,
    STATE,
    TWO_NORMS,
    average_forgets_its_start,
    bounds_of,
    one_region_weighs_one,
    weights_of_twice,
    weights_reversed,
    weights_sum_to_examples,
)
from steelyard.conformance.soft_sampling.gradient_density_mutants import (
    DENSITY_MUTANTS,
    HARMONIZING_MUTANTS,
    WEIGHT_MUTANTS,
)
from steelyard.reference.soft_sampling import gradient_density as oracle

_OTHER_BINS = (30, 4, 5, 2, 7, 1)
_EXACT_BINS = (2, 4, 8, 16)  # edges j / M that every format holds

# --- inputs of unit regions -----------------------------------------------------------------------------------


def _regions(draw: Draw, shape: tuple[int, ...], *, averaged: bool | None = None) -> Case:
    dtype = draw.dtype()
    options = draw_regions(draw, averaged=averaged)
    norms = draw_norms(draw, shape, dtype)
    arguments = {"gradient_norms": norms, "valid": draw_valid(draw, shape), "state": draw_state(draw, 10, dtype)}
    return Case(arguments, options, dtype)


def in_regions(draw: Draw) -> Case:
    """Ten regions, norms clear of their edges, with and without a moving average."""
    return clear_norms(_regions(draw, loss_shape(draw)))


def unaveraged(draw: Draw) -> Case:
    """Without a moving average."""
    return clear_norms(_regions(draw, loss_shape(draw), averaged=False))


def averaged(draw: Draw) -> Case:
    """With one."""
    return clear_norms(_regions(draw, loss_shape(draw), averaged=True))


def other_bins(draw: Draw) -> Case:
    """Other numbers of regions than ten."""
    return clear_norms(with_bins(draw.choice(_OTHER_BINS), _regions(draw, loss_shape(draw))))


def on_edges(draw: Draw) -> Case:
    """Norms on the edges 0, 1/2 and 1 of ten regions."""
    case = in_regions(draw)
    norms = case.arguments["gradient_norms"]
    ties = draw.array(norms.shape, lambda: draw.choice((-1.0, 0.5, 1.0, 0.0)))
    ties.flat[0] = draw.choice((0.5, 1.0))
    return case.with_arguments(gradient_norms=np.where(ties < 0, norms, ties))


def on_exact_edges(draw: Draw) -> Case:
    """Norms on edges of 2, 4, 8 or 16 regions."""
    case = with_bins(draw.choice(_EXACT_BINS), _regions(draw, loss_shape(draw)))
    bins = int(case.options["bins"] or 1)
    shape = case.arguments["gradient_norms"].shape
    return case.with_arguments(gradient_norms=draw.integers(shape, 0, bins) / bins)


def on_rounded_edges(draw: Draw) -> Case:
    """Norms that are j / M, rounded: where floor(g M) goes wrong, among others."""
    bins = draw.choice((10, 49, 30, 98))
    case = with_bins(bins, _regions(draw, loss_shape(draw)))
    shape = case.arguments["gradient_norms"].shape
    return case.with_arguments(gradient_norms=draw.integers(shape, 0, bins) / bins)


def momentum_zero(draw: Draw) -> Case:
    """Momentum 0: the average is this call's counts."""
    return averaged(draw).with_options(momentum=0.0)


def regions_without_examples(draw: Draw) -> Case:
    """No element at all, or none that is valid."""
    if draw.flag():
        return not_valid(in_regions(draw))
    return _regions(draw, draw.choice(((0,), (0, 3), (2, 0))))


def some_nan(draw: Draw) -> Case:
    """Some norms that are NaN."""
    return _with_nan(draw, in_regions(draw))


def _with_nan(draw: Draw, case: Case) -> Case:
    norms = case.arguments["gradient_norms"].copy()
    norms.flat[draw.integer(0, norms.size - 1)] = np.nan
    return case.with_arguments(gradient_norms=norms, valid=np.ones(norms.shape, dtype=np.bool_))


def region_scene(seed: int) -> Case:
    """20,000 norms of a trained detector: nearly all easy, a few outliers; the counts of an earlier call."""
    random = np.random.default_rng(seed)
    norms = np.where(random.random((2, 10000)) < 2e-3, random.beta(5.0, 1.0, (2, 10000)),
                     random.beta(0.3, 20.0, (2, 10000)))  # fmt: skip
    state = np.concatenate([[15000.0, 3000.0, 900.0], np.zeros(4), [3.0, 20.0, 50.0]])
    arguments = {"gradient_norms": round_to("float32", norms), "valid": random.random(norms.shape) < 0.9,
                 "state": state}  # fmt: skip
    options: Options = {"bins": 10, "norm": "nonempty", "momentum": 0.75 if seed % 2 else None, "ema": "lazy"}
    return clear_norms(Case(arguments, options, "float32", origin=f"scene {seed}"))


def half_region_scene(seed: int) -> Case:
    """4,000 easy norms and an outlier, in float16."""
    random = np.random.default_rng(seed)
    norms = random.random(4000) * 0.05
    norms[0] = 0.96
    arguments = {"gradient_norms": round_to("float16", norms), "valid": np.ones(norms.shape, dtype=np.bool_),
                 "state": np.zeros(10)}  # fmt: skip
    options: Options = {"bins": 10, "norm": "nonempty", "momentum": None, "ema": "lazy"}
    return clear_norms(Case(arguments, options, "float16", origin=f"scene {seed}"))


def no_gradient(gradient_norms: Array, valid: Array, *_: object, **__: object) -> Array:
    """Weights are constants."""
    return np.zeros(np.shape(gradient_norms))


# --- inputs of windows ----------------------------------------------------------------------------------------


def _windows(draw: Draw, shape: tuple[int, ...], dtype: str, epsilon: float = EPSILON) -> Case:
    arguments = {"gradient_norms": draw_norms(draw, shape, dtype), "valid": draw_valid(draw, shape)}
    return Case(arguments, {"epsilon": epsilon}, dtype)


def in_windows(draw: Draw) -> Case:
    """Norms of which no two are half a window apart."""
    return clear_window_norms(_windows(draw, loss_shape(draw), draw.dtype()))


def other_windows(draw: Draw) -> Case:
    """Other lengths than 0.1."""
    case = _windows(draw, loss_shape(draw), draw.dtype())
    return clear_window_norms(case.with_options(epsilon=draw.choice((0.25, 0.5, 1.0, 1.5, 2.0, 0.2))))


def on_window_ends(draw: Draw) -> Case:
    """Norms exactly half a window apart."""
    case = _windows(draw, (draw.integer(2, 8),), draw.dtype())
    norms = draw.integers(case.arguments["gradient_norms"].shape, 0, 16) / 16.0
    norms[1] = abs(norms[0] - 0.125)
    return case.with_arguments(gradient_norms=norms).with_options(epsilon=draw.choice((0.25, 0.125, 0.5, 1.0)))


def smallest_windows(draw: Draw) -> Case:
    """A window below the resolution of the format, norms that are far apart or equal."""
    case = _windows(draw, (draw.integer(2, 8),), draw.dtype())
    norms = draw.integers(case.arguments["gradient_norms"].shape, 1, 15) / 16.0
    epsilon = 1e-9 if case.dtype == "float32" else 1e-18
    return case.with_arguments(gradient_norms=norms).with_options(epsilon=epsilon)


def evenly_spread(draw: Draw) -> Case:
    """Norms (k - 1/2) / N, and a window of an odd number of their distances."""
    number = draw.choice((16, 32))
    norms = (np.arange(number) + 0.5) / number
    options = {"epsilon": draw.choice((3, 5, 7)) / number}
    return Case({"gradient_norms": norms, "valid": np.ones(number, dtype=np.bool_)}, options, draw.dtype())


def windows_without_examples(draw: Draw) -> Case:
    """No element at all, or none that is valid."""
    if draw.flag():
        return not_valid(in_windows(draw))
    return _windows(draw, draw.choice(((0,), (0, 3), (2, 0))), draw.dtype())


def windows_with_nan(draw: Draw) -> Case:
    """Some norms that are NaN, and one near 1."""
    case = in_windows(draw)
    norms = np.concatenate([case.arguments["gradient_norms"].ravel(), [1.0, 1.0]])
    return _with_nan(draw, clear_window_norms(case.with_arguments(gradient_norms=norms)))


def _levels(random: np.random.Generator, number: int, dtype: str) -> Array:
    """Norms of which no two are half a window apart, 40 of them over and over."""
    norms = round_to(dtype, np.concatenate([random.beta(0.3, 20.0, 30), random.random(10)]))
    case = Case({"gradient_norms": norms}, {"epsilon": EPSILON}, dtype)
    return random.choice(clear_window_norms(case).arguments["gradient_norms"], number)


def window_scene(seed: int) -> Case:
    """5,000 norms of a trained detector."""
    random = np.random.default_rng(seed)
    arguments = {"gradient_norms": _levels(random, 5000, "float32"), "valid": random.random(5000) < 0.9}
    return Case(arguments, {"epsilon": EPSILON}, "float32", origin=f"scene {seed}")


def half_window_scene(seed: int) -> Case:
    """4,000 norms in float16, most of them equal."""
    random = np.random.default_rng(seed)
    norms = np.where(random.random(4000) < 0.7, 0.25, _levels(random, 4000, "float16"))
    case = Case({"gradient_norms": norms, "valid": np.ones(4000, dtype=np.bool_)}, {"epsilon": EPSILON}, "float16")
    distinct, place = np.unique(norms, return_inverse=True)
    cleared = clear_window_norms(case.with_arguments(gradient_norms=distinct)).arguments["gradient_norms"]
    return replace(case.with_arguments(gradient_norms=cleared[place]), origin=f"scene {seed}")


# --- laws of windows ------------------------------------------------------------------------------------------


def density_within_its_bounds(bench: Bench, case: Case) -> None:
    """An example has from 1 to N neighbours: the answer is between those of these densities."""
    answer = bench.evaluate(case)
    g, valid, half = case.arguments["gradient_norms"], case.arguments["valid"], float(case.options["epsilon"]) / 2.0  # type: ignore[arg-type]
    length = np.minimum(half, 1.0 - g) + np.minimum(half, g)
    low = 1.0 / length if bench.technique.id == "gradient_density" else length
    found, dtype = np.asarray(answer.outputs[0], dtype=np.float64), float_format(answer.dtypes[0], case)
    nearest = np.where(valid, np.clip(np.nan_to_num(found), low, number_of(valid) * low), 0.0)
    bench.expect_close(case, found, nearest, bounds_of(bench, case, dtype), dtype, "value outside its bounds")


def even_spread_is_constant(bench: Bench, case: Case) -> None:
    """Away from the ends the density of evenly spread norms is their number, and the weight 1."""
    answer = bench.evaluate(case)
    number = case.arguments["gradient_norms"].size
    end = int(float(case.options["epsilon"]) * number) // 2 + 1  # type: ignore[arg-type]
    found = np.asarray(answer.outputs[0], dtype=np.float64)[end:-end]
    expected = np.full(found.shape, float(number) if bench.technique.id == "gradient_density" else 1.0)
    plain(bench, case, found, expected, "value away from the ends")


# --- contracts ------------------------------------------------------------------------------------------------

_NORMS = Argument("gradient_norms", ("...",), "float", "g in [0, 1]; NaN is not an example", differentiable=True,
                  domain=norms_domain)  # fmt: skip
_VALID = Argument("valid", ("...",), "bool", "which elements are examples")
_STATE = Argument("state", ("M",), "float", "moving average of the counts before this call, zeros at the start")
_REGIONS = {
    "an element that is not valid": lambda c: not c.arguments["valid"].all(),
    "a moving average": lambda c: c.options["momentum"] is not None,
    "a state that is not 0": lambda c: bool(c.arguments["state"].any()),
    "two examples in a region": lambda c: bool(
        (oracle.unit_region_counts(c.arguments["gradient_norms"], c.arguments["valid"], bins=10) > 1).any()
    ),
    "the paper's norm": lambda c: c.options["norm"] == "M",
    "full moving average": lambda c: c.options["ema"] == "full",
}
_LONGER = ("a mask longer than the norms", "valid")
_SOURCE = GHM_PAPER + ", equations {}"
_BAD_STATE = BadInput(
    "a state of another length", lambda c: c.with_arguments(state=np.concatenate([c.arguments["state"], [1.0]])),
)  # fmt: skip
BAD_REGIONS = refuses(
    bad_option("bins", 0), bad_option("norm", "n"), bad_option("momentum", 1.0), bad_option("ema", "slow")
)

UNIT_REGION_WEIGHTS = Technique(
    id="unit_region_weights",
    title="Harmonizing weights from unit regions",
    family="soft_sampling",
    summary="Weights inverse to the number of examples of similar gradient norm, counted in M regions of [0, 1].",
    sources=(_SOURCE.format("9 to 13"), GHM_CODE),
    oracle=oracle.unit_region_weights,
    gradients={"gradient_norms": no_gradient},
    arguments=(_NORMS, _VALID, _STATE),
    options=REGION_OPTIONS,
    outputs=(Output("weights", ("...",), "float", "0 where not valid"), STATE),
    dialects=DIALECTS,
    requirements=(
        Requirement("URW-1", Level.MUST, Kind.VALUE,
                    "A weight is N / (R n) of its region, with R averaged over calls where there is a momentum, and "
                    "the average is given back.", "equations 10 to 13; rulings two-norms and average", value,
                    in_regions, scenes=(region_scene,), reaches=_REGIONS, dtypes=FULL),
        Requirement("URW-2", Level.MUST, Kind.VALUE, "It counts in as many regions as are asked for.", "equation 9",
                    value, other_bins, options=("bins",), dtypes=FULL, examples=0.5,
                    no_mutant="URW-4 and URW-12 ask for other numbers too"),
        Requirement("URW-3", Level.MUST, Kind.TIES,
                    "A norm on an edge belongs to the region above; the last region holds 1.", "ruling edges", value,
                    on_edges, dtypes=FULL, no_mutant="URW-4 asks the same of other numbers of regions"),
        Requirement("URW-4", Level.MUST, Kind.TIES,
                    "The same on the edges of 2, 4, 8 and 16 regions, which every format holds.", "ruling edges",
                    value, on_exact_edges, options=("bins",), dtypes=FULL,
                    no_mutant="URW-3 asks the same of ten regions, for who has no other"),
        Requirement("URW-5", Level.SHOULD, Kind.TIES, "In float64 the edges are j / M, rounded, and compared.",
                    "ruling edges", value, on_rounded_edges, options=("bins",), dtypes=("float64",), examples=0.5),
        Requirement("URW-6", Level.MAY, Kind.TIES, "With momentum 0 the average is this call's counts.",
                    "equation 12", value, momentum_zero, options=("momentum",), dtypes=FULL, examples=0.5),
        Requirement("URW-7", Level.MUST, Kind.EMPTY,
                    "Without an example there is no weight, and the average stays or decays.", "ruling no-example",
                    value, regions_without_examples, dtypes=FULL, examples=0.5),
        Requirement("URW-8", Level.SHOULD, Kind.EXTREME, "NaN is not counted, and has weight NaN.",
                    "ruling not-a-number", value, some_nan, dtypes=FULL, examples=0.3),
        Requirement("URW-9", Level.SHOULD, Kind.EXTREME, "Half-precision norms give the weights computed in float32.",
                    "ruling half-precision", value, in_regions, scenes=(half_region_scene,), dtypes=HALF),
        Requirement("URW-10", Level.MUST, Kind.DETACHED, "No gradient flows through the weights.",
                    "ruling constant-weights", gradient("gradient_norms"), in_regions, needs_gradient=True,
                    dtypes=FULL, examples=0.3),
        Requirement("URW-11", Level.MUST, Kind.CONSERVATION,
                    "Without a moving average the weights sum to N, or to N n / M.", "equation 10",
                    weights_sum_to_examples, unaveraged, dtypes=FULL, examples=0.3,
                    no_mutant=IMPLIED.format("URW-1")),
        Requirement("URW-12", Level.MUST, Kind.REDUCES_TO, "With one region every example weighs 1.", "equation 10",
                    one_region_weighs_one, unaveraged, options=("bins",), dtypes=FULL, examples=0.3,
                    no_mutant=IMPLIED.format("URW-2")),
        Requirement("URW-13", Level.MUST, Kind.LIMIT,
                    "Of equal calls the average tends to their counts: (1 - momentum^t) R after t of them.",
                    "equation 12", average_forgets_its_start, averaged, options=("momentum",), dtypes=FULL,
                    examples=0.3, no_mutant=IMPLIED.format("URW-1")),
        Requirement("URW-14", Level.MUST, Kind.INVARIANCE, "Every element twice: the same weights.", "equation 10",
                    weights_of_twice, unaveraged, dtypes=FULL, examples=0.3, no_mutant=IMPLIED.format("URW-1")),
        Requirement("URW-15", Level.MUST, Kind.INVARIANCE, "Reordering the elements reorders the weights.",
                    "equation 9", weights_reversed, in_regions, dtypes=FULL, examples=0.3,
                    no_mutant=IMPLIED.format("URW-1")),
        Requirement("URW-16", Level.MUST, Kind.BATCH, "Padding that is not valid changes nothing.",
                    "ruling one-histogram", padding(0, gradient_norms=0.0, valid=0.0), in_regions, dtypes=FULL,
                    examples=0.3, no_mutant=IMPLIED.format("URW-1")),
        Requirement("URW-17", Level.MUST, Kind.PURITY,
                    "The inputs, the state too, are not written to, and equal calls give equal bits.", "house rule",
                    purity, in_regions, dtypes=FULL, examples=0.3),
        Requirement("URW-18", Level.SHOULD, Kind.ERROR, "A mask or state that does not fit is refused.", "house rule",
                    refuses(bad_shape("valid"), _BAD_STATE), in_regions, dtypes=FULL, examples=0.2),
        Requirement("URW-19", Level.MAY, Kind.ERROR, "Options out of range are refused.", "house rule", BAD_REGIONS,
                    averaged, dtypes=FULL, examples=0.2),
        Requirement("URW-20", Level.SHOULD, Kind.EMPTY,
                    "Without a mask all are examples; without a state the average starts from zeros.", "house rule",
                    leaving_out("valid", "state"), in_regions, dtypes=FULL, examples=0.2),
    ),
    mutants=WEIGHT_MUTANTS,
    rulings=(TWO_NORMS, EDGES, AVERAGE, NOT_A_NUMBER, ONE_HISTOGRAM, CONSTANT, HALVES),
    not_applicable={
        Kind.GRADIENT: "weights are constants: URW-10",
        Kind.BOUND: "between 0 and N without a moving average: implied by URW-11, for no weight is negative",
        Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip


def _window_requirements(prefix: str, what: str) -> tuple[Requirement, ...]:
    """Requirements of the exact density, or of the weights that are its inverse."""
    first = f"{prefix}-1"
    return (
        Requirement(first, Level.MUST, Kind.VALUE, f"{what}", "equations 4 to 7", value, in_windows,
                    scenes=(window_scene,), dtypes=FULL,
                    reaches={"an element that is not valid": lambda c: not c.arguments["valid"].all(),
                             "a window cut at 0": lambda c: bool((c.arguments["gradient_norms"] < 0.05).any()),
                             "a window cut at 1": lambda c: bool((c.arguments["gradient_norms"] > 0.95).any())}),
        Requirement(f"{prefix}-2", Level.MUST, Kind.VALUE, "The window is as long as is asked for.",
                    "equation 5", value, other_windows, options=("epsilon",), dtypes=FULL, examples=0.5,
                    no_mutant=f"{prefix}-3 and {prefix}-6 ask for other lengths too"),
        Requirement(f"{prefix}-3", Level.MUST, Kind.TIES,
                    "A neighbour half a window below counts, half a window above does not.", "equation 5", value,
                    on_window_ends, options=("epsilon",), dtypes=FULL),
        Requirement(f"{prefix}-4", Level.MUST, Kind.EMPTY, "Without an example the answer is 0 everywhere.",
                    "ruling no-example", value, windows_without_examples, dtypes=FULL, examples=0.5),
        Requirement(f"{prefix}-5", Level.SHOULD, Kind.EXTREME, "NaN is nobody's neighbour, and has NaN itself.",
                    "ruling not-a-number", value, windows_with_nan, dtypes=FULL, examples=0.5),
        Requirement(f"{prefix}-6", Level.SHOULD, Kind.EXTREME,
                    "A window below the format's resolution holds the example itself and its equals.",
                    "equation 5", value, smallest_windows, options=("epsilon",), dtypes=FULL, examples=0.3),
        Requirement(f"{prefix}-7", Level.SHOULD, Kind.EXTREME,
                    "Half-precision norms give the answer computed in float32.", "ruling half-precision", value,
                    in_windows, scenes=(half_window_scene,), dtypes=HALF),
        Requirement(f"{prefix}-8", Level.MUST, Kind.DETACHED, "No gradient flows through it.",
                    "ruling constant-weights", gradient("gradient_norms"), in_windows, needs_gradient=True,
                    dtypes=FULL, examples=0.3),
        Requirement(f"{prefix}-9", Level.MUST, Kind.BOUND, "An example has from 1 to N neighbours.", "equation 5",
                    density_within_its_bounds, in_windows, dtypes=FULL, examples=0.3, no_mutant=IMPLIED.format(first)),
        Requirement(f"{prefix}-10", Level.MUST, Kind.LIMIT,
                    "The density of evenly spread norms is their number, away from the ends.", "equation 6",
                    even_spread_is_constant, evenly_spread, options=("epsilon",), dtypes=FULL, examples=0.2,
                    no_mutant=IMPLIED.format(f"{prefix}-2")),
        Requirement(f"{prefix}-11", Level.MUST, Kind.INVARIANCE, "Reordering the elements reorders the answers.",
                    "equation 5", weights_reversed, in_windows, dtypes=FULL, examples=0.3,
                    no_mutant=IMPLIED.format(first)),
        Requirement(f"{prefix}-12", Level.MUST, Kind.BATCH, "Padding that is not valid changes nothing.",
                    "ruling one-histogram", padding(0, gradient_norms=0.5, valid=0.0), in_windows, dtypes=FULL,
                    examples=0.3, no_mutant=IMPLIED.format(first)),
        Requirement(f"{prefix}-13", Level.MUST, Kind.PURITY,
                    "The inputs are not written to, and equal calls give equal bits.", "house rule", purity,
                    in_windows, dtypes=FULL, examples=0.3),
        Requirement(f"{prefix}-14", Level.SHOULD, Kind.ERROR, "A mask that does not fit is refused.", "house rule",
                    refuses(bad_shape("valid")), in_windows, dtypes=FULL, examples=0.2),
        Requirement(f"{prefix}-15", Level.MAY, Kind.ERROR, "A window length outside (0, 2] is refused.",
                    "house rule", refuses(bad_option("epsilon", 0.0), bad_option("epsilon", 2.5)), in_windows,
                    dtypes=FULL, examples=0.2),
        Requirement(f"{prefix}-16", Level.SHOULD, Kind.EMPTY, "Without a mask all are examples.", "house rule",
                    leaving_out("valid"), in_windows, dtypes=FULL, examples=0.2),
    )  # fmt: skip


_WINDOW_NOT_APPLICABLE = {
    Kind.GRADIENT: "a constant: see the detached factors",
    Kind.REDUCES_TO: "at length 2 it is constant, one of the lengths asked for",
    Kind.CONSERVATION: "windows overlap, so nothing is conserved",
    Kind.DISTRIBUTION: "not random",
}

HARMONIZING_WEIGHTS = Technique(
    id="harmonizing_weights",
    title="Harmonizing weights from the exact gradient density",
    family="soft_sampling",
    summary="Weights inverse to the density of examples around an example's gradient norm.",
    sources=(_SOURCE.format("4 to 7"),),
    oracle=oracle.harmonizing_weights,
    gradients={"gradient_norms": no_gradient},
    arguments=(replace(_NORMS, domain=norms_window_domain), _VALID),
    options=(EPSILON_OPTION,),
    outputs=(Output("weights", ("...",), "float", "0 where not valid"),),
    requirements=_window_requirements("HW", "A weight is N by the density: N l / neighbours, with the window's l."),
    mutants=HARMONIZING_MUTANTS,
    rulings=(NOT_A_NUMBER, ONE_HISTOGRAM, CONSTANT, HALVES),
    not_applicable=_WINDOW_NOT_APPLICABLE,
)

GRADIENT_DENSITY = replace(
    HARMONIZING_WEIGHTS,
    id="gradient_density",
    title="Gradient density",
    summary="Number of examples around an example's gradient norm by the length of the window.",
    sources=(_SOURCE.format("4 to 6"),),
    oracle=oracle.gradient_density,
    outputs=(Output("density", ("...",), "float", "0 where not valid"),),
    requirements=_window_requirements(
        "GD", "The density is the number of neighbours by the length of the window, cut at 0 and 1."
    ),
    mutants=DENSITY_MUTANTS,
)
