"""Which mistake is it? Every mutant and every dialect is tried as an explanation of what the candidate does.

An explanation must hold on all inputs at hand: those that failed, and fresh ones. Where the oracle itself is
right, the explanation must be right too. So an explanation is a function that the candidate equals, not a guess.

Of several outputs that are right or wrong each for itself, those that are wrong may be explained alone. Where nothing
fits all inputs, what fits those that failed and ordinary ones is named as a part of the explanation: beside it there
may be another deviation, as an order of equal losses that nobody promises.

A failure without numbers (an error where an answer belongs or the reverse, an input written to) cannot be equalled;
there the mutants are named that fail in the same way on the same inputs, if they are few. Of a distribution those are
named that draw with the candidate's frequencies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, wraps
from typing import Any

import numpy as np

from steelyard.conformance.candidates import Answer, Candidate, CandidateError, NoGradientError, OwnFunctions
from steelyard.conformance.checking import Bench, Deviation, DistributionDeviation, NotOfferedError, float_format
from steelyard.conformance.contract import Array, Case, Dialect, Mutant, Requirement, Technique
from steelyard.conformance.judging import Bounds, coarser, compare, gradient_bounds, value_bounds
from steelyard.conformance.precision import computing_precision
from steelyard.conformance.statistics import Frequencies, same_frequencies


@dataclass(frozen=True)
class Diagnosis:
    """The explanation that was found, or that none was."""

    id: str | None
    sentence: str


@dataclass(frozen=True)
class _Explanation:
    id: str
    sentence: str
    functions: OwnFunctions
    has_gradient: bool


_CONDITION = 1024.0  # of an explanation, in units of its distance from the oracle
NONE_FITS = "no known mistake matches"
_HOLDS = "holds"
_ALIKE_AT_MOST = 5  # more names say nothing


def diagnose(
    technique: Technique,
    candidate: Candidate,
    dialect: Dialect | None,
    failing: Sequence[Case],
    fresh: Sequence[Case],
    elsewhere: Sequence[Case] = (),
    *,
    gradient: bool,
    partly: bool = False,
) -> Diagnosis:
    """Try every mutant and dialect on the failing and the fresh cases; name the nearest that fits all of them.

    If some are equally near, cases of another requirement decide; `partly` lets these stand in for the fresh ones where
    nothing fits those.
    """
    wanted = tuple(technique.gradients)[:1] if gradient else ()
    failed = _answers(technique, candidate, failing, wanted)
    answers = [*failed, *_answers(technique, candidate, fresh, wanted)]
    if not answers:
        return Diagnosis(None, NONE_FITS)
    others = _answers(technique, candidate, elsewhere)
    best = _nearest(technique, dialect, answers, others, wanted, None)
    where = ""
    wrong = _wrong(technique, dialect, *answers[0], wanted)
    if best is None and len(wrong) < len(technique.outputs) + len(wanted):
        best = _nearest(technique, dialect, answers, others, wanted, wrong)
        where = f"{' and '.join(wrong)} alone: "
    if best is None and partly and failed and others:
        answers = [*failed, *_answers(technique, candidate, elsewhere, wanted)]
        best = _nearest(technique, dialect, answers, others, wanted, None)
        where = "in part, for it does not fit all inputs: "
    if best is None:
        return Diagnosis(None, NONE_FITS)
    distance, explanation = best
    return Diagnosis(
        explanation.id,
        f"{where}{explanation.sentence} ({explanation.id}, largest difference {distance:.2g} on {len(answers)} inputs)",
    )


def _answers(
    technique: Technique, candidate: Candidate, cases: Sequence[Case], wanted: Sequence[str] = ()
) -> list[tuple[Case, Answer]]:
    """The candidate's, where it gives any."""
    answers = []
    for case in cases:
        try:
            answers.append((case, candidate.evaluate(technique.id, case, wanted)))
        except (CandidateError, NoGradientError):
            continue
    return answers


def _nearest(
    technique: Technique,
    dialect: Dialect | None,
    answers: Sequence[tuple[Case, Answer]],
    elsewhere: Sequence[tuple[Case, Answer]],
    wanted: Sequence[str],
    parts: Sequence[str] | None,
) -> tuple[float, _Explanation] | None:
    """The explanation that fits all answers and is nearest to them; in some outputs and gradients, or in all.

    Of several that are equally near the one that fits elsewhere too.
    """
    nearest: list[_Explanation] = []
    smallest = np.inf
    for explanation in _explanations(technique, dialect):
        if wanted and not explanation.has_gradient:
            continue
        found = _distance(technique, dialect, explanation, answers, wanted, parts)
        if found is not None and found[1] and found[0] <= smallest:
            nearest = [*(nearest if found[0] == smallest else ()), explanation]
            smallest = found[0]
    if len(nearest) > 1:
        nearest = [one for one in nearest if _distance(technique, dialect, one, elsewhere)] or nearest
    return (smallest, nearest[0]) if nearest else None


