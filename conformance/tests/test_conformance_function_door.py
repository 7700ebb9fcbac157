"""The function door: `check` returns a verdict as plain data, and refuses wrong arguments with one clear line."""

import json

import pytest

from steelyard.conformance import Result, check
from steelyard.conformance.candidates import LoadError
from steelyard.conformance.doors import UsageError, make_target
from steelyard.conformance.known_failures import KnownFailure, KnownFailuresError
from steelyard.conformance.registry import TECHNIQUES, UnknownTechniqueError
from steelyard.conformance.results import result_from_json
from steelyard.conformance.running import Listener

REQUIREMENTS = [requirement.id for requirement in TECHNIQUES["prior_probability_bias"].requirements]


@pytest.fixture
def right(tmp_path):
    path = tmp_path / "right.py"
    path.write_text(
        "import math\ndef prior_probability_bias(prior):\n    return math.log(prior) - math.log1p(-prior)\n"
    )
    return str(path)


@pytest.fixture
def wrong(tmp_path):
    path = tmp_path / "wrong.py"
    path.write_text("import math\ndef prior_probability_bias(prior):\n    return math.log(prior)\n")
    return str(path)


def statuses(result):
    return {found.id: found.status.value for technique in result.techniques for found in technique.requirements}


def test_a_right_file_conforms(right):
    """The result says so, with every requirement's status and number of checks."""
    result = check(right, profile="quick")

    assert isinstance(result, Result)
    assert result.conforms
    assert result.complete
    assert result.exit_status == 0
    assert [technique.verdict for technique in result.techniques] == ["conforms"]
    assert statuses(result) == dict.fromkeys(REQUIREMENTS, "pass")
    assert all(found.checks > 0 for found in result.techniques[0].requirements)


def test_a_wrong_file_deviates_and_leaves_its_cases(wrong, tmp_path):
    """Failing inputs are written where the caller says, the mistake is named."""
    result = check(wrong, profile="quick", cases=tmp_path / "cases")
    found = {requirement.id: requirement for requirement in result.techniques[0].requirements}

    assert not result.conforms
    assert result.techniques[0].verdict == "deviates"
    assert found["BIAS-1"].diagnosis == "prior-bias/only-the-logarithm"
    assert found["BIAS-1"].case in {str(path) for path in (tmp_path / "cases").iterdir()}


def test_without_a_directory_no_file_is_written(wrong, tmp_path, monkeypatch):
    """`cases=None` leaves the disk alone."""
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))

    check(wrong, profile="quick", requirements=["BIAS-1"])

    assert {path for path in tmp_path.rglob("*") if "__pycache__" not in path.parts} == before


def test_same_seed_same_result(wrong):
    """All but the time it took."""

    def judged(seed):
        return {**check(wrong, profile="quick", seed=seed).to_json(), "duration_s": 0}

    assert judged(3) == judged(3)


def test_a_result_survives_json(wrong):
    """`to_json` is JSON, and nothing is lost on the way back."""
    result = check(wrong, profile="quick")

    document = json.loads(json.dumps(result.to_json(), allow_nan=False))

    assert result_from_json(document).to_json() == result.to_json()
    assert document["target"]["name"] == wrong
    assert sum(document["counts"].values()) == len(REQUIREMENTS)


def test_a_part_of_the_requirements(right):
    """Only these are judged, and the floor of the whole contract is not asked for."""
    result = check(right, profile="quick", requirements=["BIAS-2", "BIAS-5"])

    assert statuses(result) == {"BIAS-2": "pass", "BIAS-5": "pass"}
    assert result.conforms


@pytest.mark.parametrize(
    ("mask", "status"), [("mask", "skip"), ("mask=None", "pass"), ("mask=(True,)", "pass"), ("mask=(False,)", "fail")]
)
def test_arguments_are_left_out_where_the_function_lets_them(tmp_path, mask, status):
    """A function that wants its mask is not asked without; one that takes its absence for something else is wrong."""
    path = tmp_path / "tags.py"
    path.write_text(
        "import numpy as np\n"
        f"def pull(one, other, *, {mask}):\n"
        "    keep = np.broadcast_to(True if mask is None else mask, one.shape)\n"
        "    apart = (one.astype(np.float64) - other)[keep]\n"
        "    return (apart**2).sum() / 2 / max(len(apart), 1)\n"
    )
    target = make_target(
        f"{path}:pull", as_technique="pull_loss",
        names={"top_left_tags": "one", "bottom_right_tags": "other", "object_mask": "mask"},
    )  # fmt: skip

    result = check(target, profile="quick", requirements=["PULL-1", "PULL-15"])

    assert statuses(result) == {"PULL-1": "pass", "PULL-15": status}


