"""Contracts of the ratios of imbalance.

Oksuz et al., "Imbalance Problems in Object Detection: A Review", TPAMI 2021 (arXiv 1909.00169), section 4; Cui et al.,
"Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019 (arXiv 1901.05555), equation 2; Gini 1912.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.checking import bad_option, purity, reduces_to, refuses, same_as, value
from steelyard.conformance.contract import (
    Argument,
    Array,
    Case,
    Kind,
    Level,
    Mutant,
    Option,
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.detection.count_vectors import (
    EVERYWHERE,
    IMPLIED,
    PRESENT_ONLY,
    WITH_PRESENT_ONLY,
    CountInputs,
    count_argument,
    index_requirements,
    law,
    plain_mutants,
    reversed_order,
    transfer,
    within,
    wrapped,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.soft_sampling.focal_inputs import FULL, option
from steelyard.reference.detection import imbalance_indices as oracle

_REVIEW = 'Oksuz et al., "Imbalance Problems in Object Detection: A Review", TPAMI 2021, arXiv 1909.00169, section 4'
_CUI = 'Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019, arXiv 1901.05555'
_RULINGS = (
    Ruling("absent", "Classes that do not occur stay among the C classes, unless present_only."),
    Ruling("one-class", "A single class is not imbalanced: ratio 1, Gini coefficient 0."),
    Ruling("nothing", "Where nothing was counted nothing can be said: NaN."),
    Ruling("int64", "A data set has more than 2^31 anchors."),
)
_FEW = 4.0

# --- background against foreground ----------------------------------------------------------------------------

Function = Callable[..., Any]


def _two_totals(background: float, foreground: float, dtype: str) -> Case:
    arguments = {"background": np.asarray(background), "foreground": np.asarray(foreground)}
    return Case(arguments, {}, dtype)


def both_kinds(draw: Draw) -> Case:
    """Totals of a small data set."""
    sizes = (3.0, 1.0, 7.0, 12.0, 1000.0, 2.0**14 + 3, 0.5)
    return _two_totals(draw.choice(sizes), draw.choice(sizes), draw.dtype(FULL))


def one_kind(draw: Draw) -> Case:
    """Background alone, or foreground alone."""
    one, other = draw.choice(((12.0, 0.0), (0.0, 12.0)))
    return _two_totals(one, other, draw.dtype(FULL))


def neither(draw: Draw) -> Case:
    """No candidate."""
    return _two_totals(0.0, 0.0, draw.dtype(FULL))


def of_coco(draw: Draw) -> Case:
    """RetinaNet's anchors of val2017 and of train2017, more than 32 bits hold."""
    one, other = draw.choice(((848_679_646.0, 808_663.0), (19_733_324_493.0, 19_285_513.0)))
    return _two_totals(one, other, draw.dtype(("float64",)))


def _pair(right: Function, change: Callable[[float, float], float]) -> Function:
    def mutant(background: Array, foreground: Array) -> Array:
        right(background=background, foreground=foreground)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(change(np.float64(background), np.float64(foreground)))

    return mutant


def _pair_requirements(prefix: str, text: str, of_one: str) -> tuple[Requirement, ...]:
    implied = IMPLIED.format(prefix)
    return (
        Requirement(f"{prefix}-1", Level.MUST, Kind.VALUE, text, _REVIEW, value, both_kinds, dtypes=FULL,
                    no_mutant="what is wrong here is wrong for the totals of a data set too"),
        Requirement(f"{prefix}-2", Level.MUST, Kind.LIMIT, of_one, "ruling one-kind", value, one_kind, dtypes=FULL,
                    examples=0.1),
        Requirement(f"{prefix}-3", Level.MUST, Kind.EMPTY, "Without candidates the answer is NaN.", "ruling nothing",
                    value, neither, dtypes=FULL, examples=0.1),
        Requirement(f"{prefix}-4", Level.MUST, Kind.EXTREME, "Totals beyond 32 bits are totals.", "ruling int64", value,
                    of_coco, dtypes=("float64",), examples=0.1),
        Requirement(f"{prefix}-5", Level.MUST, Kind.INVARIANCE, "The same images twice have the same answer.", _REVIEW,
                    same_as(_doubled, "value of twice the images"), both_kinds, dtypes=FULL, examples=0.3,
                    no_mutant=implied),
        Requirement(f"{prefix}-6", Level.MUST, Kind.PURITY, "The totals are not written to, and equal calls agree.",
                    "house rule", purity, both_kinds, dtypes=FULL, examples=0.1),
    )  # fmt: skip


