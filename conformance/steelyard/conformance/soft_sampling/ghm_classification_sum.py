"""Contract of the sum of the harmonized cross entropies: GHM-C before its division by the number of examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.checking import bad_option, bad_shape, gradient, purity, reduces_to, refuses
from steelyard.conformance.checking import value as equal
from steelyard.conformance.contract import (
    Argument,
    Array,
    Case,
    Dialect,
    Generator,
    Kind,
    Level,
    Mutant,
    Output,
    PracticalError,
    Requirement,
    Technique,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.soft_sampling import ghm_classification_inputs as of_mean
from steelyard.conformance.soft_sampling.focal_inputs import FULL, HALF
from steelyard.conformance.soft_sampling.ghm_inputs import GHM_CODE, GHM_PAPER, number_of
from steelyard.conformance.soft_sampling.ghm_laws import (
    CONSTANT,
    HALVES,
    NO_EXAMPLE,
    NOT_A_NUMBER,
    REGION_OPTIONS,
    TWO_NORMS,
    practical_errors,
)
from steelyard.reference.soft_sampling import ghm_classification_sum as oracle

_SUM, _GRAD = oracle.ghm_classification_sum, oracle.ghm_classification_sum_grad
_MEAN_ERRORS = practical_errors(of_mean.elements_of)

# --- inputs: those of the loss, without its moving average ----------------------------------------------------


def _summed(case: Case) -> Case:
    arguments = {name: values for name, values in case.arguments.items() if name != "state"}
    options = {name: case.options[name] for name in ("bins", "norm")}
    return replace(case, arguments=arguments, options=options)


def _mean(case: Case) -> Case:
    arguments = {**case.arguments, "state": np.zeros(int(case.options["bins"]))}  # type: ignore[arg-type]
    return replace(
        case, arguments=arguments, options={**case.options, "momentum": None, "ema": "lazy", "reduction": "sum"}
    )


def _of(generator: Generator) -> Generator:
    def draw_case(draw: Draw) -> Case:
        return _summed(generator(draw))

    return draw_case


ordinary = _of(of_mean.unaveraged)
empty = _of(of_mean.without_examples)
extreme = _of(of_mean.extreme)
nan_beside_examples = _of(of_mean.nan_beside_examples)
other_bins = _of(of_mean.other_bins)


def any_bins(draw: Draw) -> Case:
    """Ten regions, or another number."""
    return other_bins(draw) if draw.flag(30) else ordinary(draw)


def scene(seed: int) -> Case:
    """A crowd of easy negatives, as of the loss."""
    return _summed(of_mean.scene(seed))


# --- what practical formulas lose, and a law ------------------------------------------------------------------


def _times_examples(error: PracticalError) -> PracticalError:
    def of_sum(case: Case, u: float) -> Array:
        return np.asarray(number_of(of_mean.elements_of(case).valid) * error(_mean(case), u))

    return of_sum


def summands(case: Case) -> tuple[int, Array]:
    """None is negative."""
    return number_of(case.arguments["valid"]), np.asarray(_SUM(**case.arguments, **case.options))  # type: ignore[arg-type]


def sum_of_cross_entropies(case: Case) -> Array:
    """Of the examples, from the definition."""
    elements = of_mean.elements_of(case)
    return np.asarray(elements.losses[elements.valid].sum())


# --- mutants --------------------------------------------------------------------------------------------------


def _scaled(by: Callable[[Array], float]) -> tuple[Callable[..., Array], Callable[..., Array]]:
    """The sum and its derivative times a number that the mask says."""

    def value(**keywords: Any) -> Array:  # noqa: ANN401
        return np.asarray(_SUM(**keywords) * by(np.asarray(keywords["valid"])))

    def derivative(**keywords: Any) -> Array:  # noqa: ANN401
        return _GRAD(**keywords) * by(np.asarray(keywords["valid"]))

    return value, derivative


def _raising(**keywords: Any) -> Array:  # noqa: ANN401
    raise ValueError(f"no sum of {len(keywords)} arguments")


def _always_ten(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda **keywords: function(**{**keywords, "bins": 10 if keywords["bins"] > 1 else keywords["bins"]})


def _overflowing(**keywords: Any) -> Array:  # noqa: ANN401
    lost = np.abs(np.asarray(keywords["logits"], dtype=np.float64)) > 700.0
    return np.where((lost & keywords["valid"]).any(), np.inf, _SUM(**keywords))


def _lost_gradient(**keywords: Any) -> Array:  # noqa: ANN401
    logits = np.asarray(keywords["logits"], dtype=np.float64)
    lost = (np.abs(logits) > 700.0) & np.isfinite(logits)
    return np.where(lost & keywords["valid"], np.nan, _GRAD(**keywords))


def _half_gradient(**keywords: Any) -> Array:  # noqa: ANN401
    right = _GRAD(**keywords)
    return np.where(np.abs(right) < 2.0**-5, 0.0, right) if keywords["logits"].dtype == np.float16 else right


def _half_sum(**keywords: Any) -> Array:  # noqa: ANN401
    right = np.asarray(_SUM(**keywords))
    return np.where(right > 2.0, np.inf, right) if keywords["logits"].dtype == np.float16 else right


def _one_more(**keywords: Any) -> Array:  # noqa: ANN401
    return np.asarray(_SUM(**keywords) + (not np.any(keywords["valid"])))


def _nan_counted(**keywords: Any) -> Array:  # noqa: ANN401
    valid = np.asarray(keywords["valid"])
    return _GRAD(**keywords) * valid.sum() / number_of(valid & ~np.isnan(keywords["logits"]))


_MUTANTS = (
    Mutant("ghm-sum/raises", "an error in place of a sum", _raising, _raising, seen_in="mmdet"),
    Mutant("ghm-sum/mean", "the mean", *_scaled(lambda valid: 1.0 / max(int(valid.sum()), 1))),
    Mutant("ghm-sum/all-elements", "the mean times all elements, examples or not",
           *_scaled(lambda valid: valid.size / max(int(valid.sum()), 1))),
    Mutant("ghm-sum/ten-regions", "ten regions, or one, whatever is asked for", _always_ten(_SUM)),
    Mutant("ghm-sum/gradient-of-ten-regions", "the gradient of ten regions, whatever is asked for", _SUM,
           _always_ten(_GRAD)),
    Mutant("ghm-sum/gradient-of-the-mean", "the gradient of the mean", _SUM,
           _scaled(lambda valid: 1.0 / max(int(valid.sum()), 1))[1]),
    Mutant("ghm-sum/overflow", "exponentials that overflow", _overflowing),
    Mutant("ghm-sum/lost-gradient", "exponentials that overflow in the gradient", _SUM, _lost_gradient),
    Mutant("ghm-sum/half-sum", "an infinite sum in float16", _half_sum),
    Mutant("ghm-sum/half-gradient", "small shares lost in float16", _SUM, _half_gradient),
    Mutant("ghm-sum/many", "a sum of more than 10,000 elements off",
           _scaled(lambda valid: 1.0 + 1e-2 * (valid.size > 10_000))[0]),
    Mutant("ghm-sum/many-gradient", "a gradient of more than 10,000 elements off", _SUM,
           _scaled(lambda valid: 1.0 + 1e-2 * (valid.size > 10_000))[1]),
    Mutant("ghm-sum/one-without-examples", "1 without an example", _one_more),
    Mutant("ghm-sum/nan-in-gradient", "NaN counted in the number of examples that multiplies the gradient", _SUM,
           _nan_counted),
    Mutant("ghm-sum/in-place", "the logits overwritten", mistakes.overwriting(_SUM, "logits")),
    Mutant("ghm-sum/unchecked", "no check of its options", mistakes.unchecked(
        _SUM, bins=lambda bins: max(bins, 1), norm=lambda norm: norm if norm in ("nonempty", "M") else "M")),
)  # fmt: skip

_IMPLIED = "implied by GHMS-1; kept because a failure then names the law that is broken"

GHM_CLASSIFICATION_SUM = Technique(
    id="ghm_classification_sum",
    title="GHM classification loss, summed",
    family="soft_sampling",
    summary="The GHM classification loss before its division by the number of examples.",
    sources=(GHM_PAPER + ", equation 8 without 1 / N", GHM_CODE),
    oracle=_SUM,
    gradients={"logits": _GRAD},
    arguments=(
        Argument("logits", ("...",), "float", "scores before the sigmoid", differentiable=True),
        Argument("targets", ("...",), "int", "0 or 1"),
        Argument("valid", ("...",), "bool", "which elements are examples"),
    ),
    options=tuple(option for option in REGION_OPTIONS if option.name in ("bins", "norm")),
    outputs=(Output("loss", (), "float", "N times the loss"),),
    practical_error=_times_examples(_MEAN_ERRORS[0]),
    practical_gradient_error=_times_examples(_MEAN_ERRORS[1]),
    summands=summands,
    dialects=(
        Dialect("paper", "divides by all M regions", {"norm": "M"}, departs_from_paper=False),
        Dialect("authors_code", "divides by the regions that are not empty", {"norm": "nonempty"}),
    ),
    requirements=(
        Requirement("GHMS-1", Level.MUST, Kind.VALUE, "It is the sum of weight times cross entropy over examples.",
                    "equation 8", equal, ordinary, scenes=(scene,), dtypes=FULL,
                    reaches={"an element that is no example": lambda c: not c.arguments["valid"].all()}),
        Requirement("GHMS-2", Level.MUST, Kind.GRADIENT, "The gradient is weight times (p - y): weights are constant.",
                    "ruling constant-weights", gradient("logits"), any_bins, scenes=(scene,), needs_gradient=True,
                    dtypes=FULL),
        Requirement("GHMS-3", Level.MUST, Kind.VALUE, "It counts in as many regions as are asked for.", "equation 9",
                    equal, other_bins, options=("bins",), dtypes=FULL, examples=0.5),
        Requirement("GHMS-4", Level.MUST, Kind.REDUCES_TO, "With one region it is the sum of the cross entropies.",
                    "equation 10", reduces_to(sum_of_cross_entropies, bins=1), ordinary, options=("bins",),
                    dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("GHMS-5", Level.MUST, Kind.EXTREME, "Value by the formula for logits up to 10^4.", "equation 8",
                    equal, extreme, dtypes=FULL, examples=0.5),
        Requirement("GHMS-6", Level.MUST, Kind.EXTREME, "The gradient is finite and right there.", "equation 8",
                    gradient("logits"), extreme, needs_gradient=True, dtypes=FULL, examples=0.5),
        Requirement("GHMS-7", Level.SHOULD, Kind.EXTREME, "Half-precision logits give what is computed in float32.",
                    "ruling half-precision", equal, ordinary, dtypes=HALF, examples=0.5),
        Requirement("GHMS-8", Level.SHOULD, Kind.EXTREME, "And its gradient.", "ruling half-precision",
                    gradient("logits"), ordinary, needs_gradient=True, dtypes=HALF, examples=0.5),
        Requirement("GHMS-9", Level.MUST, Kind.EMPTY, "Without an example the sum is 0.", "ruling no-example", equal,
                    empty, dtypes=FULL, examples=0.3),
        Requirement("GHMS-10", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, ordinary, dtypes=FULL, examples=0.3),
        Requirement("GHMS-11", Level.MAY, Kind.ERROR, "Targets of another shape, no region, an unknown norm: refused.",
                    "house rule", refuses(bad_shape("targets"), bad_option("bins", 0), bad_option("norm", "none")),
                    ordinary, dtypes=FULL, examples=0.2),
        Requirement("GHMS-12", Level.MAY, Kind.EXTREME,
                    "The gradient of NaN is NaN, and it is not counted; an infinite input gives the limit.",
                    "ruling not-a-number", gradient("logits"), nan_beside_examples, needs_gradient=True, dtypes=FULL,
                    examples=0.5),
    ),
    mutants=_MUTANTS,
    rulings=(TWO_NORMS, CONSTANT, NO_EXAMPLE, NOT_A_NUMBER, HALVES),
    not_applicable={
        Kind.DETACHED: "GHMS-2 says it of the weights", Kind.LIMIT: "GHMS-4 is that of few regions",
        Kind.INVARIANCE: "a sum; ghm_classification_loss has the orders", Kind.CONSERVATION: "as of its mean",
        Kind.BOUND: "as of its mean", Kind.TIES: "ghm_classification_loss has the edges of regions",
        Kind.BATCH: "one histogram of all images", Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