def _wrong(
    technique: Technique, dialect: Dialect | None, case: Case, answer: Answer, wanted: Sequence[str]
) -> tuple[str, ...]:
    """Which of a candidate's outputs and gradients deviate."""
    return tuple(
        name
        for name, actual, _, right, bounds, dtype in _pairs(technique, dialect, case, answer, answer, wanted)
        if actual.shape != right.shape or compare(actual, right, bounds and bounds(right), dtype).status == "fail"
    )


def diagnose_alike(
    technique: Technique,
    candidate: Candidate,
    dialect: Dialect | None,
    trials: Sequence[tuple[Requirement, Case]],
) -> Diagnosis:
    """Name the mutants whose checks end as the candidate's do: on the failing case, the first, and on others.

    A candidate may have another mistake besides. Where it fails in another way than on the first case, a mutant must
    not fail in that of the first, and may be right.
    """
    ends = [_end(technique, candidate, dialect, requirement, case) for requirement, case in trials]
    if ends[0] == _HOLDS:  # it does not fail every time
        return Diagnosis(None, NONE_FITS)
    in_dialect = [(requirement, _spoken(case, dialect)) for requirement, case in trials]
    alike = []
    for mutant in technique.mutants:
        functions = mutant_functions(technique, mutant.id)
        asked = zip(in_dialect, ends, strict=True)
        if all(
            _is_alike(_end(technique, functions, dialect, requirement, case), end, ends[0])
            for (requirement, case), end in asked
        ):
            alike.append(mutant)
    alike = _as_it_draws(technique, candidate, alike)
    if len(alike) > 1:
        cases = [case for _, case in trials]
        alike = [mutant for mutant in alike if _equals(technique, candidate, dialect, mutant, cases)] or alike
        spoilt = trials[0][1]
        if not _answers(technique, oracle_functions(technique, dialect), [spoilt]):
            alike = [mutant for mutant in alike if _answers_alike(technique, candidate, dialect, mutant, spoilt)]
    return _named_alike(alike, f"the same outcome on {len(trials)} inputs")


def diagnose_distribution(
    technique: Technique, candidate: Candidate, dialect: Dialect | None, requirement: Requirement, case: Case
) -> Diagnosis:
    """Name the mutants that draw with the candidate's frequencies, which are not the right ones."""
    own = _frequencies(technique, candidate, dialect, requirement, case)
    if own is None:
        return Diagnosis(None, NONE_FITS)
    spoken = _spoken(case, dialect)
    alike = []
    for mutant in technique.mutants:
        other = _frequencies(technique, mutant_functions(technique, mutant.id), dialect, requirement, spoken)
        if other is not None and same_frequencies(own, other):
            alike.append(mutant)
    return _named_alike(_as_it_draws(technique, candidate, alike), f"the same frequencies in {own.repetitions} draws")


def _named_alike(alike: Sequence[Mutant], on: str) -> Diagnosis:
    if not 1 <= len(alike) <= _ALIKE_AT_MOST:
        return Diagnosis(None, NONE_FITS)
    if len(alike) > 1:
        named = "; or ".join(f"{mutant.summary}{_seen(mutant)} ({mutant.id})" for mutant in alike)
        return Diagnosis(None, f"fails as known mistakes do that this check does not tell apart: {named} ({on})")
    (mutant,) = alike
    sentence = f"fails as the oracle does with {mutant.summary}, and as with no other known mistake"
    return Diagnosis(mutant.id, f"{sentence}{_seen(mutant)} ({mutant.id}, {on})")


def _is_alike(mutants: str, candidates: str, first: str) -> bool:
    """Whether a mutant's end goes with the candidate's, which ended on the first case as said."""
    if candidates in (first, _HOLDS):
        return mutants == candidates
    return mutants != first


def _as_it_draws(technique: Technique, candidate: Candidate, alike: Sequence[Mutant]) -> list[Mutant]:
    """Of the same mistake with given keys and with own random numbers, that which draws as the candidate does."""
    takes_keys = candidate.description.functions[technique.id].takes_keys
    return [mutant for mutant in alike if mutant.draws_own_keys != takes_keys] or list(alike)


