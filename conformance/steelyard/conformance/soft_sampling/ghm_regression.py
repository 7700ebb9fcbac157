"""Contracts of the authentic smooth L1 loss and of GHM-R: with unit regions, and with the exact density.

Li, Liu, Wang, "Gradient Harmonized Single-stage Detector", AAAI 2019 (arXiv 1811.05181), section on GHM-R, and
the authors' code, which differs twice (dialects).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from steelyard.conformance.checking import (
    Bench,
    bad_option,
    bad_shape,
    batch_equals_per_image,
    gradient,
    permutation,
    plain,
    purity,
    refuses,
    same_as,
    value,
)
from steelyard.conformance.contract import (
    Argument,
    Array,
    Case,
    Kind,
    Level,
    Option,
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.soft_sampling.focal_inputs import FULL, HALF, option
from steelyard.conformance.soft_sampling.ghm_inputs import (
    GHM_CODE,
    GHM_PAPER,
    MU,
    kept_on_edges,
)
from steelyard.conformance.soft_sampling.ghm_laws import (
    AVERAGE,
    CONSTANT,
    DIALECTS,
    EDGES,
    EPSILON_OPTION,
    HALVES,
    IMPLIED,
    NO_EXAMPLE,
    NOT_A_NUMBER,
    NOT_VALID,
    ONE_HISTOGRAM,
    REDUCTION_OPTION,
    REGION_OPTIONS,
    STATE,
    TERMS,
    TWO_NORMS,
    practical_errors,
    summands_of,
)
from steelyard.conformance.soft_sampling.ghm_regression_inputs import (
    EXACT,
    REGIONS,
    boxes,
    boxes_scene,
    elements_of,
    exact,
    exact_half_extreme,
    exact_other_mu,
    far_off,
    furthest,
    half_extreme,
    half_far_off,
    no_boxes,
    not_a_number,
    on_target,
    ordinary,
    other_mu,
    regions_of_other_mu,
    unaveraged_of_other_mu,
)
from steelyard.conformance.soft_sampling.ghm_regression_mutants import EXACT_MUTANTS, MUTANTS, SMOOTH_L1_MUTANTS
from steelyard.conformance.soft_sampling.ghm_requirements import (
    further_region_requirements,
    further_window_requirements,
    region_requirements,
    region_twice,
    window_requirements,
)
from steelyard.reference.soft_sampling import ghm_regression as oracle

_FEW = 4.0

_PREDICTIONS = Argument("predictions", ("...",), "float", "box deltas", differentiable=True)
_TARGETS = Argument("targets", ("...",), "float", "what they are to be")
_MU = Option("mu", MU, "mu, where the loss bends, > 0")
_SOURCE = GHM_PAPER + ", section on GHM-R"


# --- its laws -------------------------------------------------------------------------------------------------


def practical_error(case: Case, u: float) -> Array:
    """The textbook's square root less mu: off by a few roundoffs of either."""
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.abs(case.arguments["predictions"] - case.arguments["targets"]) + option(case, "mu")
    return np.nan_to_num(_FEW * u * size, nan=0.0, posinf=0.0)


def swapped(case: Case) -> Case:
    """Predictions for targets and targets for predictions."""
    return case.with_arguments(predictions=case.arguments["targets"], targets=case.arguments["predictions"])


def between_zero_and_l1(bench: Bench, case: Case) -> None:
    """|d| - mu <= loss <= |d|, and not below 0."""
    loss = np.asarray(bench.evaluate(case).outputs[0], dtype=np.float64)
    distance, mu = np.abs(case.arguments["predictions"] - case.arguments["targets"]), option(case, "mu")
    low = np.maximum(distance - mu, 0.0)
    # compared as numbers of the size of |d| + mu, of which a few roundoffs may be lost
    plain(bench, case, np.clip(loss, low, distance) + distance + mu, loss + distance + mu, "value outside its bounds")


def nearly_l1_or_square(bench: Bench, case: Case) -> None:
    """Far from mu on either side: |d| - mu, or d^2 / (2 mu), up to the next term of the series."""
    loss = np.asarray(bench.evaluate(case).outputs[0], dtype=np.float64)
    distance, mu = np.abs(case.arguments["predictions"] - case.arguments["targets"]), option(case, "mu")
    far = distance > mu
    with np.errstate(divide="ignore", invalid="ignore"):
        series = np.where(far, distance - mu + mu**2 / (2 * distance), distance**2 / (2 * mu))
        rest = np.where(far, mu**4 / (8 * distance**3), distance**4 / (8 * mu**3))
    low = np.where(distance == 0.0, 0.0, series - rest)
    nearest = np.clip(loss, low, series)
    plain(bench, case, loss + distance + mu, nearest + distance + mu, "value outside the series")


# --- contract of the element loss -----------------------------------------------------------------------------

