"""Judging a program's answers to vectors: with the judge of `check`, and by the bounds in the files alone.

The oracle is not asked. A case that the program says it skips is not judged, one that it does not mention is an error,
so that a shorter run does not look like a better one. A technique of which it mentions no case is left out.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from steelyard.conformance.candidates import LoadError
from steelyard.conformance.checking import comparison_report
from steelyard.conformance.contract import Array, Case
from steelyard.conformance.doors import UsageError
from steelyard.conformance.encoding import EncodingError, decode_array, decode_case, decode_float
from steelyard.conformance.judging import Bounds, Comparison, compare, nearest_admissible
from steelyard.conformance.registry import TECHNIQUES, closest
from steelyard.conformance.results import RequirementResult, Result, Status, TechniqueResult, Verdict
from steelyard.conformance.running import verdict_on
from steelyard.conformance.schemas import violation
from steelyard.conformance.vectors.answers import Answer, decode_answer, read_answers
from steelyard.conformance.vectors.writing import MANIFEST, OUTPUTS

PROFILE = "vectors"


@dataclass
class _Findings:
    """What was found for one requirement so far."""

    checks: int = 0
    bound_used: float = 0.0
    wrong: list[str] = field(default_factory=list)
    """Reports, one a failing case."""
    missing: list[str] = field(default_factory=list)
    skipped: int = 0
    warning: str = ""


def verify_vectors(directory: Path, results: Path) -> Result:
    """Judge the answers in `results` to the vectors in `directory`: the techniques that they answer.

    Raises `UsageError` where the vectors cannot be used, `LoadError` where the answers cannot be read.
    """
    started = time.monotonic()
    manifest = read_manifest(directory)
    files = {entry["id"]: _read_cases(directory, entry) for entry in manifest["techniques"]}
    answers = read_answers(results)
    known = {case["case"] for cases in files.values() for case in cases}
    for case, answer in answers.items():
        if case not in known:
            raise LoadError(f"{answer.place}: {directory} has no case {case!r}{closest(case, sorted(known))}")
    judged = [
        _judge(technique_id, cases, answers)
        for technique_id, cases in files.items()
        if any(case["case"] in answers for case in cases)
    ]
    return Result(
        target=str(results), version="", arrays="JSON", profile=PROFILE, seed=manifest["seed"], device="cpu",
        techniques=tuple(judged), duration_s=time.monotonic() - started, settings=_settings(directory, results),
    )  # fmt: skip


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a directory of vectors that this version of the suite can judge."""
    path = directory / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; `steelyard vectors write` makes such a directory") from error
    except ValueError as error:
        raise UsageError(f"{path}: not JSON: {error}") from error
    if problem := violation(manifest, "vectors"):
        raise UsageError(f"{path}: not a manifest of vectors: {problem}")
    for entry in manifest["techniques"]:
        contract = TECHNIQUES.get(entry["id"])
        offered = () if contract is None else [requirement.id for requirement in contract.requirements]
        unknown = [entry["id"]] if contract is None else sorted(set(entry["requirements"]) - set(offered))
        if unknown:
            raise UsageError(
                f"{path}: no {unknown[0]} here: written by steelyard {manifest['steelyard']}; verify with it"
            )
    return manifest


def _read_cases(directory: Path, entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    path = directory / entry["file"]
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}, but the manifest names it") from error
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise UsageError(f"{path}: changed since it was written: its SHA-256 is not the manifest's")
    return [json.loads(line) for line in content.decode().splitlines()]


def _settings(directory: Path, results: Path) -> dict[str, Any]:
    digest = hashlib.sha256(results.read_bytes()).hexdigest() if results.is_file() else None
    return {
        "target": str(results), "source": digest, "as": None, "map": {}, "set": {}, "dtypes": None,
        "requirements": None, "known": [], "vectors": hashlib.sha256((directory / MANIFEST).read_bytes()).hexdigest(),
    }  # fmt: skip