def _doubled(case: Case) -> Case:
    return case.with_arguments(**{name: np.asarray(2.0 * total) for name, total in case.arguments.items()})


def _pair_mutants(prefix: str, right: Function) -> tuple[Mutant, ...]:
    return (
        Mutant(f"{prefix}/int32", "totals kept in 32 bits", lambda background, foreground: right(
            background=wrapped(np.asarray(background)), foreground=wrapped(np.asarray(foreground)))),
        Mutant(f"{prefix}/nothing-is-zero", "0 where nothing was counted", mistakes.replacing_nan(right)),
        Mutant(f"{prefix}/in-place", "the totals overwritten", mistakes.overwriting(right, "background")),
    )  # fmt: skip


_TOTALS = (
    Argument("background", (), "float", "background candidates of all images"),
    Argument("foreground", (), "float", "foreground candidates of all images"),
)
_PAIR_NOT_APPLICABLE = {
    **EVERYWHERE, Kind.REDUCES_TO: "no simpler technique", Kind.BOUND: "implied by the value",
    Kind.ERROR: "the two arguments are plain numbers",
}  # fmt: skip
_RATIO, _SHARE = oracle.background_to_foreground, oracle.foreground_share

BACKGROUND_TO_FOREGROUND = Technique(
    id="background_to_foreground",
    title="Background to foreground",
    family="detection",
    summary="Background candidates for each foreground one, of the totals of a data set.",
    sources=(_REVIEW,),
    oracle=_RATIO,
    arguments=_TOTALS,
    options=(),
    outputs=(Output("ratio", (), "float", ">= 0"),),
    requirements=_pair_requirements(
        "BGFG", "The ratio is the background by the foreground.", "Without foreground it is infinite."
    ),
    mutants=(
        Mutant("background-to-foreground/inverted", "the foreground by the background", _pair(
            _RATIO, lambda b, f: f / b)),
        Mutant("background-to-foreground/all-to-foreground", "all candidates by the foreground", _pair(
            _RATIO, lambda b, f: (b + f) / f)),
        Mutant("background-to-foreground/at-least-one", "at least one foreground candidate", _pair(
            _RATIO, lambda b, f: b / max(f, 1.0) if b + f else np.nan)),
        Mutant("background-to-foreground/not-infinite", "0 without foreground", _pair(
            _RATIO, lambda b, f: b / f if f or not b else 0.0)),
        Mutant("background-to-foreground/epsilon", "1e-6 added to the foreground", _pair(
            _RATIO, lambda b, f: b / (f + 1e-6) if b + f else np.nan)),
        *_pair_mutants("background-to-foreground", _RATIO),
    ),
    rulings=(Ruling("one-kind", "Without foreground the ratio is infinite."), *_RULINGS[2:]),
    not_applicable=_PAIR_NOT_APPLICABLE,
)  # fmt: skip

FOREGROUND_SHARE = Technique(
    id="foreground_share",
    title="Share of the foreground",
    family="detection",
    summary="Foreground by foreground and background, of the totals of a data set.",
    sources=(_REVIEW,),
    oracle=_SHARE,
    arguments=_TOTALS,
    options=(),
    outputs=(Output("share", (), "float", "in [0, 1]"),),
    requirements=_pair_requirements(
        "FGS", "The share is the foreground by both.", "Without foreground it is 0, without background 1."
    ),
    mutants=(
        Mutant("foreground-share/by-background", "the foreground by the background", _pair(
            _SHARE, lambda b, f: f / b if b else float(_SHARE(b, f)))),
        Mutant("foreground-share/of-background", "the share of the background", _pair(
            _SHARE, lambda b, f: b / (b + f))),
        Mutant("foreground-share/plus-one", "one more in the denominator", _pair(
            _SHARE, lambda b, f: f / (b + f + 1) if b + f else np.nan)),
        Mutant("foreground-share/one-kind-is-nan", "NaN where one kind is missing", _pair(
            _SHARE, lambda b, f: f / (b + f) if b * f else np.nan)),
        *_pair_mutants("foreground-share", _SHARE),
    ),
    rulings=(Ruling("one-kind", "Without foreground the share is 0, without background 1."), *_RULINGS[2:]),
    not_applicable=_PAIR_NOT_APPLICABLE,
)  # fmt: skip

