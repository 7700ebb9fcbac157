"""Class-balanced losses and repeat factors of real libraries: what is wrong is found, the rest conforms."""

import importlib.util
import os
from pathlib import Path

import pytest

from steelyard.conformance import check
from steelyard.conformance.cases import read_case

pytestmark = pytest.mark.peers


@pytest.fixture(autouse=True)
def _shims(monkeypatch):
    """Their heavy parts are replaced in the candidate's process; see the shims' own words."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "shims"))


def judge(library, technique, tmp_path):
    """The binding requirements that do not pass, all of them known, and the technique's result."""
    if importlib.util.find_spec(library) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{library} is missing: pip install --no-deps -r conformance/tests/requirements-peers.txt")
        pytest.skip(f"{library} is not installed")
    (judged,) = check(library, techniques=[technique], profile="quick", cases=tmp_path).techniques
    found = {requirement.id: requirement for requirement in judged.requirements}
    wrong = {f.id for f in found.values() if f.status not in ("pass", "warn", "skip") and f.level in ("MUST", "SHOULD")}
    assert all(found[name].status == "known" for name in wrong), "a deviation that the adapter does not know"
    assert not [f.id for f in found.values() if f.status == "fixed"]
    return wrong, found, judged


def test_weights_of_cbloss_are_right_for_classes_with_samples(tmp_path):
    """NaN for a class without samples, and at beta = 1."""
    wrong, found, _ = judge("cbloss", "class_balanced_weights", tmp_path)

    assert wrong == {"CBW-2", "CBW-4"}
    assert found["CBW-4"].diagnosis == "class-balanced-weights/official"
    assert "got nan, expected 0" in found["CBW-4"].message
    assert 0 in read_case(Path(found["CBW-4"].case)).case.arguments["counts"]
    assert {found[name].status for name in ("CBW-1", "CBW-3", "CBW-5", "CBW-7", "CBW-9")} <= {"pass", "warn"}


def test_weights_of_balanced_loss_are_right_also_without_samples(tmp_path):
    """With its option `safe`; beta = 1 is 0 / 0."""
    wrong, found, _ = judge("balanced_loss", "class_balanced_weights", tmp_path)

    assert wrong == {"CBW-2"}
    assert found["CBW-4"].status in ("pass", "warn")


def test_softmax_loss_of_cbloss(tmp_path):
    """The mean over samples, as the paper has it; its NaN weights come through."""
    wrong, found, _ = judge("cbloss", "class_balanced_loss", tmp_path)

    assert wrong == {"CBL-8", "CBL-15", "CBL-16"}
    assert {found[name].diagnosis for name in ("CBL-8", "CBL-15")} == {"class-balanced-loss/official-weights"}


def test_losses_of_balanced_loss(tmp_path):
    """All three kinds are the paper's, up to the focal factor's overflow at a logit of -89."""
    wrong, found, _ = judge("balanced_loss", "class_balanced_loss", tmp_path)

    assert wrong == {"CBL-8", "CBL-10", "CBL-11", "CBL-12", "CBL-16"}
    assert found["CBL-10"].diagnosis == "class-balanced-loss/overflowing-factor"
    small = read_case(Path(found["CBL-10"].case)).case
    assert small.options["kind"] == "focal"
    assert small.arguments["logits"].min() == -89.0


def test_alpha_of_cbloss_is_on_both_classes(tmp_path):
    """Its focal loss has one weight for positives and negatives."""
    wrong, found, _ = judge("cbloss", "sigmoid_focal_loss", tmp_path)

    assert {"FL-1", "FL-2", "FL-4", "FL-10"} <= wrong
    assert found["FL-4"].diagnosis == "focal/alpha-on-both"
    assert found["FL-3"].status in ("pass", "warn"), "without alpha it is right"


def test_repeat_factors_of_mmengine(tmp_path):
    """They are LVIS's."""
    wrong, _, judged = judge("mmengine", "image_repeat_factors", tmp_path)

    assert (wrong, judged.verdict) == (set(), "conforms")


def test_mmengine_rounds_up(tmp_path):
    """A dialect, which departs from the paper."""
    wrong, found, judged = judge("mmengine", "repeat_counts", tmp_path)

    assert (wrong, judged.verdict, judged.dialect) == (set(), "conforms", "ceil")
    assert found["RPT-4"].status == "pass"
