"""From a contract and a candidate to a verdict: searches each requirement for a failing input, and makes it small."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hypothesis.errors import Flaky

from steelyard.conformance import floor
from steelyard.conformance.candidates import Candidate, CandidateError, CandidateLost
from steelyard.conformance.cases import FailingCase, write_case
from steelyard.conformance.checking import (
    Bench,
    Deviation,
    DistributionDeviation,
    Evidence,
    NotOfferedError,
    restricted,
    value,
)
from steelyard.conformance.contract import Case, Dialect, Kind, Requirement, Technique
from steelyard.conformance.diagnosis import Diagnosis, diagnose, diagnose_alike, diagnose_distribution, oracle_functions
from steelyard.conformance.generation import SeededDraw
from steelyard.conformance.known_failures import KnownFailure, apply_known, parse_known_failures, unmatched
from steelyard.conformance.loading import Target
from steelyard.conformance.profiles import PROFILES, Profile
from steelyard.conformance.registry import TECHNIQUES, technique
from steelyard.conformance.results import RequirementResult, Result, Status, TechniqueResult, Verdict
from steelyard.conformance.resuming import judged_to_the_end
from steelyard.conformance.searching import feed

_FAILING_KEPT = 4
_FRESH = 12
_LARGE = 10_000  # numbers in an input: thousands of elements tell mistakes apart without many inputs
_FRESH_LARGE = 1
_FRESH_ALIKE = 4  # fewer: every mutant is run through the whole check
_LOST_AT_MOST = 2
_INFERENCE_CASES = 12


@dataclass(frozen=True)
class Plan:
    """What to judge, and how."""

    techniques: tuple[str, ...] | None = None
    """None: all that the candidate implements."""
    profile: str = "default"
    seed: int = 0
    device: str = "cpu"
    dtypes: tuple[str, ...] | None = None
    known: tuple[KnownFailure, ...] = ()
    cases: Path | None = None
    """Directory for case files."""
    requirements: frozenset[str] | None = None
    """Only these; a run of a part is not measured against the floor."""
    shrink: bool = True
    """Whether a failure is made small and explained; the kill matrix needs neither."""

    def asks(self, technique_id: str) -> bool:
        """Whether any of the technique's requirements is to be judged."""
        ids = (requirement.id for requirement in technique(technique_id).requirements)
        return self.requirements is None or not self.requirements.isdisjoint(ids)

    def precisions(self, requirement: Requirement, offered: Sequence[str]) -> tuple[str, ...]:
        """In which of the candidate's precisions a requirement is judged."""
        chosen = offered if self.dtypes is None else self.dtypes
        return tuple(dtype for dtype in requirement.dtypes if dtype in offered and dtype in chosen)

    def includes(self, failure: KnownFailure, offered: Sequence[str]) -> bool:
        """Whether the choice of precisions leaves anything of an expected failure's requirement to be judged."""
        requirement = technique(failure.technique).requirement(failure.requirement)
        return self.dtypes is None or bool(self.precisions(requirement, offered))


@dataclass
class Listener:
    """Hears what is found as it is found."""

    on_technique: Callable[[Technique, int], None] = lambda technique, requirements: None  # noqa: ARG005
    on_requirement: Callable[[Technique, RequirementResult], None] = lambda technique, result: None  # noqa: ARG005
    on_verdict: Callable[[TechniqueResult], None] = lambda result: None  # noqa: ARG005
    on_progress: Callable[[Result], None] = lambda result: None  # noqa: ARG005
    """Gets all that was found so far: at the start, and after each requirement."""


@dataclass
class _Search:
    """What a search for a failing input has found so far."""

    failing: list[Case] = field(default_factory=list)
    smallest: Exception | None = None
    lost: Case | None = None
    """The input on which the candidate's process was lost."""
    calls_after_failure: int = 0


class _EnoughShrinkingError(BaseException):
    """The calls for making an input small are used up."""