# --- classes against each other -------------------------------------------------------------------------------

_IR, _GINI = oracle.imbalance_ratio, oracle.gini_coefficient
_COUNTS = CountInputs(options=WITH_PRESENT_ONLY)


def _changed(right: Function, change: Callable[[Array], float]) -> Function:
    """Another number of the counts; of what occurs, if so asked."""

    def mutant(counts: Array, *, present_only: bool = False, **more: float) -> Array:
        right(counts, present_only=present_only, **more)
        n = np.asarray(counts, dtype=np.float64)
        n = n[n > 0] if present_only and n.any() else n
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(change(n))

    return mutant


def _always(right: Function, *, present_only: bool) -> Function:
    return lambda **keywords: right(**{**keywords, "present_only": present_only})


def _finite(total: float, answer: float) -> float:
    return answer if total > 0 else np.nan


IMBALANCE_RATIO = Technique(
    id="imbalance_ratio",
    title="Imbalance ratio",
    family="detection",
    summary="The most frequent class by the least frequent one.",
    sources=(_CUI, _REVIEW),
    oracle=_IR,
    arguments=(count_argument(),),
    options=(PRESENT_ONLY,),
    outputs=(Output("ratio", (), "float", ">= 1"),),
    requirements=index_requirements(
        "IR", _COUNTS, ("The ratio is the largest by the smallest count.", _CUI),
        of_equal="Equal counts have ratio 1.",
        of_absent="A class that does not occur makes it infinite, unless it is left out.",
        of_single="A single class has ratio 1.",
        laws=(
            law(Kind.BOUND, "The ratio is at least 1.", within(1.0, lambda n: float(n.max() / n.min())), _COUNTS, "IR"),
            law(Kind.BOUND, "Evening the counts out does not raise it.", transfer(-1), _COUNTS, "IR"),
        ),
    ),
    mutants=(
        Mutant("imbalance-ratio/absent-dropped", "the smallest count of those that occur, unasked",
               _always(_IR, present_only=True)),
        Mutant("imbalance-ratio/absent-kept", "absent classes also where they are to be left out",
               _always(_IR, present_only=False)),
        Mutant("imbalance-ratio/inverted", "the smallest by the largest", _changed(_IR, lambda n: n.min() / n.max())),
        Mutant("imbalance-ratio/by-mean", "the largest by the mean", _changed(_IR, lambda n: n.max() / n.mean())),
        Mutant("imbalance-ratio/first-to-last", "the first count by the last, as if sorted", _changed(
            _IR, lambda n: _finite(float(n.sum()), n[0] / n[-1]))),
        Mutant("imbalance-ratio/at-least-one", "a smallest count of at least 1", _changed(
            _IR, lambda n: _finite(float(n.sum()), n.max() / max(n.min(), min(1.0, n[n > 0].min(initial=1.0)))))),
        *plain_mutants("imbalance-ratio", _IR),
    ),
    rulings=_RULINGS,
    not_applicable={**EVERYWHERE, Kind.REDUCES_TO: "no simpler technique"},
)  # fmt: skip


def _terms_of_gini(case: Case) -> tuple[int, Array]:
    """Ranks from -(C - 1) to C - 1 times the counts, by C S."""
    return len(case.arguments["counts"]), np.asarray(1.0)


def _gini_of(n: Array, *, sort: bool = True, denominator: float | None = None, first: int = 1) -> float:
    ordered = np.sort(n) if sort else n
    size = len(n)
    weights = 2.0 * (np.arange(size) + first) - size - 1
    return float((weights * ordered).sum() / ((denominator or size) * n.sum()))


