"""The matrix of candidates and techniques, as the page needs it: plain data from result files."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from steelyard.conformance.candidates import LoadError
from steelyard.conformance.contract import Technique
from steelyard.conformance.registry import TECHNIQUES
from steelyard.conformance.results import SCHEMA, RequirementResult, Result, TechniqueResult, result_from_json
from steelyard.conformance.schemas import violation

LARGEST_SCRIPT = 16_384
"""In bytes; the smallest inputs that show a failure take one or two thousand."""


def read_results(files: Iterable[Path]) -> list[tuple[Path, Result]]:
    """Results as `check --json` writes them."""
    return [(file, _read(file)) for file in files]


def _read(file: Path) -> Result:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise LoadError(
            f"{file}: {error.strerror}; expected a file that `steelyard check TARGET --json FILE` writes"
        ) from error
    except ValueError as error:
        raise LoadError(f"{file}: not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        found = document.get("schema") if isinstance(document, dict) else type(document).__name__
        raise LoadError(f"{file}: expected a result of `steelyard check --json` ({SCHEMA}), found {found!r}")
    wrong = violation(document, "result")
    if wrong:
        raise LoadError(f"{file}: not a result of this version: {wrong}")
    return result_from_json(document)


def matrix(results: Sequence[tuple[Path, Result]]) -> dict[str, Any]:
    """Everything that the page shows; techniques in the order of `steelyard list`, those that someone implements."""
    judged = {t.id for _, result in results for t in result.techniques if t.requirements}
    techniques = [contract for id_, contract in TECHNIQUES.items() if id_ in judged]
    unknown = sorted(judged - TECHNIQUES.keys())
    if unknown:
        raise LoadError(f"technique {unknown[0]!r} of a result is not in this version: results of another version?")
    return {
        "techniques": [_technique(contract) for contract in techniques],
        "candidates": [_candidate(file, result, techniques) for file, result in results],
    }


def _technique(contract: Technique) -> dict[str, Any]:
    return {
        "id": contract.id,
        "title": contract.title,
        "family": contract.family,
        "requirements": {
            r.id: {"level": r.level.value, "kind": r.kind.value, "text": r.text, "source": r.source}
            for r in contract.requirements
        },
    }


def _candidate(file: Path, result: Result, techniques: Sequence[Technique]) -> dict[str, Any]:
    found = {judged.id: judged for judged in result.techniques if judged.requirements}
    return {
        "name": result.target,
        "version": result.version,
        "profile": result.profile,
        "seed": result.seed,
        "complete": result.complete,
        "environment": result.environment,
        "cells": [_cell(found.get(contract.id), file) for contract in techniques],
    }


def _cell(judged: TechniqueResult | None, file: Path) -> dict[str, Any] | None:
    if judged is None:
        return None
    return {
        "verdict": judged.verdict.value,
        "dialect": judged.dialect,
        "departures": list(judged.departures),
        "requirements": [_requirement(found, file) for found in judged.requirements],
    }


def _requirement(found: RequirementResult, file: Path) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": found.id, "status": found.status.value, "checks": found.checks}
    if found.bound_used is not None:
        shown["bound_used"] = round(found.bound_used, 3)
    for name in ("message", "explanation", "diagnosis", "reason", "url"):
        if getattr(found, name):
            shown[name] = getattr(found, name)
    if found.case:
        shown["replay"] = shlex.join(["steelyard", "replay", found.case])
        shown["script"] = _script(file, found.case)
    return shown


def _script(file: Path, case: str) -> str | None:
    """The script beside the case file, which lies where the run was started or beside the result.

    None where it is too large for a page: a scene of thousands of candidates is for the case file.
    """
    for folder in (Path(), file.parent):
        script = (folder / case).with_suffix(".py")
        if script.is_file():
            return script.read_text(encoding="utf-8") if script.stat().st_size <= LARGEST_SCRIPT else None
    return None
