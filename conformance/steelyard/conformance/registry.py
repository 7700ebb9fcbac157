"""All techniques that have a contract, by id."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from steelyard.conformance.contract import Technique
from steelyard.conformance.detection.catalogue import CONTRACTS as DETECTION
from steelyard.conformance.foreground_balance.catalogue import CONTRACTS as FOREGROUND_BALANCE
from steelyard.conformance.generative.catalogue import CONTRACTS as GENERATIVE
from steelyard.conformance.hard_sampling.catalogue import CONTRACTS as HARD_SAMPLING
from steelyard.conformance.soft_sampling.catalogue import CONTRACTS as SOFT_SAMPLING

TECHNIQUES: dict[str, Technique] = {
    contract.id: contract for contract in (*DETECTION, *HARD_SAMPLING, *SOFT_SAMPLING, *GENERATIVE, *FOREGROUND_BALANCE)
}


class UnknownTechniqueError(ValueError):
    """No technique has this id."""


def technique(technique_id: str) -> Technique:
    """The contract of this id; else an error that names the nearest one."""
    if technique_id not in TECHNIQUES:
        raise UnknownTechniqueError(
            f"technique: expected an id from `steelyard list`, got {technique_id!r}"
            f"{closest(technique_id, list(TECHNIQUES))}"
        )
    return TECHNIQUES[technique_id]


def closest(name: str, names: Sequence[str]) -> str:
    """A "did you mean", or nothing."""
    near = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]}?" if near else ""
