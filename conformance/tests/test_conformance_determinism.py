"""Same seed, same inputs, same verdict: in CI or not, from any folder, alone or under pytest-xdist."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import settings

from steelyard.conformance import check
from steelyard.conformance.generation import ALL_DTYPES
from steelyard.conformance.profiles import PROFILES
from steelyard.conformance.registry import TECHNIQUES
from steelyard.conformance.searching import feed

CANDIDATE = """
import numpy as np


def log_sigmoid(x):
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


def sigmoid_focal_loss(logits, targets, *, alpha, gamma):
    signed = np.where(targets == 1, logits, -logits)
    weight = 1 if alpha is None else alpha
    return -weight * np.exp(gamma * log_sigmoid(-signed)) * log_sigmoid(signed)  # one alpha for both classes
"""
TECHNIQUE = "sigmoid_focal_loss"
REQUIREMENTS = ["FL-1", "FL-5", "FL-14"]
JUDGE = f"""
import json
from pathlib import Path

import pytest

from steelyard.conformance import check


@pytest.mark.parametrize("number", range(2))
def test_judged(number):
    result = check({{candidate!r}}, requirements={REQUIREMENTS!r}, profile="quick", seed=5, isolated=bool(number))
    Path(f"found-{{{{number}}}}.json").write_text(json.dumps(result.to_json()))
"""


def same_part(document):
    """All but what is measured and where it ran."""
    return {name: value for name, value in document.items() if name not in ("duration_s", "environment")}


def environment(**changed):
    """As from a plain shell, with some variables changed."""
    taken = ("CI", "GITHUB_ACTIONS", "PYTHONHASHSEED", "PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "PYTEST_XDIST_WORKER")
    return {name: value for name, value in os.environ.items() if name not in taken} | changed


@pytest.fixture(scope="module")
def candidate(tmp_path_factory):
    path = tmp_path_factory.mktemp("candidate") / "mine.py"
    path.write_text(CANDIDATE)
    return str(path)


@pytest.fixture(scope="module")
def judged(candidate):
    """The result of the plain run, in this process."""
    return json.loads(json.dumps(check(candidate, requirements=REQUIREMENTS, profile="quick", seed=5).to_json()))


# --- settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
def test_a_profile_leaves_no_setting_to_hypothesis(profile):
    """Every field that the installed Hypothesis has is handed to it: under CI it changes defaults by itself."""
    given = {}

    def spy(**fields):
        given.update(fields)
        return settings(**fields)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("steelyard.conformance.profiles.settings", spy)
        made = profile.settings()

    offered = {name for name in dir(settings) if isinstance(getattr(settings, name), property)}
    assert set(given) == offered >= {"database", "backend", "print_blob", "derandomize", "deadline"}
    assert {name: getattr(made, name) for name in offered} == given


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
def test_no_profile_of_hypothesis_shines_through(profile):
    """A project that loads a profile of its own changes nothing."""
    plain = profile.settings()
    before = settings.get_current_profile_name()
    settings.register_profile("another", max_examples=3, derandomize=True, stateful_step_count=3, print_blob=True)
    try:
        settings.load_profile("another")
        assert repr(profile.settings()) == repr(plain)
    finally:
        settings.load_profile(before)


# --- inputs -------------------------------------------------------------------------------------------------------


def inputs(seed):
    """What one requirement is fed."""
    drawn = []
    requirement = TECHNIQUES[TECHNIQUE].requirement("FL-1")
    feed(
        lambda case: drawn.append(repr((case.arguments, case.options, case.dtype, case.cotangent))),
        requirement, technique=TECHNIQUE, profile=PROFILES["quick"], seed_of_run=seed, dtypes=ALL_DTYPES,
    )  # fmt: skip
    return drawn


def test_a_seed_draws_its_inputs_again():
    """To the last bit, in the same order."""
    assert inputs(3) == inputs(3)


def test_another_seed_draws_other_inputs():
    """But for the simplest one, with which Hypothesis begins."""
    one, other = set(inputs(3)), set(inputs(4))

    assert len(one & other) <= 2
    assert len(one) > 10


# --- verdicts -----------------------------------------------------------------------------------------------------


def test_the_run_has_something_to_differ_in(judged):
    """A failure, made small and explained, among requirements that hold."""
    statuses = {found["id"]: found["status"] for found in judged["techniques"][0]["requirements"]}

    assert {"pass", "fail"} <= set(statuses.values())
    assert judged["techniques"][0]["requirements"][0]["diagnosis"] is not None


@pytest.mark.parametrize(
    ("changed", "folder"),
    [({"CI": "true", "GITHUB_ACTIONS": "true", "PYTHONHASHSEED": "1"}, "ci"), ({"PYTHONHASHSEED": "2"}, "alone")],
    ids=["in CI", "outside"],
)
def test_the_command_gives_the_same_result_anywhere(judged, candidate, tmp_path, changed, folder):
    """Environment, working directory, order of hashes."""
    place = tmp_path / folder
    place.mkdir()
    asked = [part for id_ in REQUIREMENTS for part in ("-r", id_)]
    command = [sys.executable, "-m", "steelyard.conformance", "check", candidate, *asked]

    done = subprocess.run(
        [*command, "--profile", "quick", "--seed", "5", "--json", "found.json"],
        cwd=place, env=environment(**changed), capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 1, done.stdout + done.stderr
    found = json.loads((place / "found.json").read_text())
    assert same_part(without_cases(found)) == same_part(judged)
    assert all(Path(place / path).is_file() for path in cases_of(found))


def cases_of(document):
    return [found["case"] for judged in document["techniques"] for found in judged["requirements"] if found["case"]]


def without_cases(document):
    """The command writes case files where the function was not asked to."""
    for judged in document["techniques"]:
        for found in judged["requirements"]:
            found["case"] = None
    return document


def test_xdist_gives_the_same_result(judged, candidate, tmp_path):
    """The function inside pytest, in two processes at once, in the suite's own process and in one of its own."""
    (tmp_path / "test_mine.py").write_text(JUDGE.format(candidate=candidate))
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "test_mine.py"]

    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    for number in range(2):
        found = json.loads((tmp_path / f"found-{number}.json").read_text())
        assert same_part(found) == same_part(judged)


def test_a_requirement_is_judged_on_inputs_of_its_own(judged, candidate):
    """Alone as after one that fails."""
    (alone,) = check(candidate, requirements=["FL-5"], profile="quick", seed=5, isolated=False).techniques

    assert json.loads(json.dumps(asdict(alone)))["requirements"] == judged["techniques"][0]["requirements"][1:2]