def _equals(
    technique: Technique, candidate: Candidate, dialect: Dialect | None, mutant: Mutant, cases: Sequence[Case]
) -> bool:
    """Whether a mutant gives the candidate's answers, wrong ones among them, wherever there is to be one."""
    of_oracle = oracle_functions(technique, dialect)
    legal = [case for case in cases if _answers(technique, of_oracle, [case])]
    answers = _answers(technique, candidate, legal)
    explanation = _Explanation(mutant.id, "", mutant_functions(technique, mutant.id), has_gradient=False)
    found = [_distance(technique, dialect, explanation, [one, *answers]) for one in answers]
    return any(one is not None and one[1] for one in found)


def _answers_alike(
    technique: Technique, candidate: Candidate, dialect: Dialect | None, mutant: Mutant, case: Case
) -> bool:
    """Whether a mutant gives the candidate's answer to an input for which the oracle has none.

    Without an oracle there is no bound: a thousand roundings are allowed, which tells formulas apart.
    """
    answers = _answers(technique, candidate, [case])
    explained = _answers(technique, mutant_functions(technique, mutant.id), [_spoken(case, dialect)])
    if not answers or not explained:
        return not answers and not explained
    ((_, own),), ((_, other),) = answers, explained
    precision = computing_precision(coarser(case.dtype, float_format(own.dtypes[0], case)))
    return all(
        one.shape == wanted.shape
        and np.allclose(one, wanted, rtol=1000 * precision.unit_roundoff, atol=0.0, equal_nan=True)
        for one, wanted in zip(own.outputs, other.outputs, strict=True)
    )


def _frequencies(
    technique: Technique, candidate: Candidate, dialect: Dialect | None, requirement: Requirement, case: Case
) -> Frequencies | None:
    """What a check of the distribution counted, if it is wrong."""
    try:
        requirement.check(Bench(technique, candidate, dialect), case)
    except DistributionDeviation as deviation:
        return deviation.frequencies()
    except (Deviation, CandidateError, NotOfferedError):
        return None
    return None


def _spoken(case: Case, dialect: Dialect | None) -> Case:
    """The case as a mutant is asked it, which knows dialects only by their options."""
    return case if dialect is None else case.with_options(**dialect.options)


def _seen(mutant: Mutant) -> str:
    return f"; seen in {mutant.seen_in}" if mutant.seen_in else ""


def _end(
    technique: Technique, candidate: Candidate, dialect: Dialect | None, requirement: Requirement, case: Case
) -> str:
    """How a check ends: holds, an error of the candidate, or the deviation's first words, shapes but no numbers."""
    try:
        requirement.check(Bench(technique, candidate, dialect), case)
    except Deviation as deviation:
        first = str(deviation).splitlines()[0]
        return f"deviates: {first if ' shape ' in first else first.partition(':')[0]}"
    except CandidateError:
        return "raises"
    except NotOfferedError:
        return "lacks what the check needs"
    return _HOLDS


def mutant_functions(technique: Technique, mutant_id: str) -> OwnFunctions:
    """A mutant as a candidate."""
    mutant = next(m for m in technique.mutants if m.id == mutant_id)
    options = frozenset(option.name for option in technique.options)
    gradients = {}
    if mutant.gradient is not None and technique.gradients:
        gradients[next(iter(technique.gradients))] = mutant.gradient
    keys = frozenset(argument.name for argument in technique.arguments if argument.is_key and mutant.draws_own_keys)
    return OwnFunctions(f"mutant {mutant.id}", technique.id, mutant.function, options, gradients, keys)


def oracle_functions(technique: Technique, dialect: Dialect | None = None) -> OwnFunctions:
    """The oracle as a candidate, in one dialect."""
    options = frozenset(option.name for option in technique.options)
    fixed = {} if dialect is None else dict(dialect.options)
    gradients = {name: _with(function, fixed) for name, function in technique.gradients.items()}
    return OwnFunctions("the oracle", technique.id, _with(technique.oracle, fixed), options, gradients)


def _with(function: Callable[..., Any], fixed: Mapping[str, object]) -> Callable[..., Any]:
    @wraps(function)  # whose defaults say what a call may leave out
    def with_options(**keywords: Any) -> Any:  # noqa: ANN401
        return function(**{**keywords, **fixed})

    return with_options


