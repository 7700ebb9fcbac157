"""Failures that are expected, each with its reason: they do not end a run red, but their mending does.

A file in TOML:

    [[known]]
    technique = "sigmoid_focal_loss"
    requirement = "FL-4"
    reason = "gradient is NaN once 1 - p rounds to 0"
    url = "https://github.com/..."
    when = "version < 0.30"        # optional: only if the candidate's version compares so

The JSON Schema of its data model is `schemas/known-failures.json` in the package.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import tomli_w
from packaging.version import InvalidVersion, Version

from steelyard.conformance.registry import TECHNIQUES, closest
from steelyard.conformance.results import RequirementResult, Status, TechniqueResult

_FIELDS = {"technique", "requirement", "reason", "url", "when"}
_COMPARISONS = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    ">=": lambda a, b: a >= b,
    ">": lambda a, b: a > b,
}


class KnownFailuresError(ValueError):
    """The file of known failures cannot be used."""


@dataclass(frozen=True)
class KnownFailure:
    """One expected failure."""

    technique: str
    requirement: str
    reason: str
    url: str = ""
    when: str = ""

    def applies_to(self, version: str) -> bool:
        """Whether the condition holds for this version of the candidate."""
        if not self.when:
            return True
        _, comparison, bound = self.when.split()
        try:
            return bool(_COMPARISONS[comparison](Version(version), Version(bound)))
        except InvalidVersion:
            return True


def read_known_failures(path: Path) -> tuple[KnownFailure, ...]:
    """Read a TOML file of known failures."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise KnownFailuresError(
            f"{path}: {error.strerror}; expected a file that `steelyard check TARGET --write-known FILE` writes"
        ) from error
    except UnicodeDecodeError as error:
        raise KnownFailuresError(f"{path}: not UTF-8: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise KnownFailuresError(
            f"{path}: not TOML: {error}; expected [[known]] tables with technique, requirement and reason"
        ) from error
    if unknown := set(document) - {"known"}:
        name = min(unknown)
        raise KnownFailuresError(f"{path}: unknown table {name!r}{closest(name, ['known'])}")
    entries = document.get("known", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise KnownFailuresError(f"{path}: known: expected [[known]] tables, got {entries!r}")
    return parse_known_failures(entries, str(path))


def parse_known_failures(entries: Iterable[Mapping[str, str]], where: str) -> tuple[KnownFailure, ...]:
    """Known failures from their table form; `where` names the source in errors."""
    parsed = []
    for number, entry in enumerate(entries, 1):
        place = f"{where}: known failure {number}"
        if unknown := set(entry) - _FIELDS:
            name = min(unknown)
            raise KnownFailuresError(f"{place}: unknown field {name!r}{closest(name, sorted(_FIELDS))}")
        for name in ("technique", "requirement", "reason"):
            if not entry.get(name):
                raise KnownFailuresError(f"{place}: {name}: expected a text, got nothing")
        for name, text in entry.items():
            if not isinstance(text, str):
                raise KnownFailuresError(f"{place}: {name}: expected a text, got {text!r}")
        failure = KnownFailure(**entry)
        _check_names(failure, place)
        parsed.append(failure)
    return tuple(parsed)


def write_known_failures(path: Path, techniques: Iterable[TechniqueResult]) -> int:
    """Write what failed as known failures; returns how many. The reasons are for a person to improve."""
    entries = [
        {
            "technique": technique.id,
            "requirement": found.id,
            "reason": found.reason or found.explanation or found.message.splitlines()[0],
            "url": found.url,
        }
        for technique in techniques
        for found in technique.requirements
        if found.status in (Status.FAIL, Status.ERROR, Status.KNOWN)
    ]
    path.write_text(tomli_w.dumps({"known": entries}), encoding="utf-8")
    return len(entries)


def apply_known(
    technique: str, found: RequirementResult, known: Iterable[KnownFailure], version: str, *, in_full: bool = True
) -> RequirementResult:
    """The result with an expected failure turned into `known`, an expected failure that passed into `fixed`.

    What passed in some of its precisions, not `in_full`, may still fail in the others: it is not called fixed.
    """
    for failure in known:
        if (failure.technique, failure.requirement) == (technique, found.id) and failure.applies_to(version):
            if found.status in (Status.FAIL, Status.ERROR):
                return replace(found, status=Status.KNOWN, reason=failure.reason, url=failure.url)
            if found.status in (Status.PASS, Status.WARN) and in_full:
                message = f"listed as a known failure ({failure.reason}), but it holds now: take it off the list"
                return replace(found, status=Status.FIXED, message=message, reason=failure.reason, url=failure.url)
    return found


def unmatched(known: Iterable[KnownFailure], techniques: Iterable[TechniqueResult], version: str) -> tuple[str, ...]:
    """Known failures of techniques that were judged, whose requirement the candidate gives nothing to judge for."""
    judged = {(t.id, r.id): r.status for t in techniques for r in t.requirements}
    ran = {technique for technique, _ in judged}
    return tuple(
        f"{failure.technique} {failure.requirement}: {failure.reason}"
        for failure in known
        if failure.applies_to(version)
        and failure.technique in ran
        and judged.get((failure.technique, failure.requirement), Status.SKIP) == Status.SKIP
    )


def _check_names(failure: KnownFailure, place: str) -> None:
    contract = TECHNIQUES.get(failure.technique)
    if contract is None:
        hint = closest(failure.technique, list(TECHNIQUES))
        raise KnownFailuresError(f"{place}: technique: unknown id {failure.technique!r}{hint}")
    ids = [requirement.id for requirement in contract.requirements]
    if failure.requirement not in ids:
        hint = closest(failure.requirement, ids)
        raise KnownFailuresError(f"{place}: requirement: {failure.technique} has no {failure.requirement!r}{hint}")
    words = failure.when.split()
    if failure.when and (len(words) != 3 or words[0] != "version" or words[1] not in _COMPARISONS):
        raise KnownFailuresError(f"{place}: when: expected e.g. 'version < 0.30', got {failure.when!r}")