GINI_COEFFICIENT = Technique(
    id="gini_coefficient",
    title="Gini coefficient",
    family="detection",
    summary="Mean difference of the counts of two classes by twice their mean.",
    sources=('Gini, "Variabilità e mutabilità", 1912', _REVIEW),
    oracle=_GINI,
    arguments=(count_argument(),),
    options=(PRESENT_ONLY,),
    outputs=(Output("gini", (), "float", "in [0, (C - 1) / C]"),),
    summands=_terms_of_gini,
    requirements=index_requirements(
        "GINI", _COUNTS, ("G is the sum of (2i - C - 1) n_(i) over C S, counts in ascending order.", "Gini 1912"),
        of_equal="Equal counts have coefficient 0.",
        of_absent="Classes that do not occur count as unequal, unless they are left out.",
        of_single="A single class has coefficient 0.",
        laws=(
            law(Kind.BOUND, "G lies in [0, (C - 1) / C].", within(0.0, lambda n: 1.0 - 1.0 / len(n)), _COUNTS, "GINI"),
            law(Kind.BOUND, "Evening the counts out does not raise it.", transfer(-1), _COUNTS, "GINI"),
        ),
    ),
    mutants=(
        Mutant("gini/absent-dropped", "absent classes left out, unasked", _always(_GINI, present_only=True)),
        Mutant("gini/absent-kept", "absent classes also where they are to be left out",
               _always(_GINI, present_only=False)),
        Mutant("gini/sample-form", "C - 1 in the denominator", _changed(
            _GINI, lambda n: _gini_of(n, denominator=max(len(n) - 1, 1)))),
        Mutant("gini/unsorted", "the counts in the order in which they came", _changed(
            _GINI, lambda n: _gini_of(n, sort=False))),
        Mutant("gini/ranks-from-zero", "ranks from 0", _changed(_GINI, lambda n: _gini_of(n, first=0))),
        Mutant("gini/doubled", "the mean difference by the mean", lambda **k: 2.0 * np.asarray(_GINI(**k))),
        Mutant("gini/impurity", "the chance that two samples are of different classes", _changed(
            _GINI, lambda n: 1.0 - float(((n / n.sum()) ** 2).sum())), seen_in="decision trees, which call it Gini"),
        *plain_mutants("gini", _GINI),
    ),
    rulings=(*_RULINGS, Ruling("population", "The population form, without the factor C / (C - 1).")),
    not_applicable={**EVERYWHERE, Kind.REDUCES_TO: "no simpler technique"},
)  # fmt: skip

# --- effective number -----------------------------------------------------------------------------------------

_NUMBER, _EFFECTIVE_IR = oracle.effective_number, oracle.effective_imbalance_ratio
_BETAS = (0.999, 0.9, 0.99, 0.5, 0.9999)
_SAMPLES = CountInputs(options={"beta": _BETAS})
_SAMPLES_OF_PRESENT = CountInputs(options={"beta": _BETAS, **WITH_PRESENT_ONLY})
_BETA = Option("beta", 0.999, "overlap of samples, in [0, 1]")


def _beta_at_its_ends(inputs: CountInputs) -> Callable[[Draw], Case]:
    def cases(draw: Draw) -> Case:
        return inputs.absent(draw).with_options(beta=draw.choice((1.0, 0.0)))

    return cases


def _cancellation(case: Case, u: float) -> Array:
    """1 - beta^n formed as such: beta and beta^n are rounded near 1, and 1 - beta divides what that costs."""
    beta = option(case, "beta")
    return np.asarray(_FEW * u / (1.0 - beta) * np.maximum(1.0, case.arguments["counts"]) if beta < 1.0 else 0.0)


def _cancellation_of_ratio(case: Case, u: float) -> Array:
    """The same in the numerator and in the denominator of the ratio."""
    beta = option(case, "beta")
    exact = float(np.nan_to_num(_EFFECTIVE_IR(**case.arguments, **case.options), posinf=0.0))  # type: ignore[arg-type]
    counts = case.arguments["counts"]
    present = counts[counts > 0]
    if beta == 1.0 or not present.size:
        return np.asarray(0.0)
    smallest = float(_NUMBER(present, beta=beta).min())
    return np.asarray(2.0 * _FEW * u / (1.0 - beta) / smallest * exact)


