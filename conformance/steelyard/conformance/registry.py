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
        names = list(TECHNIQUES)
        hint = (
            closest(technique_id, names, cutoff=0.85)
            or _named_like(technique_id)
            or closest(technique_id, names)
            or _owner(technique_id)
        )
        raise UnknownTechniqueError(f"technique: expected an id from `steelyard list`, got {technique_id!r}{hint}")
    return TECHNIQUES[technique_id]


def _named_like(part: str) -> str:
    """Techniques whose id or title has these words: `focal_loss`, `ohem`."""
    words = part.lower().replace("_", " ").replace("-", " ").strip()
    found = [
        id_ for id_, contract in TECHNIQUES.items() if words in f"{id_.replace('_', ' ')} {contract.title.lower()}"
    ]
    return f"; did you mean {', '.join(found[:3])}?" if words and found else ""


def _owner(requirement_id: str) -> str:
    """Which technique has this requirement: ids of both kinds stand in every report."""
    for contract in TECHNIQUES.values():
        if any(requirement.id == requirement_id for requirement in contract.requirements):
            return f"; {requirement_id} is a requirement of {contract.id}"
    return ""


def closest(name: str, names: Sequence[str], *, cutoff: float = 0.6) -> str:
    """A "did you mean", or nothing if none is near enough."""
    near = difflib.get_close_matches(name, names, n=1, cutoff=cutoff)
    return f"; did you mean {near[0]}?" if near else ""