def run(
    candidate: Candidate,
    target: Target,
    plan: Plan,
    listener: Listener,
    resume: Result | None = None,
) -> Result:
    """Judge a candidate. `resume` is an interrupted run: what it judged to the end is not judged again."""
    started = time.monotonic()
    description = candidate.description
    known = plan.known + parse_known_failures(description.known, target.text)
    results: list[TechniqueResult] = []
    wanted = plan.techniques or tuple(id_ for id_ in TECHNIQUES if id_ in description.functions and plan.asks(id_))

    expected = [failure for failure in known if plan.includes(failure, description.dtypes)]
    settings = _settings(target, plan, known)

    def result(*unfinished: TechniqueResult, complete: bool = False) -> Result:
        judged = [technique for technique in results if technique.complete]
        return Result(
            target=description.name, version=description.version, arrays=description.arrays, profile=plan.profile,
            seed=plan.seed, device=plan.device, techniques=(*results, *unfinished), complete=complete,
            unmatched=unmatched(expected, judged, description.version) if plan.requirements is None else (),
            duration_s=time.monotonic() - started, settings=settings,
        )  # fmt: skip

    done = {} if resume is None else judged_to_the_end(resume, result())
    listener.on_progress(result())
    try:
        for technique_id in wanted:
            if technique_id in done:
                results.append(done[technique_id])
            else:
                work = _Technique(technique(technique_id), candidate, target, plan, known, listener)
                try:
                    for _ in work.steps():
                        listener.on_progress(result(work.result()))
                finally:
                    results.append(work.result())
            listener.on_verdict(results[-1])
            listener.on_progress(result())
    except KeyboardInterrupt:
        return result()
    return result(complete=True)


