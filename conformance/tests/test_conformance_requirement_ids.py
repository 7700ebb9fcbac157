"""An id never changes its meaning: the ledger of all that were ever given, docs/versioning.md.

Run as a program it enters the new ones: `python conformance/tests/test_conformance_requirement_ids.py`.
"""

import json
from pathlib import Path

from steelyard.conformance.contract import Kind
from steelyard.conformance.registry import TECHNIQUES

FILE = Path(__file__).with_name("requirement-ids.json")
KINDS = {kind.value for kind in Kind}


def ledger():
    """Technique -> id -> kind, or why it was retired."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def living():
    return {id_: {r.id: r.kind.value for r in contract.requirements} for id_, contract in TECHNIQUES.items()}


def broken_promises(entered, found):
    """What a list of known failures, or a set of vectors, could no longer rely on."""
    problems = []
    for technique, ids in entered.items():
        now = found.get(technique, {})
        for id_, kind in ids.items():
            if kind in KINDS and id_ not in now:
                problems.append(f"{technique} {id_}: is gone; put the reason in place of its kind")
            elif kind in KINDS and now[id_] != kind:
                problems.append(f"{technique} {id_}: was {kind}, is {now[id_]}; retire it and give a new id")
            elif kind not in KINDS and id_ in now:
                problems.append(f"{technique} {id_}: was retired ({kind}) and is given again")
    return problems


def test_no_id_has_changed_its_meaning():
    """None is gone, none has another kind, none that was retired is back."""
    assert broken_promises(ledger(), living()) == []


def test_the_ledger_is_not_forgotten():
    """Nearly all ids are in it; those of a change under review may be missing until they are entered."""
    entered = sum(len(set(ids) & set(ledger().get(technique, {}))) for technique, ids in living().items())

    assert entered >= 0.95 * sum(map(len, living().values()))


def test_broken_promises_are_seen():
    """The comparison can fail, in each of its three ways."""
    entered = {"a": {"A-1": "value", "A-2": "gradient", "A-3": "was wrong about ties"}}

    assert broken_promises(entered, {"a": {"A-1": "value", "A-2": "gradient", "A-4": "value"}}) == []
    assert broken_promises(entered, {"a": {"A-1": "value"}}) == ["a A-2: is gone; put the reason in place of its kind"]
    assert broken_promises(entered, {"a": {"A-1": "bound", "A-2": "gradient"}}) == [
        "a A-1: was value, is bound; retire it and give a new id"
    ]
    assert broken_promises(entered, {"a": {"A-1": "value", "A-2": "gradient", "A-3": "value"}}) == [
        "a A-3: was retired (was wrong about ties) and is given again"
    ]


def enter():
    """Add what is new; nothing that is there is changed."""
    entered = ledger() if FILE.exists() else {}
    for technique, ids in living().items():
        entered[technique] = {**ids, **entered.get(technique, {})}
    FILE.write_text(json.dumps(entered, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    enter()
