"""The published score of the automatic mutants is that of the mutants that are made today."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from steelyard.conformance.automatic_mutants import automatic_mutants, read_equivalent
from steelyard.conformance.registry import TECHNIQUES

DOCS = Path(__file__).parents[1]
SCORES = json.loads((DOCS / "automatic-mutants.json").read_text(encoding="utf-8"))


def listed(technique_id):
    """Mutants of a technique that are listed as the same function."""
    return {mutant for technique, mutant in read_equivalent() if technique in ("", technique_id)}


def wrong(technique_id, score):
    """What a score says that the mutants of today contradict."""
    made = {mutant.id for mutant in automatic_mutants(TECHNIQUES[technique_id])}
    surviving = set(score["surviving"])
    claims = {
        f"{score['mutants']} mutants, {len(made)} are made": score["mutants"] == len(made),
        "the parts are not the whole": score["killed"] + score["equivalent"] + len(surviving) == score["mutants"],
        f"a survivor that is not made: {sorted(surviving - made)}": surviving <= made,
        f"a survivor that is listed: {sorted(surviving & listed(technique_id))}": not surviving & listed(technique_id),
        f"{score['equivalent']} are the same": score["equivalent"] == len(made & listed(technique_id)),
    }
    return [claim for claim, holds in claims.items() if not holds]


@pytest.mark.parametrize("technique_id", SCORES)
def test_the_score_is_that_of_the_mutants(technique_id):
    """Of as many mutants as are made; what lives is made, and in the list or among the survivors, not in both."""
    assert wrong(technique_id, SCORES[technique_id]) == []


def test_a_score_of_other_mutants_is_found():
    """One more or less of anything does not pass."""
    right = SCORES["pull_loss"]
    same = [mutant.id for mutant in automatic_mutants(TECHNIQUES["pull_loss"]) if mutant.id in listed("pull_loss")]

    assert wrong("pull_loss", {**right, "mutants": right["mutants"] + 1})
    assert wrong("pull_loss", {**right, "killed": right["killed"] - 1})
    assert wrong("pull_loss", {**right, "killed": right["killed"] - 1, "surviving": ["a change that nobody makes"]})
    assert wrong("pull_loss", {**right, "equivalent": 0, "surviving": same})


def test_nothing_survives_and_enough_is_killed():
    """In every technique; survivors are listed with their reasons, and at least 95 % are killed before that."""
    assert set(SCORES) == set(TECHNIQUES)
    assert {id_: of["surviving"] for id_, of in SCORES.items() if of["surviving"]} == {}
    assert sum(of["killed"] for of in SCORES.values()) >= 0.95 * sum(of["mutants"] for of in SCORES.values())


def test_the_site_has_the_table():
    """By family and by technique; its mark stands in the page."""
    pytest.importorskip("sphinx", reason="needs the extra: docs")
    sys.path[:0] = [str(DOCS), str(DOCS / "generator")]
    mutant_scores = importlib.import_module("generator.mutant_scores")
    sys.path.remove(str(DOCS))
    sys.path.remove(str(DOCS / "generator"))

    said = mutant_scores.tables(SCORES)

    assert mutant_scores.MARK in (DOCS / "judge.md").read_text(encoding="utf-8")
    pull = SCORES["pull_loss"]
    assert f"(techniques/pull_loss.md) | {pull['mutants']} | {pull['killed']} | " in said
    assert f"| **all** | {sum(of['mutants'] for of in SCORES.values()):,} |" in said