class _Technique:
    """One technique of one run."""

    def __init__(
        self,
        contract: Technique,
        candidate: Candidate,
        target: Target,
        plan: Plan,
        known: Iterable[KnownFailure],
        listener: Listener,
    ) -> None:
        self._contract = contract
        self._candidate = candidate
        self._target = target
        self._plan = plan
        self._profile: Profile = PROFILES[plan.profile]
        self._known = tuple(known)
        self._listener = listener
        self._dialect: Dialect | None = None
        self._lost: list[str] = []
        self._results: list[RequirementResult] = []
        wanted = plan.requirements
        self._chosen = [r for r in contract.requirements if wanted is None or r.id in wanted]
        if contract.id not in candidate.description.functions:
            self._chosen = []

    def steps(self) -> Iterator[RequirementResult]:
        """Judge every requirement, one a step."""
        contract = self._contract
        if not self._chosen:
            return
        self._listener.on_technique(contract, len(self._chosen))
        self._dialect = self._find_dialect()
        for requirement in self._chosen:
            found = self._judge(requirement)
            version, narrowed = self._candidate.description.version, self._left_out(requirement)
            found = apply_known(contract.id, found, self._known, version, in_full=not narrowed)
            self._results.append(found)
            self._listener.on_requirement(contract, found)
            yield found

    def result(self) -> TechniqueResult:
        """The verdict on what has been judged so far."""
        if not self._chosen:
            return TechniqueResult(self._contract.id, Verdict.NOT_IMPLEMENTED)
        whole = self._plan.requirements is None
        missed = floor.missed(self._contract.id, self._plan.profile, self._results) if whole else ()
        complete = len(self._results) == len(self._chosen)
        verdict = verdict_on(self._results, whole=whole)
        return TechniqueResult(
            self._contract.id,
            verdict if complete or verdict == Verdict.DEVIATES else Verdict.UNFINISHED,
            None if self._dialect is None else self._dialect.id,
            tuple(self._results),
            tuple(self._departures()),
            missed,
            complete,
        )

    def _departures(self) -> Iterable[str]:
        if self._dialect is not None and self._dialect.departs_from_paper:
            yield f"dialect {self._dialect.id} departs from the paper: {self._dialect.summary}"
        signature = self._candidate.description.functions[self._contract.id]
        for option in self._contract.options:
            if option.name not in signature.options and option.name not in self._contract.dialect_options:
                yield f"takes no option {option.name}: judged at the specification's default, {option.default}"

    # --- dialects ---------------------------------------------------------------------------------------------

    def _find_dialect(self) -> Dialect | None:
        """Declared, or chosen by an option that the candidate takes, or inferred from its answers."""
        contract = self._contract
        description = self._candidate.description
        dialects = {dialect.id: dialect for dialect in contract.dialects}
        declared = description.dialects.get(contract.id)
        if declared is not None:
            return dialects.get(declared)
        taken = description.functions[contract.id].options
        if not dialects or contract.dialect_options <= taken:
            return None
        alive = sorted(contract.dialects, key=lambda d: d.departs_from_paper)
        asked = [r for r in contract.requirements if r.check is value and not self._not_applicable(r)]
        for requirement in asked:
            for number in range(_INFERENCE_CASES):
                left = [dialect for dialect in alive if self._answers_like(dialect, requirement, number)]
                # further inputs only part the dialects that are left: one that fits none is a failure to be reported
                alive = left or ([] if requirement is asked[0] else alive)
            if len(alive) <= 1:
                break
        return alive[0] if alive else None

    def _answers_like(self, dialect: Dialect, requirement: Requirement, number: int) -> bool:
        bench = Bench(self._contract, self._candidate, dialect)
        draw = SeededDraw(f"dialect {number}", self._dtypes(requirement))
        case = restricted(requirement.cases(draw), bench.signature, self._contract)
        try:
            requirement.check(bench, case)
        except (Deviation, CandidateError, NotOfferedError, CandidateLost):
            return False
        return True

    # --- one requirement --------------------------------------------------------------------------------------

    def _judge(self, requirement: Requirement) -> RequirementResult:  # noqa: PLR0911 - one return an outcome
        blank = RequirementResult(requirement.id, requirement.level.value, requirement.kind.value, Status.SKIP)
        if reason := self._not_applicable(requirement):
            return replace(blank, message=reason)
        if len(self._lost) >= _LOST_AT_MOST:
            before = f"not run: the candidate was lost {len(self._lost)} times before; it {self._lost[-1]}"
            return replace(blank, status=Status.ERROR, message=before)
        bench = Bench(self._contract, self._candidate, self._dialect)
        search = _Search()
        try:
            failure = self._search(requirement, bench, search)
            tampering = self._candidate.tampering()
        except NotOfferedError as error:
            return replace(blank, checks=bench.checks, message=str(error))
        except CandidateLost as error:
            self._lost.append(str(error))
            message = f"the candidate {error}"
            path = None if search.lost is None else self._write_case(requirement, search.lost, message)
            return replace(blank, status=Status.ERROR, checks=bench.checks, message=message, case=path)
        if tampering:
            return replace(blank, status=Status.ERROR, checks=bench.checks, message=f"the candidate {tampering}")
        measured = replace(blank, checks=bench.checks, bound_used=bench.bound_used)
        if failure is None:
            status = Status.WARN if bench.warning else Status.PASS
            return replace(measured, status=status, message=bench.warning)
        return self._explain(requirement, measured, failure, search)

    def _not_applicable(self, requirement: Requirement) -> str:
        signature = self._candidate.description.functions[self._contract.id]
        if not self._dtypes(requirement):
            if left_out := self._left_out(requirement):
                return f"not run: it is judged in {' or '.join(left_out)}, which was not chosen"
            return f"the candidate does not work in {' or '.join(requirement.dtypes)}"
        lacking = [name for name in requirement.options if name not in signature.options]
        if lacking and not signature.problem:
            return f"the candidate takes no option {lacking[0]}"
        if requirement.needs_keys and not signature.takes_keys:
            return "the candidate draws its own random numbers: judged by their distribution"
        if requirement.needs_gradient and not (self._candidate.differentiates or signature.has_gradient):
            return f"no gradient: neither autograd nor a function {self._contract.id}_grad"
        return ""

    def _dtypes(self, requirement: Requirement) -> tuple[str, ...]:
        return self._plan.precisions(requirement, self._candidate.description.dtypes)

    def _left_out(self, requirement: Requirement) -> tuple[str, ...]:
        """Precisions of the candidate in which the requirement would be judged, had they been chosen."""
        offered, judged = self._candidate.description.dtypes, self._dtypes(requirement)
        return tuple(dtype for dtype in requirement.dtypes if dtype in offered and dtype not in judged)

    def _search(self, requirement: Requirement, bench: Bench, search: _Search) -> Exception | None:
        """The failure on the smallest failing input that was found, or None."""

        def attempt(case: Case) -> None:
            if search.smallest is not None:
                search.calls_after_failure += 1
                if search.calls_after_failure > (self._profile.shrink_calls if self._plan.shrink else 0):
                    raise _EnoughShrinkingError
            case = restricted(case, bench.signature, self._contract)
            try:
                requirement.check(bench, case)
            except CandidateLost:
                search.lost = case
                raise
            except (Deviation, CandidateError) as error:
                search.smallest = error if isinstance(error, Deviation) else _Raised(str(error), case)
                search.failing.append(case)
                raise search.smallest from error

        try:
            feed(
                attempt, requirement, technique=self._contract.id, profile=self._profile,
                seed_of_run=self._plan.seed, dtypes=self._dtypes(requirement),
            )  # fmt: skip
        except _EnoughShrinkingError:
            return search.smallest
        except (Deviation, _Raised) as error:
            return error
        except Flaky:
            assert search.smallest is not None
            first = str(search.smallest)
            return Deviation(f"two equal calls gave two answers; once: {first}", search.failing[0])
        return None

    def _explain(
        self, requirement: Requirement, measured: RequirementResult, failure: Exception, search: _Search
    ) -> RequirementResult:
        raised = isinstance(failure, _Raised)
        case = failure.case if isinstance(failure, Deviation | _Raised) else search.failing[-1]
        evidence = failure.evidence if isinstance(failure, Deviation) else None
        diagnosis = self._diagnose(requirement, case, failure, search) if self._plan.shrink else Diagnosis(None, "")
        path = self._write_case(requirement, case, str(failure), evidence)
        return replace(
            measured,
            status=Status.ERROR if raised else Status.FAIL,
            message=str(failure),
            diagnosis=diagnosis.id,
            explanation=diagnosis.sentence,
            case=path,
        )

    def _write_case(
        self, requirement: Requirement, case: Case, message: str, evidence: Evidence | None = None
    ) -> str | None:
        if self._plan.cases is None:
            return None
        dialect = None if self._dialect is None else self._dialect.id
        failing = FailingCase(self._contract.id, requirement.id, case, message, self._target, evidence, dialect)
        return str(write_case(self._plan.cases, failing))

    def _diagnose(self, requirement: Requirement, case: Case, failure: Exception, search: _Search) -> Diagnosis:
        has_numbers = isinstance(failure, Deviation) and failure.evidence is not None
        try:
            if has_numbers:
                return self._diagnose_equal(requirement, case, search)
            if isinstance(failure, DistributionDeviation):
                return diagnose_distribution(self._contract, self._candidate, self._dialect, requirement, case)
            return self._diagnose_alike(requirement, case)
        except CandidateLost:
            self._lost.append("was lost while its failure was being explained")
            return Diagnosis(None, "the candidate was lost while its failure was being explained")

    def _diagnose_equal(self, requirement: Requirement, case: Case, search: _Search) -> Diagnosis:
        large = sum(array.size for array in case.arguments.values()) > _LARGE
        failing = [case, *search.failing[: 0 if large else _FAILING_KEPT]]
        fresh = self._fresh_cases(requirement, _FRESH_LARGE if large else _FRESH)
        ordinary = self._ordinary(requirement)
        elsewhere = self._fresh_cases(ordinary, _FRESH_ALIKE, case.dtype)
        return diagnose(
            self._contract, self._candidate, self._dialect, failing, fresh, elsewhere,
            gradient=requirement.needs_gradient, partly=ordinary is not requirement,
        )  # fmt: skip

    def _diagnose_alike(self, requirement: Requirement, case: Case) -> Diagnosis:
        # where nothing is special, too: a mistake that shows there is not that of a candidate that is right there
        asked = (requirement, self._ordinary(requirement))
        trials = [(requirement, case)]
        trials += [(r, c) for r in asked for c in self._fresh_cases(r, _FRESH_ALIKE, case.dtype)]
        return diagnose_alike(self._contract, self._candidate, self._dialect, trials)

    def _ordinary(self, requirement: Requirement) -> Requirement:
        """The contract's first requirement about values; the given one where there is none."""
        values = (r for r in self._contract.requirements if r.check is value and not self._not_applicable(r))
        return next(values, requirement)

    def _fresh_cases(self, requirement: Requirement, count: int, dtype: str | None = None) -> list[Case]:
        """Further inputs of a requirement: of a format, because an adapter may convert others; None stands for all."""
        dtypes = tuple(d for d in self._dtypes(requirement) if d == dtype) or self._dtypes(requirement)
        signature = self._candidate.description.functions[self._contract.id]
        return [
            restricted(requirement.cases(SeededDraw(f"fresh {number}", dtypes)), signature, self._contract)
            for number in range(count)
        ]


