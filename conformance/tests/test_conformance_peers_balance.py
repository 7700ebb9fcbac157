"""Class-balanced losses and repeat factors of real libraries: what is wrong is found, the rest conforms."""

import pytest

pytestmark = pytest.mark.peers


def test_weights_of_cbloss_are_right_for_classes_with_samples(libraries):
    """NaN for a class without samples, and at beta = 1."""
    judged = libraries.judge("cbloss", "class_balanced_weights", {"CBW-4"})

    assert judged.wrong == {"CBW-2", "CBW-4"}
    assert judged["CBW-4"].diagnosis == "class-balanced-weights/official"
    assert "got nan, expected 0" in judged["CBW-4"].message
    assert 0 in judged.counterexample("CBW-4").case.arguments["counts"]
    assert {judged[name].status for name in ("CBW-1", "CBW-3", "CBW-5", "CBW-7", "CBW-9")} <= {"pass", "warn"}


def test_weights_of_balanced_loss_are_right_also_without_samples(libraries):
    """With its option `safe`; beta = 1 is 0 / 0."""
    judged = libraries.judge("balanced_loss", "class_balanced_weights")

    assert judged.wrong == {"CBW-2"}
    assert judged["CBW-4"].status in ("pass", "warn")


def test_softmax_loss_of_cbloss(libraries):
    """The mean over samples, as the paper has it; its NaN weights come through."""
    judged = libraries.judge("cbloss", "class_balanced_loss", {"CBL-8", "CBL-15"})

    assert judged.wrong == {"CBL-8", "CBL-15", "CBL-16"}
    assert {judged[name].diagnosis for name in ("CBL-8", "CBL-15")} == {"class-balanced-loss/official-weights"}


def test_losses_of_balanced_loss(libraries):
    """All three kinds are the paper's, up to the focal factor's overflow at a logit of -89."""
    judged = libraries.judge("balanced_loss", "class_balanced_loss", {"CBL-10"})

    assert judged.wrong == {"CBL-8", "CBL-10", "CBL-11", "CBL-12", "CBL-16"}
    assert judged["CBL-10"].diagnosis == "class-balanced-loss/overflowing-factor"
    small = judged.counterexample("CBL-10").case
    assert small.options["kind"] == "focal"
    assert small.arguments["logits"].min() == -89.0


def test_alpha_of_cbloss_is_on_both_classes(libraries):
    """Its focal loss has one weight for positives and negatives; where 1 - p rounds to 0 its gradient is NaN too.

    Value by value the two mistakes are within rounding of each other: which one is nearer differs between machines.
    """
    judged = libraries.judge("cbloss", "sigmoid_focal_loss", {"FL-4", "FL-7"})

    assert {"FL-1", "FL-2", "FL-4", "FL-10"} <= judged.wrong
    assert judged["FL-4"].diagnosis in ("focal/alpha-on-both", "focal/alpha-on-both-rounded")
    assert judged["FL-7"].diagnosis == "focal/alpha-on-both-rounded"
    assert judged["FL-3"].status in ("pass", "warn"), "without alpha it is right"


def test_repeat_factors_of_mmengine(libraries):
    """They are LVIS's."""
    judged = libraries.judge("mmengine", "image_repeat_factors")

    assert (judged.wrong, judged.result.verdict) == (set(), "conforms")


def test_mmengine_rounds_up(libraries):
    """A dialect, which departs from the paper."""
    judged = libraries.judge("mmengine", "repeat_counts")

    assert (judged.wrong, judged.result.verdict, judged.result.dialect) == (set(), "conforms", "ceil")
    assert judged["RPT-4"].status == "pass"
