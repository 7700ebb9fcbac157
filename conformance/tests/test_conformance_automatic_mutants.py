"""Mutants made by machine: they are made, the judge's own functions stay as they are, and they are killed."""

import ast
import itertools
import json
import re
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from steelyard.conformance import automatic_mutants
from steelyard.conformance.automatic_mutants import (
    automatic_matrix,
    judge_automatic,
    read_equivalent,
    unknown_entries,
    wrong_entries,
)
from steelyard.conformance.automatic_mutants import automatic_mutants as made
from steelyard.conformance.command_line import app
from steelyard.conformance.mutation_operators import changes
from steelyard.conformance.registry import TECHNIQUES

FOCAL = [
    "sigmoid_focal_loss", "sigmoid_focal_loss_with_labels", "softmax_focal_loss", "focal_loss_star",
    "normalise_focal_loss", "moving_average_foreground", "prior_probability_bias", "softmax_prior_probability_bias",
]  # fmt: skip


def texts(source, *, signature=True):
    (function,) = ast.parse(textwrap.dedent(source)).body
    return [change.text for change in changes(function, signature=signature, skip=lambda _: False)]


@pytest.mark.parametrize(
    ("statement", "mutated"),
    [
        ("return x[a <= b]", "return x[a < b]"),
        ("return x[a <= b]", "return x[a > b]"),
        ("return a + b - c", "return a + b"),
        ("return a + b - c", "return a + b + c"),
        ("return a * b / c", "return a * b * c"),
        ("return a * b / c", "return a / c"),
        ("return x[a:b + 1]", "return x[a:b + 2]"),
        ("return x[a:b + 1]", "return x[:b + 1]"),
        ("return np.where(a, b, c)", "return np.where(a, c, b)"),
        ("return np.minimum(a, b) + c", "return np.maximum(a, b) + c"),
        ("return np.abs(a) + b * c", "return a + b * c"),
        ("return f(a, b) + c * a", "return f(b, a) + c * a"),
        ("return -a * b * c", "return a * b * c"),
        ("return np.sum(a, axis=1)", "return np.sum(a)"),
        ("return a if b is None else c", "return a if b is not None else c"),
        ("return a if b is None else c", "return c"),
        ("return (a and b) or c", "return (a or b) or c"),
    ],
)
def test_slip_of_the_pen_is_made(statement, mutated):
    """Each kind of slip is among the changes of a statement that invites it."""
    (function,) = ast.parse(f"def g(a, b, c, x):\n    {statement}").body

    found = [ast.unparse(change.tree.body[0]) for change in changes(function, signature=True, skip=lambda _: False)]

    assert mutated in found


def test_words_are_left_alone():
    """Docstrings, annotations, error messages and floating-point states are not changed."""
    source = '''
        def g(a: int = 1) -> int:
            """Two plus two."""
            if a < 0:
                raise ValueError("a: expected >= 0" + str(1))
            with np.errstate(over="ignore", all=1):
                return a
    '''

    found = texts(source)

    assert found
    assert not [text for text in found if "Value" in text or "errstate" in text or "Two" in text]


@pytest.mark.parametrize(
    ("statement", "unmade", "made"),
    [
        ("return a.reshape(-1, 4)", "return a.reshape(-2, 4)", "return a.reshape(1, 4)"),
        ("return [*zip(a, b, strict=True)]", "return [*zip(a, b)]", "return [*zip(b, a, strict=True)]"),
        ("return np.zeros(a, dtype=np.bool_)", "return np.zeros(a)", "return np.ones(a, dtype=np.bool_)"),
        ("return np.argsort(a, axis=-1)", "return np.argsort(a)", "return np.argsort(a, axis=-2)"),
        ("return np.array(a, dtype=np.int64)", "return np.array(a, dtype=np.int64)", "return np.array(a)"),
    ],
)
def test_what_means_the_same_is_no_change(statement, unmade, made):
    """A change of nothing but the way to write something is not made; others of the same call are."""
    (function,) = ast.parse(f"def g(a, b):\n    {statement}").body

    found = [ast.unparse(change.tree.body[0]) for change in changes(function, signature=True, skip=lambda _: False)]

    assert unmade not in found
    assert made in found


def test_changes_are_distinct_and_compile():
    """No change is made twice, none is the function itself, and every one is valid Python."""
    contract = TECHNIQUES["softmax_focal_loss"]

    mutants = made(contract)

    assert len({mutant.id for mutant in mutants}) == len(mutants)
    assert len({(mutant.module, ast.dump(mutant.change.tree)) for mutant in mutants}) == len(mutants)
    for mutant in mutants:
        compile(ast.Module([mutant.change.tree], []), "mutant", "exec")