class _Raised(Exception):  # noqa: N818 - an outcome of the candidate, not an error of ours
    """The candidate raised on this case."""

    def __init__(self, message: str, case: Case) -> None:
        super().__init__(message)
        self.case = case


def _settings(target: Target, plan: Plan, known: Iterable[KnownFailure]) -> dict[str, Any]:
    """All that decides about the verdict and is not in a result already."""
    return {
        "target": target.text,
        "source": target.digest(),
        "as": target.technique,
        "map": dict(target.names),
        "set": dict(target.constants),
        "dtypes": None if plan.dtypes is None else list(plan.dtypes),
        "requirements": None if plan.requirements is None else sorted(plan.requirements),
        "known": [f"{failure.technique} {failure.requirement}" for failure in known],
    }


def judge_own(contract: Technique, functions: Candidate, plan: Plan) -> TechniqueResult:
    """Judge functions of the suite's own (the oracle or a mutant) in this process."""
    judged = _Technique(contract, functions, Target("own"), plan, (), Listener())
    for _ in judged.steps():
        pass
    return judged.result()


def check_case(candidate: Candidate, failing: FailingCase) -> str:
    """Judge one case again; returns the deviation's report, or an empty text if it holds now."""
    contract = technique(failing.technique)
    dialect = next((d for d in contract.dialects if d.id == failing.dialect), None)
    bench = Bench(contract, candidate, dialect)
    try:
        contract.requirement(failing.requirement).check(bench, failing.case)
    except (Deviation, CandidateError, CandidateLost, NotOfferedError) as error:
        return str(error)
    return ""


def oracle_result(contract: Technique, plan: Plan) -> TechniqueResult:
    """The oracle judged by its own contract: what a perfect candidate gets."""
    return judge_own(contract, oracle_functions(contract), plan)


def verdict_on(results: Sequence[RequirementResult], *, whole: bool) -> Verdict:
    """The outcome of a technique; `whole`: its whole contract was to be judged, not some requirements."""
    broken = (Status.FAIL, Status.ERROR, Status.KNOWN)
    if any(r.level == "MUST" and r.status in broken for r in results):
        return Verdict.DEVIATES
    # of the whole contract, the value at least must have been judged, or the distribution of what draws its own random
    # numbers; else what was asked for
    telling = (Kind.VALUE.value, Kind.DISTRIBUTION.value)
    wanted = [r for r in results if r.kind in telling or not whole]
    judged = any(r.status != Status.SKIP for r in wanted)
    return Verdict.CONFORMS if judged else Verdict.NOT_IMPLEMENTED