AUTHENTIC_SMOOTH_L1_LOSS = Technique(
    id="authentic_smooth_l1_loss",
    title="Authentic smooth L1 loss",
    family="soft_sampling",
    summary="sqrt(d^2 + mu^2) - mu: smooth L1 whose gradient norm grows with |d| everywhere.",
    sources=(_SOURCE,),
    oracle=oracle.authentic_smooth_l1_loss,
    gradients={"predictions": oracle.authentic_smooth_l1_loss_grad},
    arguments=(_PREDICTIONS, _TARGETS),
    options=(_MU,),
    outputs=(Output("loss", ("...",), "float", "element losses, not reduced"),),
    practical_error=practical_error,
    requirements=(
        Requirement("ASL-1", Level.MUST, Kind.VALUE, "Each element's loss is sqrt(d^2 + mu^2) - mu.",
                    "section on GHM-R", value, boxes, scenes=(boxes_scene,), dtypes=FULL,
                    reaches={"a difference below mu": lambda c: bool((_sizes(c) < MU).any()),
                             "a difference above mu": lambda c: bool((_sizes(c) > 2 * MU).any()),
                             "a prediction below its target": lambda c: bool(
                                 (c.arguments["predictions"] < c.arguments["targets"]).any())}),
        Requirement("ASL-2", Level.MUST, Kind.GRADIENT, "The gradient is d / sqrt(d^2 + mu^2).", "section on GHM-R",
                    gradient("predictions"), boxes, scenes=(boxes_scene,), needs_gradient=True, dtypes=FULL),
        Requirement("ASL-3", Level.MUST, Kind.VALUE, "It bends at the mu that is asked for.", "section on GHM-R",
                    value, other_mu, options=("mu",), dtypes=FULL, examples=0.5),
        Requirement("ASL-4", Level.MUST, Kind.TIES, "On its target an element has gradient 0.", "section on GHM-R",
                    gradient("predictions"), on_target, needs_gradient=True, dtypes=FULL, examples=0.5),
        Requirement("ASL-5", Level.MUST, Kind.EXTREME, "The value follows the formula for differences up to 10^4.",
                    "section on GHM-R", value, far_off, dtypes=FULL, examples=0.5,
                    no_mutant="what is cut at 1000 is cut at the end of the format, where ASL-7 sees it"),
        Requirement("ASL-6", Level.MUST, Kind.EXTREME, "The gradient follows its formula for differences up to 10^4.",
                    "section on GHM-R", gradient("predictions"), far_off, needs_gradient=True, dtypes=FULL,
                    examples=0.5,
                    no_mutant="what is clamped at 1000 is clamped at the end of the format, where ASL-8 sees it"),
        Requirement("ASL-7", Level.MAY, Kind.EXTREME,
                    "The value follows the formula to both ends of the format: nothing is squared.",
                    "ruling nothing-squared", value, furthest, dtypes=FULL, examples=0.5),
        Requirement("ASL-8", Level.MAY, Kind.EXTREME, "The gradient follows its formula to both ends of the format.",
                    "ruling nothing-squared", gradient("predictions"), furthest, needs_gradient=True, dtypes=FULL,
                    examples=0.5),
        Requirement("ASL-9", Level.SHOULD, Kind.EXTREME, "Half-precision inputs give the value computed in float32.",
                    "ruling half-precision", value, boxes, dtypes=HALF, examples=0.5,
                    no_mutant="what is wrong near the bend is wrong far from it, where ASL-10 sees it, or in float32"),
        Requirement("ASL-10", Level.SHOULD, Kind.EXTREME,
                    "The same for differences up to 1000, whose square float16 does not hold.",
                    "ruling half-precision", value, half_far_off, dtypes=HALF, examples=0.5),
        Requirement("ASL-11", Level.SHOULD, Kind.EXTREME,
                    "Half-precision inputs give the gradient computed in float32, for differences up to 1000.",
                    "ruling half-precision", gradient("predictions"), half_far_off, needs_gradient=True, dtypes=HALF,
                    examples=0.5),
        Requirement("ASL-12", Level.MAY, Kind.EXTREME, "NaN stays in its element; an infinite difference is infinite.",
                    "ruling not-a-number", value, not_a_number, dtypes=FULL, examples=0.3),
        Requirement("ASL-13", Level.MUST, Kind.EMPTY, "No elements give no losses, in the same shape.",
                    "ruling: an image without boxes is legal", value, no_boxes, dtypes=FULL, examples=0.2),
        Requirement("ASL-14", Level.MUST, Kind.LIMIT,
                    "Far above mu it is |d| - mu, far below d^2 / (2 mu), up to the next term.", "section on GHM-R",
                    nearly_l1_or_square, boxes, dtypes=FULL, examples=0.3, no_mutant=IMPLIED.format("ASL-1")),
        Requirement("ASL-15", Level.MUST, Kind.INVARIANCE, "Predictions and targets can be swapped.",
                    "section on GHM-R", same_as(swapped, "value with predictions and targets swapped"), boxes,
                    dtypes=FULL, examples=0.3, no_mutant=IMPLIED.format("ASL-1")),
        Requirement("ASL-16", Level.MUST, Kind.BOUND, "The loss lies between |d| - mu and |d|, and is not below 0.",
                    "section on GHM-R", between_zero_and_l1, boxes, dtypes=FULL, examples=0.3,
                    no_mutant=IMPLIED.format("ASL-1")),
        Requirement("ASL-17", Level.MUST, Kind.BATCH, "A batch gives what its rows give one by one.",
                    "element losses", batch_equals_per_image, boxes, dtypes=FULL, examples=0.3,
                    no_mutant=IMPLIED.format("ASL-1")),
        Requirement("ASL-18", Level.MUST, Kind.INVARIANCE, "Reordering the elements reorders the losses.",
                    "element losses", permutation, boxes, dtypes=FULL, examples=0.3,
                    no_mutant=IMPLIED.format("ASL-1")),
        Requirement("ASL-19", Level.MUST, Kind.PURITY,
                    "The inputs are not written to, and equal calls give equal bits.", "house rule", purity, boxes,
                    dtypes=FULL, examples=0.3),
        Requirement("ASL-20", Level.SHOULD, Kind.ERROR, "Targets of another shape are refused.", "house rule",
                    refuses(bad_shape("targets")), boxes, dtypes=FULL, examples=0.2),
        Requirement("ASL-21", Level.MAY, Kind.ERROR, "A mu that is not above 0 is refused.", "house rule",
                    refuses(bad_option("mu", 0.0), bad_option("mu", -1.0)), boxes, dtypes=FULL, examples=0.2),
        Requirement("ASL-22", Level.MAY, Kind.EXTREME,
                    "The gradient of an infinite difference is 1 or -1; NaN stays in its element.",
                    "ruling not-a-number", gradient("predictions"), not_a_number, needs_gradient=True, dtypes=FULL,
                    examples=0.3),
        Requirement("ASL-23", Level.MUST, Kind.GRADIENT, "The gradient too bends at the mu that is asked for.",
                    "section on GHM-R", gradient("predictions"), other_mu, options=("mu",), needs_gradient=True,
                    dtypes=FULL, examples=0.5),
    ),
    mutants=SMOOTH_L1_MUTANTS,
    rulings=(
        Ruling("nothing-squared", "d^2 overflows from 256 in float16 and from 2e19 in float32; a hypotenuse does not."),
        NOT_A_NUMBER,
        HALVES,
    ),
    not_applicable={
        Kind.DETACHED: "nothing is detached",
        Kind.REDUCES_TO: "ASL-14 says to what it tends; mu 0, the L1 loss, is not allowed",
        Kind.CONSERVATION: "element losses conserve nothing",
        Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip


def _sizes(case: Case) -> Array:
    return np.abs(case.arguments["predictions"] - case.arguments["targets"])


# --- unit regions: contract -----------------------------------------------------------------------------------

_BOXES = tuple(replace(argument, domain=kept_on_edges(argument.name)) for argument in (_PREDICTIONS, _TARGETS))
_VALID = Argument("valid", ("...",), "bool", "which coordinates are examples: those of foreground boxes")
_STATE = Argument("state", ("M",), "float", "moving average of the counts before this call, zeros at the start")
_ERRORS = practical_errors(elements_of)

GHM_REGRESSION_LOSS = Technique(
    id="ghm_regression_loss",
    title="GHM regression loss",
    family="soft_sampling",
    summary="Authentic smooth L1 weighted inversely to the number of examples of similar gradient norm.",
    sources=(_SOURCE, GHM_CODE),
    oracle=oracle.ghm_regression_loss,
    gradients={"predictions": oracle.ghm_regression_loss_grad},
    arguments=(*_BOXES, _VALID, _STATE),
    options=(_MU, *REGION_OPTIONS, REDUCTION_OPTION),
    outputs=(Output("loss", (), "float", "the loss, or its terms (...)"), STATE),
    practical_error=_ERRORS[0],
    practical_gradient_error=_ERRORS[1],
    summands=summands_of(oracle.ghm_regression_loss, elements_of),
    dialects=DIALECTS,
    requirements=(
        *region_requirements("GHMR", REGIONS),
        region_twice("GHMR-26", "GHMR-1", REGIONS),
        Requirement("GHMR-27", Level.MUST, Kind.INVARIANCE, "Predictions and targets can be swapped.",
                    "section on GHM-R", same_as(swapped, "value with predictions and targets swapped"), ordinary,
                    dtypes=FULL, examples=0.3, no_mutant=IMPLIED.format("GHMR-1")),
        Requirement("GHMR-28", Level.MUST, Kind.VALUE, "It bends at the mu that is asked for.", "section on GHM-R",
                    value, regions_of_other_mu, options=("mu",), dtypes=FULL, examples=0.5,
                    no_mutant="GHMR-6 asks for other bends too, of who has as many regions"),
        Requirement("GHMR-29", Level.SHOULD, Kind.EXTREME,
                    "Half-precision differences up to 1000, whose square float16 does not hold, give the value "
                    "computed in float32.", "ruling half-precision", value, half_extreme, dtypes=HALF, examples=0.5),
        Requirement("GHMR-30", Level.SHOULD, Kind.EXTREME, "And the gradient.", "ruling half-precision",
                    gradient("predictions"), half_extreme, needs_gradient=True, dtypes=HALF, examples=0.5),
        *further_region_requirements("GHMR", 31, REGIONS, "valid", "state"),
        Requirement("GHMR-34", Level.MUST, Kind.GRADIENT, "The gradient too bends at the mu that is asked for.",
                    "section on GHM-R", gradient("predictions"), unaveraged_of_other_mu, options=("mu",),
                    needs_gradient=True, dtypes=FULL, examples=0.5),
    ),
    mutants=MUTANTS,
    rulings=(TWO_NORMS, EDGES, AVERAGE, NOT_A_NUMBER, NO_EXAMPLE, NOT_VALID, ONE_HISTOGRAM, CONSTANT, TERMS, HALVES,
             Ruling("coordinates", "Every coordinate is one example; N is the number of valid coordinates.")),
    not_applicable={Kind.DISTRIBUTION: "not random"},
)  # fmt: skip


# --- exact density ------------------------------------------------------------------------------------------

_EXACT_ERRORS = practical_errors(elements_of, exact=True)

EXACT_GHM_REGRESSION_LOSS = Technique(
    id="exact_ghm_regression_loss",
    title="GHM regression loss with the exact density",
    family="soft_sampling",
    summary="Authentic smooth L1 by the density of examples around an example's gradient norm.",
    sources=(_SOURCE,),
    oracle=oracle.exact_ghm_regression_loss,
    gradients={"predictions": oracle.exact_ghm_regression_loss_grad},
    arguments=(*_BOXES, _VALID),
    options=(EPSILON_OPTION, _MU, REDUCTION_OPTION),
    outputs=(Output("loss", (), "float", "the loss, or its terms (...)"),),
    practical_error=_EXACT_ERRORS[0],
    practical_gradient_error=_EXACT_ERRORS[1],
    summands=summands_of(oracle.exact_ghm_regression_loss, elements_of),
    requirements=(
        *window_requirements("GHMRX", EXACT),
        Requirement("GHMRX-21", Level.MUST, Kind.INVARIANCE, "Predictions and targets can be swapped.",
                    "section on GHM-R", same_as(swapped, "value with predictions and targets swapped"), exact,
                    dtypes=FULL, examples=0.3, no_mutant=IMPLIED.format("GHMRX-1")),
        Requirement("GHMRX-22", Level.MUST, Kind.VALUE, "It bends at the mu that is asked for.", "section on GHM-R",
                    value, exact_other_mu, options=("mu",), dtypes=FULL, examples=0.5,
                    no_mutant="GHMRX-6 asks for another bend too, of who has other windows"),
        Requirement("GHMRX-23", Level.SHOULD, Kind.EXTREME,
                    "Half-precision differences up to 1000, whose square float16 does not hold, give the value "
                    "computed in float32.", "ruling half-precision", value, exact_half_extreme, dtypes=HALF,
                    examples=0.5),
        Requirement("GHMRX-24", Level.SHOULD, Kind.EXTREME, "And the gradient.", "ruling half-precision",
                    gradient("predictions"), exact_half_extreme, needs_gradient=True, dtypes=HALF, examples=0.5),
        *further_window_requirements("GHMRX", 25, EXACT),
        Requirement("GHMRX-28", Level.MUST, Kind.GRADIENT, "The gradient too bends at the mu that is asked for.",
                    "section on GHM-R", gradient("predictions"), exact_other_mu, options=("mu",), needs_gradient=True,
                    dtypes=FULL, examples=0.5),
    ),
    mutants=EXACT_MUTANTS,
    rulings=(NOT_A_NUMBER, NO_EXAMPLE, NOT_VALID, ONE_HISTOGRAM, CONSTANT, TERMS, HALVES),
    not_applicable={
        Kind.DETACHED: "GHMRX-2 sees a window's length that is differentiated; counts are integers",
        Kind.LIMIT: "GHMRX-5 is the limit of long windows",
        Kind.CONSERVATION: "windows overlap, so nothing is conserved",
        Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
