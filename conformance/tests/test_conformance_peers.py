"""Real libraries: what is wrong in them is found and explained, what is right is left alone."""

import importlib.util
import os
from pathlib import Path

import pytest

from steelyard.conformance import check
from steelyard.conformance.candidates import LoadError
from steelyard.conformance.cases import read_case
from steelyard.conformance.doors import candidate
from steelyard.conformance.running import check_case

pytestmark = pytest.mark.peers


@pytest.fixture(autouse=True)
def _shims(monkeypatch):
    """Their heavy parts are replaced in the candidate's process; see the shims' own words."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "shims"))


def judge(library, tmp_path, profile="quick", technique="sigmoid_focal_loss"):
    if importlib.util.find_spec(library) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{library} is missing: pip install --no-deps -r conformance/tests/requirements-peers.txt")
        pytest.skip(f"{library} is not installed")
    result = check(library, techniques=[technique], profile=profile, cases=tmp_path)
    (judged,) = result.techniques
    return judged, {found.id: found for found in judged.requirements}


def failing(judged, *levels):
    """Requirements that do not hold: all of them must be known, for an adapter's list is strict."""
    assert not {found.id for found in judged.requirements if found.is_red}
    return {
        found.id
        for found in judged.requirements
        if found.status in ("fail", "error", "known") and found.level in levels
    }


@pytest.mark.parametrize("library", ["torchvision", "fvcore"])
def test_nan_gradient_below_gamma_one_is_found(library, tmp_path):
    """Differentiating (1 - p_t) ** gamma gives NaN once 1 - p_t rounds to 0; nothing else that binds is wrong."""
    judged, found = judge(library, tmp_path)

    assert judged.verdict == "deviates"
    assert failing(judged, "MUST", "SHOULD") == {"FL-7"}
    assert found["FL-7"].diagnosis == "focal/power-rule"
    assert "got nan" in found["FL-7"].message
    failure = read_case(Path(found["FL-7"].case))
    assert failure.case.arguments["logits"].size == 1
    assert abs(failure.case.arguments["logits"].item()) <= 20
    assert failure.case.options == {"alpha": 0.25, "gamma": 0.5}


def test_the_case_replays_and_ours_holds(tmp_path):
    """The written case fails again in a fresh process of the same library, and holds for our implementation."""
    _, found = judge("torchvision", tmp_path)
    failure = read_case(Path(found["FL-7"].case))
    ours = failure.target.__class__("steelyard.impl")

    with candidate(failure.target) as theirs:
        assert "got nan" in check_case(theirs, failure)
    with candidate(ours) as own:
        assert check_case(own, failure) == ""


def test_kornia_is_right(tmp_path):
    """No false alarm: every MUST and SHOULD holds in kornia's sigmoid focal loss."""
    judged, _ = judge("kornia", tmp_path, profile="default")

    assert judged.verdict == "conforms"
    assert failing(judged, "MUST", "SHOULD") == set()


def test_balanced_loss_overflows_at_minus_89(tmp_path):
    """Its factor exp(-gamma y x - gamma log(1 + exp(-x))) is 0 for positives below exp's range: the value is lost."""
    judged, found = judge("balanced_loss", tmp_path, profile="default")

    assert judged.verdict == "deviates"
    assert failing(judged, "MUST", "SHOULD") == {"FL-5", "FL-6", "FL-7", "FL-9"}
    assert found["FL-5"].diagnosis == "focal/overflowing-exponent"
    failure = read_case(Path(found["FL-5"].case))
    worst = failure.case.arguments["logits"][failure.case.arguments["targets"] == 1]
    assert worst.min() == -89.0
    assert "got 0, expected 22.25" in found["FL-5"].message
    assert found["FL-6"].diagnosis == "focal/overflowing-exponent"


def test_a_library_that_is_not_installed_says_so():
    """The bundled adapter of a missing library gives one line, not a traceback."""
    with pytest.raises(LoadError, match="no module, file or bundled adapter"):
        check("no_such_library_at_all")