def _judge(technique_id: str, cases: Sequence[Mapping[str, Any]], answers: Mapping[str, Answer]) -> TechniqueResult:
    own = [answers[case["case"]] for case in cases if case["case"] in answers]
    if all(answer.skip is not None for answer in own):
        return TechniqueResult(technique_id, Verdict.NOT_IMPLEMENTED)
    has_gradients = any(answer.gradients for answer in own)
    found: dict[str, _Findings] = {}
    for document in cases:
        case, answer = decode_case(document), answers.get(document["case"])
        for requirement, part in document["covers"].items():
            findings = found.setdefault(requirement, _Findings())
            if answer is None:
                findings.missing.append(f"no answer to {document['case']}")
            elif answer.skip is not None or (part != OUTPUTS and not has_gradients):
                findings.skipped += 1
            else:
                _judge_part(findings, document, case, answer, part)
    contract = TECHNIQUES[technique_id]
    results = [
        _result(requirement.id, requirement.level.value, requirement.kind.value, found[requirement.id])
        for requirement in contract.requirements
        if requirement.id in found
    ]
    lack = not has_gradients and any(document["gradients"] for document in cases)
    departures = tuple(_departures(own, len(cases), gradients_lack=lack))
    return TechniqueResult(technique_id, verdict_on(results, whole=True), None, tuple(results), departures)


def _judge_part(findings: _Findings, document: Mapping[str, Any], case: Case, answer: Answer, part: str) -> None:
    """All outputs of a case, or one of its gradients."""
    wanted, given, kind = document["outputs"], answer.outputs, "output"
    if part != OUTPUTS:
        wanted, given, kind = {part: document["gradients"][part]}, answer.gradients, "gradient"
    for name, expected in wanted.items():
        if name not in given:
            instead = f"; there are {', '.join(given)}" if given else ""
            findings.missing.append(f"{answer.place}: no {kind} {name}{instead}")
            continue
        what = f"{'value' if len(wanted) == 1 else name}" if part == OUTPUTS else f"gradient of {name}"
        findings.checks += 1
        try:
            comparison = _compare(decode_answer(given[name]), expected, case.dtype)
        except EncodingError as error:
            findings.wrong.append(f"{what}: {error}\n  {document['case']}, answered in {answer.place}")
            continue
        report = comparison_report(case, comparison, what)
        if comparison.status == "fail":
            findings.wrong.append(f"{report}\n  {document['case']}, answered in {answer.place}")
        elif comparison.bound_used > findings.bound_used:
            findings.bound_used = comparison.bound_used
            findings.warning = report if comparison.status == "warn" else findings.warning


def _compare(actual: Array, expected: Mapping[str, Any], dtype: str) -> Comparison:
    ends = [decode_array(expected[end]) for end in ("expected", "low", "high") if end in expected]
    if actual.shape != ends[0].shape:
        if actual.size or ends[0].size:  # an empty nested list does not tell its inner lengths
            raise EncodingError(f"shape {actual.shape}, expected {ends[0].shape}")
        actual = actual.reshape(ends[0].shape)
    wanted = ends[0] if len(ends) == 1 else nearest_admissible(actual, *ends)
    if expected.get("unordered", False):
        actual, wanted = np.sort(actual, axis=-1), np.sort(wanted, axis=-1)
    if "strict" not in expected:
        return compare(actual, wanted, None, dtype)
    strict, loose = (_bounds(expected[name], wanted.shape) for name in ("strict", "loose"))
    return compare(actual, wanted, Bounds(strict, loose), dtype)


def _bounds(numbers: Iterable[Any], shape: tuple[int, ...]) -> Array:
    return np.array([decode_float(number) for number in numbers], dtype=np.float64).reshape(shape)


def _result(id_: str, level: str, kind: str, found: _Findings) -> RequirementResult:
    status, message = (Status.WARN, found.warning) if found.warning else (Status.PASS, "")
    if found.wrong:
        first, *rest = found.wrong[0].splitlines()
        also = f" (and {len(found.wrong) - 1} further)" if len(found.wrong) > 1 else ""
        status, message = Status.FAIL, "\n".join([first + also, *rest])
    elif found.missing:
        also = f" (and {len(found.missing) - 1} further)" if len(found.missing) > 1 else ""
        status, message = Status.ERROR, found.missing[0] + also
    elif not found.checks:
        status, message = Status.SKIP, "skipped in the results"
    used = found.bound_used if found.checks else None
    return RequirementResult(id_, level, kind, status, found.checks, used, message)


def _departures(own: Sequence[Answer], cases: int, *, gradients_lack: bool) -> Iterable[str]:
    for reason in dict.fromkeys(answer.skip for answer in own if answer.skip is not None):
        number = sum(answer.skip == reason for answer in own)
        yield f"{number} of {cases} cases are skipped: {reason}"
    if gradients_lack:
        yield "no gradient is answered: those of the vectors are not judged"
