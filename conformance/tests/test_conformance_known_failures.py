"""Expected failures and a choice of precisions: what was not run is neither mended nor out of date."""

import pytest

from steelyard.conformance import check
from steelyard.conformance.known_failures import KnownFailure, KnownFailuresError, parse_known_failures

HALF_ONLY, FULL_ONLY, ALWAYS = "FL-8", "FL-5", "FL-1"
LOSS = """
import numpy as np

DTYPES = ("float32", "float64", "float16")


def log_sigmoid(x):
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


def sigmoid_focal_loss(logits, targets, *, alpha, gamma):
    x = logits.astype(np.float64)
    signed = np.where(targets == 1, x, -x)
    weight = 1 if alpha is None else np.where(targets == 1, alpha, 1 - alpha)
    loss = -weight * np.exp(gamma * log_sigmoid(-signed)) * log_sigmoid(signed)
    return loss if logits.dtype not in WRONG else 2 * loss
"""


@pytest.fixture
def judged(tmp_path):
    """Judges a loss that is wrong in some precisions, of which some requirements are expected to fail."""

    def judge(wrong, known, requirements=None, **options):
        path = tmp_path / "mine.py"
        path.write_text(f"{LOSS}\n\nWRONG = {wrong!r}\n")
        listed = [KnownFailure("sigmoid_focal_loss", id_, "half a loss") for id_ in known]
        result = check(
            str(path), profile="quick", known=listed, requirements=requirements, isolated=False, **options
        )  # fmt: skip
        return result, {found.id: found for found in result.techniques[0].requirements}

    return judge


def test_a_requirement_that_was_not_run_is_not_out_of_date(judged):
    """Half precision is expected to fail, and was not chosen."""
    result, found = judged(["float16"], [HALF_ONLY], dtypes=["float32"])

    assert found[HALF_ONLY].status == "skip"
    assert found[HALF_ONLY].message == "not run: it is judged in float16, which was not chosen"
    assert result.unmatched == ()
    assert result.exit_status == 0


def test_it_is_known_where_it_is_run(judged):
    """The same list, all precisions, and half precision alone."""
    for dtypes in (None, ["float16"]):
        result, found = judged(["float16"], [HALF_ONLY], dtypes=dtypes)

        assert found[HALF_ONLY].status == "known"
        assert result.unmatched == ()


def test_what_passes_in_one_precision_is_not_mended(judged):
    """The other one still fails, which a run of both shows."""
    _, alone = judged(["float64"], [ALWAYS], [ALWAYS], dtypes=["float32"])
    _, both = judged(["float64"], [ALWAYS], [ALWAYS])

    assert alone[ALWAYS].status == "pass"
    assert both[ALWAYS].status == "known"


@pytest.mark.parametrize("dtypes", [None, ["float32", "float64"]], ids=["all", "all of its own"])
def test_what_passes_in_all_its_precisions_is_mended(judged, dtypes):
    """A choice that leaves nothing of the requirement out."""
    result, found = judged([], [FULL_ONLY], [FULL_ONLY], dtypes=dtypes)

    assert found[FULL_ONLY].status == "fixed"
    assert result.exit_status == 1


def test_what_the_candidate_does_not_offer_is_out_of_date(judged):
    """No gradient: an expected failure of one says nothing, whatever precisions were chosen."""
    for dtypes in (None, ["float32"]):
        result, found = judged([], ["FL-2"], dtypes=dtypes)

        assert found["FL-2"].status == "skip"
        assert result.unmatched == ("sigmoid_focal_loss FL-2: half a loss",)
        assert result.exit_status == 1


def test_an_id_that_does_not_exist_is_an_error():
    """Before anything runs."""
    entry = {"technique": "sigmoid_focal_loss", "requirement": "FL-99", "reason": "old"}

    with pytest.raises(KnownFailuresError, match="sigmoid_focal_loss has no 'FL-99'"):
        parse_known_failures([entry], "known.toml")