@pytest.mark.parametrize(("masks", "status"), [("", "skip"), (", gt_mask=None, candidate_mask=None", "fail")])
def test_optional_arguments_are_sent_to_functions_that_take_them(tmp_path, masks, status):
    """One that lacks them is judged by all other requirements; one that forgets them is wrong."""
    path = tmp_path / "matching.py"
    path.write_text(
        "from steelyard.reference.detection.assignment import max_iou_matching as right\n"
        "def max_iou_matching(iou, *, foreground_iou, background_iou, low_quality, minimum_low_quality_iou"
        f"{masks}):\n"
        "    return right(iou, foreground_iou=foreground_iou, background_iou=background_iou,\n"
        "                 low_quality=low_quality, minimum_low_quality_iou=minimum_low_quality_iou)\n"
    )

    result = check(str(path), profile="quick", requirements=["MATCH-2", "MATCH-17"])

    assert statuses(result) == {"MATCH-2": "pass", "MATCH-17": status}


def test_an_asked_for_technique_that_is_missing_is_not_implemented(right):
    """It is no failure beside one that is there, and nothing to be green about alone."""
    both = check(right, techniques=["prior_probability_bias", "sigmoid_focal_loss"], profile="quick")
    alone = check(right, techniques=["sigmoid_focal_loss"], profile="quick")

    assert [technique.verdict for technique in both.techniques] == ["conforms", "not-implemented"]
    assert both.conforms
    assert not alone.conforms


def test_known_failures_may_be_objects_or_a_file(wrong, tmp_path):
    """Both turn the listed failure into `known`."""
    failure = KnownFailure("prior_probability_bias", "BIAS-1", "scaled elsewhere")
    file = tmp_path / "known.toml"
    file.write_text(
        '[[known]]\ntechnique = "prior_probability_bias"\nrequirement = "BIAS-1"\nreason = "scaled elsewhere"\n'
    )

    for known in ([failure], file, str(file)):
        result = check(wrong, profile="quick", requirements=["BIAS-1"], known=known)
        assert statuses(result) == {"BIAS-1": "known"}
        assert result.techniques[0].requirements[0].reason == "scaled elsewhere"
        assert result.exit_status == 0


def test_the_listener_hears_each_result_as_it_is_found(right):
    """Technique, then its requirements in order, then the verdict; progress holds all that was found so far."""
    heard, sizes = [], []
    listener = Listener(
        on_technique=lambda contract, number: heard.append((contract.id, number)),
        on_requirement=lambda _, found: heard.append(found.id),
        on_verdict=lambda verdict: heard.append(verdict.verdict.value),
        on_progress=lambda result: sizes.append(len(statuses(result))),
    )

    check(right, profile="quick", listener=listener)

    assert heard == [("prior_probability_bias", len(REQUIREMENTS)), *REQUIREMENTS, "conforms"]
    assert sizes == sorted(sizes)
    assert sizes[-1] == len(REQUIREMENTS)


def test_in_this_process_for_a_debugger(right):
    """`isolated=False` gives the same verdict."""
    alone, isolated = (check(right, profile="quick", isolated=flag) for flag in (False, True))

    assert statuses(alone) == statuses(isolated)


def test_a_target_with_other_names(tmp_path):
    """`make_target` is what `--as`, `--map` and `--set` are on the command line."""
    path = tmp_path / "other.py"
    path.write_text(
        "import math\ndef bias(start, *, base):\n    return (math.log(start) - math.log1p(-start)) / math.log(base)\n"
    )

    target = make_target(
        f"{path}:bias",
        as_technique="prior_probability_bias",
        names={"prior": "start"},
        constants={"base": 2.718281828459045},
    )

    assert check(target, profile="quick").conforms


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"profile": "quik"}, UsageError, r"profile: expected one of quick, default, thorough, got 'quik'; did you"),
        ({"dtypes": ["float8"]}, UsageError, r"dtype: expected one of .*float32.*, got 'float8'"),
        ({"requirements": ["BIAS-11"]}, UsageError, r"requirement: .*got 'BIAS-11'; did you mean BIAS-1\?"),
        ({"techniques": ["focal_loss"]}, UnknownTechniqueError, r"technique: .*'focal_loss'; did you mean \w+"),
        ({"known": "none.toml"}, KnownFailuresError, r"none\.toml: No such file"),
    ],
    ids=["profile", "dtype", "requirement", "technique", "known"],
)
def test_wrong_arguments_are_refused_before_anything_runs(right, arguments, error, message):
    """With the argument's name, what was expected, what came, and the nearest right one."""
    with pytest.raises(error, match=message):
        check(right, **arguments)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "no such file"),
        ("def prior_probability_bias(prior)\n    return 0\n", "syntax error in mine.py line 1"),
        ("import no_such_module_of_mine\n", "needs the module no_such_module_of_mine"),
        ("raise RuntimeError('out of order')\n", "raised RuntimeError while loading: out of order"),
        ("def prior_bias(prior):\n    return 0\n", "none of the specification's functions"),
        ("raise SystemExit(3)\n", "exits the interpreter while loading"),
        ("import os\nos._exit(5)\n", "while loading, the candidate exited with status 5"),
    ],
    ids=["missing", "syntax", "import", "raises", "no function", "exits", "dies"],
)
def test_a_target_that_cannot_be_loaded(tmp_path, source, message):
    """One line that says why."""
    path = tmp_path / "mine.py"
    if source is not None:
        path.write_text(source)

    with pytest.raises(LoadError, match=message) as caught:
        check(str(path))

    assert "\n" not in str(caught.value)
