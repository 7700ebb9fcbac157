"""No false alarm on right implementations however odd, no wrong one overlooked: the two error rates of the suite.

Every run of the tests judges the right candidates with 20 seeds of the profile `quick`, each with a fifth of them.
`python -m pytest -m slow conformance/tests/test_conformance_candidates.py` judges all of them with 200 seeds, which
takes 40 minutes; docs/judge.md tells the result.
"""

import ast
import importlib.util
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest
import torch

from steelyard.conformance import check
from steelyard.conformance.doors import make_target
from steelyard.conformance.host import Host
from steelyard.conformance.recording import Recording
from steelyard.conformance.registry import TECHNIQUES

FOLDER = Path(__file__).parent / "candidates"
DTYPES = ("float32", "float64", "float16")  # NumPy lacks bfloat16
_PARTS = 5
REFUSALS = {"FL-16", "FLL-15"}  # shapes that do not fit: none of the candidates checks its arguments


@dataclass(frozen=True)
class Subject:
    """A candidate, and how it must be called."""

    file: str
    function: str
    names: dict = field(default_factory=dict)
    constants: dict = field(default_factory=dict)

    @property
    def technique(self):
        return technique_of(self.function)

    @property
    def target(self):
        text = f"{FOLDER / self.file}:{self.function}"
        return make_target(text, as_technique=self.technique, names=self.names, constants=self.constants)


def technique_of(function):
    return "sigmoid_focal_loss_with_labels" if function.startswith("labels") else "sigmoid_focal_loss"


OTHER_NAMES = {"logits": "scores", "targets": "is_object", "alpha": "weight_of_positives", "gamma": "focus"}
RIGHT = [
    *(Subject("right_torch.py", function) for function in (
        "log_space", "other_order", "one_exponent", "by_masks", "in_double", "not_contiguous", "expanded", "loop",
        "positional_only", "targets_first", "anything", "defaults_only", "module", "instance", "Callable.method",
        "partial", "own_backward", "labels_by_one_hot", "labels_by_comparison",
    )),
    Subject("right_torch.py", "other_names", names=OTHER_NAMES),
    Subject("right_torch.py", "with_reduction", constants={"reduction": "none"}),
    *(Subject("right_numpy.py", function) for function in (
        "focal", "focal_in_single", "focal_as_list", "focal_in_plain_python", "focal_in_columns",
    )),
]  # fmt: skip


def public_names(file):
    """What a file of candidates defines for use: functions, and names that they are given."""
    for node in ast.parse((FOLDER / file).read_text(encoding="utf-8")).body:
        names = [node.name] if isinstance(node, ast.FunctionDef) else []
        if isinstance(node, ast.Assign):
            names = [target.id for target in node.targets]
        yield from (name for name in names if not name.startswith("_") and not name.endswith("_grad"))


WRONG = [Subject(file, name) for file in ("wrong_torch.py", "wrong_numpy.py") for name in public_names(file)]


@pytest.fixture(autouse=True)
def _one_thread():
    """As in a candidate's own process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def recording(technique, profile, seed):
    return Recording(TECHNIQUES[technique], profile=profile, seed=seed, dtypes=DTYPES)


def failures(target, profile, seed):
    """Requirements above MAY that do not hold, with their reports; refusals of other shapes apart."""
    found = recording(target.technique, profile, seed).failures(Host(target))
    return ((r.id, report) for r, report in found if r.level != "MAY" and r.id not in REFUSALS)


def is_found(candidate, profile, seed):
    return any(failures(candidate.target, profile, seed))


def false_alarms(candidates, seeds, *, parts=1):
    alarms = {}
    for seed in seeds:
        for number, candidate in enumerate(candidates):
            if number % parts == seed % parts:
                failed = failures(candidate.target, "quick", seed)
                alarms |= {(seed, candidate.function, name): report for name, report in failed}
        recording.cache_clear()
    return alarms


@pytest.mark.parametrize("first", [0, 5, 10, 15])
def test_right_candidates_pass(first):
    """What is right passes whatever its algebra, precision, memory layout, names and kind of callable."""
    assert false_alarms(RIGHT, range(first, first + 5), parts=_PARTS) == {}


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 200, 10))
def test_right_candidates_pass_on_200_seeds(first):
    """The same for every candidate and 200 seeds."""
    assert false_alarms(RIGHT, range(first, first + 10)) == {}


@pytest.mark.parametrize("seed", range(3))
def test_textbook_formula_is_tolerated_where_it_is_meant_to_be_used(seed):
    """(1 - p) ** gamma times the cross entropy warns at most, but for the gradient below gamma 1."""
    target = Subject("right_torch.py", "textbook").target

    assert set(dict(failures(target, "quick", seed))) == {"FL-7"}


@pytest.mark.parametrize("candidate", WRONG, ids=lambda candidate: candidate.function)
def test_wrong_candidate_is_found_by_default(candidate):
    """The profile `default` finds every one of the wrong candidates."""
    assert is_found(candidate, "default", 0)


@pytest.mark.parametrize("seed", [1, 2])
def test_quick_finds_nearly_all(seed):
    """The profile `quick` finds at least 95 % of the wrong candidates."""
    missed = [candidate.function for candidate in WRONG if not is_found(candidate, "quick", seed)]

    assert len(missed) <= 0.05 * len(WRONG), missed


@pytest.mark.parametrize(
    "candidate",
    [RIGHT[-6], RIGHT[-7], Subject("right_numpy.py", "focal_as_list"), Subject("right_torch.py", "module")],
    ids=lambda candidate: candidate.function,
)
def test_the_door_says_conforms(candidate):
    """Through the front door, in a process of its own, a right candidate conforms."""
    result = check(candidate.target, profile="quick")

    (judged,) = result.techniques
    assert judged.verdict == "conforms"
    assert result.exit_status == 0


def test_numpy_without_a_gradient_function_is_skipped_not_failed():
    """A NumPy function without NAME_grad is judged on its values alone."""
    result = check(Subject("right_numpy.py", "focal_in_plain_python").target, profile="quick")

    (judged,) = result.techniques
    assert judged.verdict == "conforms"
    assert {found.id for found in judged.requirements if found.status == "skip"} == {
        "FL-2", "FL-6", "FL-7", "FL-9", "FL-19", "FL-20", "FL-21",
    }  # fmt: skip


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
@pytest.mark.parametrize(("function", "verdict"), [("focal", "conforms"), ("swapped", "deviates")])
def test_jax(function, verdict):
    """JAX arrays, with gradients by jax.vjp."""
    result = check(Subject("right_jax.py", function).target, profile="quick", requirements=["FL-2"])

    (judged,) = result.techniques
    assert judged.verdict == verdict
    assert {found.status for found in judged.requirements} == ({"pass"} if verdict == "conforms" else {"fail"})
