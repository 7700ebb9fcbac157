"""Real libraries: what is wrong in them is found and explained, what is right is left alone."""

import pytest

from steelyard.conformance import check
from steelyard.conformance.candidates import LoadError
from steelyard.conformance.doors import candidate
from steelyard.conformance.loading import Target
from steelyard.conformance.running import check_case

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("library", ["torchvision", "fvcore"])
def test_nan_gradient_below_gamma_one_is_found(libraries, library):
    """Differentiating (1 - p_t) ** gamma gives NaN once 1 - p_t rounds to 0; nothing else that binds is wrong."""
    judged = libraries.judge(library, "sigmoid_focal_loss", {"FL-7"})

    assert judged.result.verdict == "deviates"
    assert judged.wrong == {"FL-7"}
    assert judged["FL-7"].diagnosis == "focal/power-rule"
    assert "got nan" in judged["FL-7"].message
    case = judged.counterexample("FL-7").case
    assert case.arguments["logits"].size == 1
    assert abs(case.arguments["logits"].item()) <= 20
    assert case.options == {"alpha": 0.25, "gamma": 0.5}


def test_the_case_replays_and_ours_holds(libraries):
    """The written case fails again in a fresh process of the same library, and holds for our implementation."""
    failure = libraries.judge("torchvision", "sigmoid_focal_loss", {"FL-7"}).counterexample("FL-7")

    with candidate(failure.target) as theirs:
        assert "got nan" in check_case(theirs, failure)
    with candidate(Target("steelyard.impl")) as own:
        assert check_case(own, failure) == ""


def test_kornia_is_right(libraries):
    """No false alarm: every MUST and SHOULD holds in kornia's sigmoid focal loss."""
    judged = libraries.judge("kornia", "sigmoid_focal_loss", profile="default")

    assert judged.result.verdict == "conforms"
    assert judged.wrong == set()


def test_balanced_loss_overflows_at_minus_89(libraries):
    """Its factor exp(-gamma y x - gamma log(1 + exp(-x))) is 0 for positives below exp's range: the value is lost."""
    judged = libraries.judge("balanced_loss", "sigmoid_focal_loss", {"FL-5", "FL-6"}, profile="default")

    assert judged.result.verdict == "deviates"
    assert judged.wrong == {"FL-5", "FL-6", "FL-7", "FL-9"}
    assert judged["FL-5"].diagnosis == judged["FL-6"].diagnosis == "focal/overflowing-exponent"
    case = judged.counterexample("FL-5").case
    assert case.arguments["logits"][case.arguments["targets"] == 1].min() == -89.0
    assert "got 0, expected 22.25" in judged["FL-5"].message


def test_a_library_that_is_not_installed_says_so():
    """The bundled adapter of a missing library gives one line, not a traceback."""
    with pytest.raises(LoadError, match="no module, file or bundled adapter"):
        check("no_such_library_at_all")