def _bounded_by_both(inputs: CountInputs) -> Requirement:
    def check(bench: Any, case: Case) -> None:  # noqa: ANN401
        found = bench.evaluate(case).outputs[0].astype(np.float64)
        highest = np.minimum(np.maximum(case.arguments["counts"], 1.0), 1.0 / (1.0 - option(case, "beta")))
        bench.expect(bool((found <= highest * (1.0 + 1e-3)).all()), "an effective number above min(n, 1/(1-b))", case)

    text = "E is at most the count, for counts >= 1, and at most 1 / (1 - beta)."
    return replace(law(Kind.BOUND, text, check, inputs, "EN"), id="EN-6")


def _of_beta(change: Callable[[Array, float], Array]) -> Function:
    def mutant(counts: Array, *, beta: float) -> Array:
        _NUMBER(counts, beta=beta)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(change(np.asarray(counts, dtype=np.float64), beta))

    return mutant


def _by_definition(n: Array, beta: float) -> Array:
    return np.asarray(-np.expm1(n * np.log(beta)) / (1.0 - beta))


EFFECTIVE_NUMBER = Technique(
    id="effective_number",
    title="Effective number of samples",
    family="detection",
    summary="Volume that n samples of a class cover, when each further one overlaps with those before.",
    sources=(_CUI,),
    oracle=_NUMBER,
    arguments=(count_argument(doc="samples of each class, >= 0"),),
    options=(_BETA,),
    outputs=(Output("effective", ("C",), "float", "of each class"),),
    practical_error=_cancellation,
    requirements=(
        Requirement("EN-1", Level.MUST, Kind.VALUE, "E is (1 - beta^n) / (1 - beta).", "equation 2", value,
                    _SAMPLES.present, scenes=(_SAMPLES.long_tail,), dtypes=FULL),
        Requirement("EN-2", Level.MUST, Kind.LIMIT, "beta = 1 gives n, beta = 0 gives 1 for what occurs.",
                    "section 3.2", value, _beta_at_its_ends(_SAMPLES), options=("beta",), dtypes=FULL, examples=0.3),
        Requirement("EN-3", Level.MUST, Kind.EMPTY, "A class that does not occur has 0.", "equation 2", value,
                    _SAMPLES.absent, dtypes=FULL, examples=0.3),
        Requirement("EN-4", Level.MUST, Kind.EXTREME, "Counts beyond 32 bits are counts.", "ruling int64", value,
                    _SAMPLES.of_a_data_set, dtypes=("float64",), examples=0.3,
                    no_mutant="nothing is lost but with beta = 1: so many samples cover 1 / (1 - beta)"),
        Requirement("EN-5", Level.MUST, Kind.INVARIANCE, "Reordering the classes reorders the answer.", "equation 2",
                    same_as(reversed_order, "classes in reverse", lambda output, _: output[::-1]), _SAMPLES.present,
                    dtypes=FULL, examples=0.3, no_mutant=IMPLIED.format("EN")),
        _bounded_by_both(_SAMPLES),
        Requirement("EN-7", Level.MUST, Kind.PURITY, "The counts are not written to, and equal calls agree.",
                    "house rule", purity, _SAMPLES.present, dtypes=FULL, examples=0.3),
        Requirement("EN-8", Level.SHOULD, Kind.ERROR, "A beta outside [0, 1] is refused.", "house rule",
                    refuses(bad_option("beta", 1.5), bad_option("beta", -0.5)), _SAMPLES.present, dtypes=FULL,
                    examples=0.1),
    ),
    mutants=(
        Mutant("effective-number/lost-denominator", "1 - beta^n alone", _of_beta(
            lambda n, b: _by_definition(n, b) * (1.0 - b) if 0 < b < 1 else _NUMBER(n, beta=b))),
        Mutant("effective-number/inverted", "the weight 1 / E in its place", _of_beta(
            lambda n, b: np.where(n > 0, 1.0 / np.maximum(_NUMBER(n, beta=b), 1e-300), 0.0))),
        Mutant("effective-number/one-more", "beta^(n - 1)", _of_beta(
            lambda n, b: np.where(n > 0, _NUMBER(np.maximum(n - 1.0, 0.0), beta=b), 0.0))),
        Mutant("effective-number/zero-by-zero", "NaN at beta = 1", _of_beta(
            lambda n, b: np.full(n.shape, np.nan) if b == 1.0 else _NUMBER(n, beta=b)), seen_in="cbloss"),
        Mutant("effective-number/absent-is-one", "at least one sample of each class", _of_beta(
            lambda n, b: np.where(n > 0, _NUMBER(n, beta=b), _NUMBER(np.ones(n.shape), beta=b) * (0 < b < 1)))),
        Mutant("effective-number/in-place", "the counts overwritten", mistakes.overwriting(_NUMBER, "counts")),
        Mutant("effective-number/unchecked", "no check of beta", mistakes.unchecked(
            _NUMBER, beta=lambda b: min(max(b, 0.0), 1.0))),
        Mutant("effective-number/lost-tail", "classes beyond the thousandth at 0", _of_beta(
            lambda n, b: _NUMBER(np.where(np.arange(len(n)) < 1000, n, 0.0), beta=b))),
    ),
    rulings=(_RULINGS[3],),
    not_applicable={**EVERYWHERE, Kind.REDUCES_TO: "EN-2 says what the ends of beta reduce to"},
)  # fmt: skip


