"""How many mutants made by machine each technique's contract kills: `python docs/measure_automatic_mutants.py`.

The score is kept in docs/automatic-mutants.json, from which the site makes its table. With technique ids these are
judged; without, those whose number of mutants is not that of the file, or whose survivors are no more what they were.
The file is written after each technique: a run that is stopped loses nothing.

`--survivors` judges only the mutants that lived when this checkout last judged them, and those that are new; it is
for work on a contract, and its end is a whole run, since a change of a contract may also let a mutant live.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from steelyard.conformance.automatic_mutants import automatic_mutants, judge_automatic, read_equivalent
from steelyard.conformance.registry import TECHNIQUES, technique

FILE = Path(__file__).with_name("automatic-mutants.json")
VERDICTS = Path(__file__).resolve().parents[1] / "build" / "automatic-mutants"
"""Who killed each mutant at the last run here, a file a technique: too much to publish."""


class Score(TypedDict):
    """What became of the mutants of one technique."""

    mutants: int
    killed: int
    equivalent: int
    """Alive, and listed as the same function."""
    surviving: list[str]
    """Alive, and not listed."""


def kept() -> dict[str, Score]:
    """Technique -> its score."""
    found: dict[str, Score] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    return found


def measure(technique_ids: Sequence[str], *, survivors: bool = False) -> bool:
    """Judge automatic mutants of some techniques with the default profile and keep the outcome; whether all is well."""
    well = True
    for id_ in technique_ids:
        before = _verdicts(id_) if survivors else {}
        made = [mutant.id for mutant in automatic_mutants(TECHNIQUES[id_])]
        rows = judge_automatic(id_, [mutant for mutant in made if not before.get(mutant)])
        verdicts = {mutant: before.get(mutant, "") for mutant in made} | {row.mutant: row.by for row in rows}
        VERDICTS.mkdir(parents=True, exist_ok=True)
        (VERDICTS / f"{id_}.json").write_text(json.dumps(verdicts, indent=0) + "\n", encoding="utf-8")
        well = _keep(id_, verdicts) and well
    return well


def score(technique_id: str, verdicts: Mapping[str, str]) -> Score:
    """The score, from what kills each mutant."""
    alive = [mutant for mutant, by in verdicts.items() if not by]
    surviving = [mutant for mutant in alive if not _listed(technique_id, mutant)]
    return {
        "mutants": len(verdicts),
        "killed": len(verdicts) - len(alive),
        "equivalent": len(alive) - len(surviving),
        "surviving": surviving,
    }


def outdated() -> list[str]:
    """Techniques whose mutants or listed equivalents are not those of the file."""
    have = kept()
    found = []
    for id_, contract in TECHNIQUES.items():
        made = {mutant.id for mutant in automatic_mutants(contract)}
        of = have.get(id_)
        if of is None or of["mutants"] != len(made) or any(
            mutant not in made or _listed(id_, mutant) for mutant in of["surviving"]
        ):  # fmt: skip
            found.append(id_)
    return found


def _keep(technique_id: str, verdicts: Mapping[str, str]) -> bool:
    of = score(technique_id, verdicts)
    scores = {**kept(), technique_id: of}
    ordered = {name: scores[name] for name in TECHNIQUES if name in scores}
    FILE.write_text(json.dumps(ordered, indent=0) + "\n", encoding="utf-8")
    wrong = [f"{mutant} (by {by})" for mutant, by in verdicts.items() if by and _listed(technique_id, mutant)]
    sys.stdout.writelines(f"  survives: {mutant}\n" for mutant in of["surviving"])
    sys.stdout.writelines(f"  listed as equivalent, but killed: {mutant}\n" for mutant in wrong)
    sys.stdout.write(
        f"{technique_id}: {of['mutants']} mutants, {of['killed']} killed "
        f"({100 * of['killed'] / max(of['mutants'], 1):.1f} %), {of['equivalent']} equivalent, "
        f"{len(of['surviving'])} survive\n"
    )
    sys.stdout.flush()
    return not of["surviving"] and not wrong


def _verdicts(technique_id: str) -> dict[str, str]:
    file = VERDICTS / f"{technique_id}.json"
    found: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return found


def _listed(technique_id: str, mutant: str) -> bool:
    listed = read_equivalent()
    return (technique_id, mutant) in listed or ("", mutant) in listed


def main(arguments: Sequence[str] | None = None) -> None:
    """Judge, and say which survive; exit status 1 if one does, or if a mutant is listed that is killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("techniques", nargs="*", metavar="TECHNIQUE", type=lambda id_: technique(id_).id)
    parser.add_argument("--survivors", action="store_true", help="only what lived here before, and what is new")
    chosen = parser.parse_args(arguments)
    if not measure(chosen.techniques or outdated(), survivors=chosen.survivors):
        sys.exit(1)


if __name__ == "__main__":
    main()