def _explanations(technique: Technique, dialect: Dialect | None) -> Iterator[_Explanation]:
    for mutant in technique.mutants:
        functions = mutant_functions(technique, mutant.id)
        sentence = f"equals the oracle with {mutant.summary}{_seen(mutant)}"
        yield _Explanation(mutant.id, sentence, functions, mutant.gradient is not None)
    for other in technique.dialects:
        if dialect is None or other.id != dialect.id:
            sentence = f"equals the oracle in the dialect {other.id}: {other.summary}"
            yield _Explanation(other.id, sentence, oracle_functions(technique, other), bool(technique.gradients))


def _distance(
    technique: Technique,
    dialect: Dialect | None,
    explanation: _Explanation,
    answers: Sequence[tuple[Case, Answer]],
    wanted: Sequence[str] = (),
    parts: Sequence[str] | None = None,
) -> tuple[float, bool] | None:
    """Largest difference from the explanation over all answers, in some parts or in all; None if outside the bound.

    And whether the explanation is itself outside on the first case, the failing one: a mutant that is right there
    explains nothing. A mutant is asked in the candidate's dialect.
    """
    largest, is_wrong = 0.0, False
    for number, (case, answer) in enumerate(answers):
        # a candidate that works in a coarser format than its input's rounds where the mutant would not
        working = _spoken(replace(case, dtype=coarser(case.dtype, float_format(answer.dtypes[0], case))), dialect)
        try:
            explained = explanation.functions.evaluate(technique.id, working, wanted)
        except (CandidateError, NoGradientError):
            return None
        for name, actual, claimed, right, bounds, dtype in _pairs(technique, dialect, case, answer, explained, wanted):
            if parts is not None and name not in parts:
                continue
            if actual.shape != claimed.shape:
                return None
            # twice the bound: the candidate and the explanation both round
            wide = None if bounds is None else bounds(claimed) + bounds(claimed) + _own_condition(case, claimed, right)
            if compare(actual, claimed, wide, dtype).status == "fail":
                return None
            if number == 0:
                own = None if bounds is None else bounds(right)
                is_wrong |= right.shape != claimed.shape or compare(claimed, right, own, dtype).status == "fail"
            with np.errstate(invalid="ignore", over="ignore"):
                difference = np.abs(actual.astype(np.float64) - claimed.astype(np.float64))
            largest = max(largest, float(np.max(difference[np.isfinite(difference)], initial=0.0)))
    return largest, is_wrong


def _own_condition(case: Case, claimed: Array, right: Array) -> Bounds:
    """Where the explanation is far from the oracle, the oracle's condition says little about its rounding."""
    with np.errstate(invalid="ignore", over="ignore"):
        apart = (
            np.abs(np.asarray(claimed, dtype=np.float64) - right) if claimed.shape == right.shape else np.abs(claimed)
        )
    allowed = _CONDITION * computing_precision(case.dtype).unit_roundoff * np.where(np.isfinite(apart), apart, 0.0)
    return Bounds(allowed, allowed)


_Pair = tuple[str, Array, Array, Array, Callable[[Array], Bounds] | None, str]


def _pairs(
    technique: Technique,
    dialect: Dialect | None,
    case: Case,
    answer: Answer,
    explained: Answer,
    wanted: Sequence[str],
) -> Iterator[_Pair]:
    """Its name, what the candidate gave, what the explanation gives, what is right, and how to bound it."""
    right = technique.evaluate(case, dialect)
    for number, output in enumerate(technique.outputs[: len(answer.outputs)]):
        dtype = float_format(answer.dtypes[number], case)
        bounds = None
        if output.dtype == "float":
            bounds = partial(_value_bounds, technique, case, dtype, dialect, number)
        yield output.name, answer.outputs[number], explained.outputs[number], np.asarray(right[number]), bounds, dtype
    for name in wanted:
        dtype = float_format(answer.gradient_dtypes[name], case)
        value_dtype = float_format(answer.dtypes[0], case)
        exact = technique.evaluate_gradient(name, case, dialect)
        bounds = partial(_gradient_bounds, technique, case, dtype, dialect, name, value_dtype)
        yield f"gradient of {name}", answer.gradients[name], explained.gradients[name], exact, bounds, dtype


def _value_bounds(
    technique: Technique, case: Case, dtype: str, dialect: Dialect | None, output: int, expected: Array
) -> Bounds:
    return value_bounds(technique, case, np.asarray(expected, dtype=np.float64), dtype, dialect, output)


def _gradient_bounds(
    technique: Technique, case: Case, dtype: str, dialect: Dialect | None, name: str, value_dtype: str, expected: Array
) -> Bounds:
    return gradient_bounds(technique, name, case, expected, dtype, dialect, value_dtype=value_dtype)