def _plain_ratio(case: Case) -> Array:
    return np.asarray(_IR(case.arguments["counts"], present_only=bool(case.options["present_only"])))


EFFECTIVE_IMBALANCE_RATIO = Technique(
    id="effective_imbalance_ratio",
    title="Effective imbalance ratio",
    family="detection",
    summary="Effective number of the most frequent class by that of the least frequent one.",
    sources=(_CUI,),
    oracle=_EFFECTIVE_IR,
    arguments=(count_argument(),),
    options=(_BETA, PRESENT_ONLY),
    outputs=(Output("ratio", (), "float", ">= 1"),),
    practical_error=_cancellation_of_ratio,
    requirements=index_requirements(
        "EIR", _SAMPLES_OF_PRESENT, ("The ratio is the largest by the smallest effective number.", "equation 2"),
        of_equal="Equal counts have ratio 1.",
        of_absent="A class that does not occur makes it infinite, unless it is left out.",
        of_single="A single class has ratio 1.",
        scale_free=False,
        laws=(
            law(Kind.REDUCES_TO, "beta = 1 gives the imbalance ratio.", reduces_to(_plain_ratio, beta=1.0),
                _SAMPLES_OF_PRESENT, "EIR"),
            law(Kind.BOUND, "At least 1, and at most the imbalance ratio for counts that are not below 1.",
                within(1.0, lambda n: float(max(n.max(), 1.0) / min(n.min(), 1.0) ** 2)), _SAMPLES_OF_PRESENT, "EIR"),
            Requirement("", Level.SHOULD, Kind.ERROR, "A beta outside [0, 1] is refused.", "house rule",
                        refuses(bad_option("beta", 1.5)), _SAMPLES_OF_PRESENT.present, dtypes=FULL, examples=0.1),
        ),
    ),
    mutants=(
        Mutant("effective-imbalance-ratio/absent-dropped", "absent classes left out, unasked",
               _always(_EFFECTIVE_IR, present_only=True)),
        Mutant("effective-imbalance-ratio/absent-kept", "absent classes also where they are to be left out",
               _always(_EFFECTIVE_IR, present_only=False)),
        Mutant("effective-imbalance-ratio/plain", "the plain counts", lambda counts, *, beta, present_only: (
            _EFFECTIVE_IR(counts, beta=beta, present_only=present_only) * 0.0
            + _IR(counts, present_only=present_only))),
        Mutant("effective-imbalance-ratio/inverted", "the smallest by the largest", lambda **k: (
            1.0 / max(float(_EFFECTIVE_IR(**k)), 1e-300) if np.any(k["counts"]) else np.nan)),
        Mutant("effective-imbalance-ratio/beta-unchecked", "no check of beta", mistakes.unchecked(
            _EFFECTIVE_IR, beta=lambda b: min(max(b, 0.0), 1.0))),
        *(mutant for mutant in plain_mutants("effective-imbalance-ratio", _EFFECTIVE_IR)),
    ),
    rulings=_RULINGS,
    not_applicable=EVERYWHERE,
)  # fmt: skip