def test_helpers_are_changed_and_other_techniques_are_not():
    """Private helpers and shared formulas belong to the technique; checks and other contracts' functions do not."""
    functions = {mutant.id.partition(":")[0] for mutant in made(TECHNIQUES["sigmoid_focal_loss_with_labels"])}

    assert "focal_loss.sigmoid_focal_loss_with_labels_grad" in functions
    assert "focal_loss.sigmoid_focal_loss" not in functions
    assert not [name for name in functions if name.startswith("checks.")]
    assert "logistic.softplus" in {mutant.id.partition(":")[0] for mutant in made(TECHNIQUES["sigmoid_focal_loss"])}


def test_what_only_refuses_is_left_alone():
    """Checks of a technique's own, and defaults that every call overrides, are not changed."""
    found = [mutant.id for mutant in made(TECHNIQUES["features_without_windows"])]

    assert not [id_ for id_ in found if id_.startswith("hardest_window._feature_array") or "_feature_array(" in id_]
    assert not [id_ for id_ in found if id_.startswith("hardest_window.dropout_window_masks: 2")]
    assert [id_ for id_ in found if id_.startswith("hardest_window.dropout_window_masks")]


def test_only_the_candidate_is_changed():
    """While a mutant is judged, the oracle is itself; afterwards the candidate is the oracle again."""
    contract = TECHNIQUES["sigmoid_focal_loss"]
    world = automatic_mutants._World(contract)
    case = contract.requirements[0].scenes[0](0)
    mutant = next(m for m in made(contract) if m.id.startswith("logistic.softplus") and "np.log(" in m.id)
    right = contract.evaluate(case)[0]

    with world.changed(mutant):
        changed = world.candidate("mutant").evaluate(contract.id, case).outputs[0]
        meanwhile = contract.evaluate(case)[0]
    after = world.candidate("mutant").evaluate(contract.id, case).outputs[0]

    assert not np.array_equal(changed, right)
    np.testing.assert_array_equal(meanwhile, right)
    np.testing.assert_array_equal(after, right)


def test_endless_mutant_is_killed_by_the_clock():
    """A mutant that does not end is caught after a while, and counts as killed."""
    with pytest.raises(automatic_mutants._TimeUpError), automatic_mutants._at_most(0.05):
        all(number >= 0 for number in itertools.count())


def test_weak_contract_lets_mutants_survive(monkeypatch):
    """Without the requirements that compare values, mutants survive: the score measures the contract."""
    contract = TECHNIQUES["prior_probability_bias"]
    weak = replace(contract, requirements=tuple(r for r in contract.requirements if r.kind == "error on bad input"))
    monkeypatch.setitem(TECHNIQUES, contract.id, weak)

    rows = judge_automatic(contract.id)

    assert any(not row.killed for row in rows)


def test_sampled_mutants_of_the_focal_loss_are_killed():
    """No mutant of a sample survives without being listed, and at least 95 % are killed."""
    rows = list(automatic_matrix([TECHNIQUES["sigmoid_focal_loss"]], sample=50))

    assert len(rows) == 50
    assert [row.mutant for row in rows if not row.killed and not row.equivalent] == []
    assert sum(row.killed for row in rows) >= 0.95 * len(rows)
    assert wrong_entries(rows) == []


@pytest.mark.slow
def test_all_mutants_of_the_focal_family_are_killed():
    """The same for every mutant of the whole family."""
    rows = list(automatic_matrix([TECHNIQUES[technique_id] for technique_id in FOCAL], processes=2))

    assert [row.mutant for row in rows if not row.killed and not row.equivalent] == []
    assert sum(row.killed for row in rows) >= 0.95 * len(rows)
    assert wrong_entries(rows) == []


def test_list_of_equivalent_mutants_is_up_to_date():
    """Every entry names a mutant that is made, and gives its reason."""
    assert unknown_entries(list(TECHNIQUES.values())) == []
    assert all(len(reason) > 10 for reason in read_equivalent().values())


def test_command_reports_the_score():
    """`steelyard mutants --automatic` prints a score, writes JSON and ends with 0 where nothing survives."""
    result = CliRunner().invoke(
        app, ["mutants", "--automatic", "-t", "prior_probability_bias", "--json", "-", "--processes", "1"]
    )

    rows = json.loads(result.stdout)
    assert result.exit_code == 0
    assert all(row["killed"] for row in rows)
    assert re.search(rf"{len(rows)} of {len(rows)} automatic mutants killed \(100.0 %\)", result.stderr)


@pytest.mark.skipif(sys.platform == "win32", reason="no timers")
def test_time_limit_leaves_no_timer_behind():
    """After a mutant was judged, nothing interrupts what comes next."""
    import signal

    with automatic_mutants._at_most(60.0):
        pass

    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
