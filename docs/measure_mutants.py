"""Which requirement catches which known mistake, for the pages of the site: `python docs/measure_mutants.py`.

The kill matrix takes long, so it is kept in docs/mutants.json. Without arguments every technique whose mutants differ
from those kept, or of which one was not caught, is judged again; with technique ids, these. The file is written after
each technique: a run that is stopped loses nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from steelyard.conformance.kill_matrix import kill_matrix
from steelyard.conformance.registry import TECHNIQUES

FILE = Path(__file__).with_name("mutants.json")


def kept() -> dict[str, dict[str, list[str]]]:
    """Technique -> mutant -> requirements that catch it."""
    found: dict[str, dict[str, list[str]]] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    return found


def measure(technique_ids: Sequence[str]) -> None:
    """Judge the mutants of some techniques with the quick profile, what it misses with the default one; keep both."""
    for id_ in technique_ids:
        contract = TECHNIQUES[id_]
        rows = {row.mutant: list(row.by) for row in kill_matrix([contract], profile="quick")}
        rare = replace(contract, mutants=tuple(mutant for mutant in contract.mutants if not rows[mutant.id]))
        rows |= {row.mutant: list(row.by) for row in kill_matrix([rare], profile="default")}
        all_rows = {**kept(), id_: rows}
        ordered = {name: all_rows[name] for name in TECHNIQUES if name in all_rows}
        FILE.write_text(json.dumps(ordered, indent=0) + "\n", encoding="utf-8")
        sys.stdout.write(f"{id_} {len(rows)}\n")


def stale() -> list[str]:
    """Techniques whose mutants are not those of the file, or are not all caught there."""
    have = kept()
    return [
        id_
        for id_, contract in TECHNIQUES.items()
        if {m.id for m in contract.mutants} != have.get(id_, {}).keys() or not all(have[id_].values())
    ]


if __name__ == "__main__":
    measure(sys.argv[1:] or stale())
