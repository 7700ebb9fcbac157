"""docs/mutants.json holds the mutants that there are."""

import importlib.util
from pathlib import Path

from steelyard.conformance.registry import TECHNIQUES

DOCS = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("steelyard_docs_measure_mutants", DOCS / "measure_mutants.py")
measure_mutants = importlib.util.module_from_spec(spec)
spec.loader.exec_module(measure_mutants)


def test_the_file_is_that_of_the_catalogue():
    """Every technique, every mutant, and only requirements that exist; else `python docs/measure_mutants.py`."""
    kept = measure_mutants.kept()

    assert {id_: {m.id for m in t.mutants} for id_, t in TECHNIQUES.items()} == {i: set(of) for i, of in kept.items()}
    for id_, of in kept.items():
        ids = {requirement.id for requirement in TECHNIQUES[id_].requirements}
        assert {requirement for by in of.values() for requirement in by} <= ids, id_


def test_what_was_not_caught_is_judged_again(monkeypatch):
    """A mutant that is missing, and one that nothing caught, make their technique stale."""
    kept = measure_mutants.kept()
    first, second = list(TECHNIQUES)[:2]
    gone, missed = next(iter(kept[first])), next(iter(kept[second]))
    kept[first].pop(gone)
    kept[second][missed] = []
    monkeypatch.setattr(measure_mutants, "kept", lambda: kept)

    assert set(measure_mutants.stale()) >= {first, second}
