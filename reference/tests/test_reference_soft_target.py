"""Cross entropy against a soft target and the distance of the score from it, against mpmath."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.reference.soft_sampling.soft_target import score_minus_target, soft_cross_entropy, weighted

EPSILON = np.finfo(np.float64).eps
logits = st.floats(-700, 700)
targets = st.floats(0, 1, allow_subnormal=False)


@pytest.fixture(autouse=True)
def _many_digits():
    with mp.workdps(400):
        yield


def _score(x):
    return 1 / (1 + mp.exp(-mp.mpf(x)))


@given(x=logits, y=targets)
def test_cross_entropy_keeps_its_relative_accuracy(x, y):
    """All terms are >= 0, so that nothing cancels for any logit and target."""
    score, target = _score(x), mp.mpf(y)
    expected = -(1 - target) * mp.log(1 - score) - target * mp.log(score)

    actual = soft_cross_entropy(np.array(x), np.array(y))

    assert abs(mp.mpf(float(actual)) - expected) <= 4 * EPSILON * expected


@given(x=logits, y=targets, near=st.booleans(), nudge=st.floats(-1e-12, 1e-12))
def test_distance_is_as_accurate_as_the_target(x, y, near, nudge):
    """The error is a few roundings of the two terms, also near the target; at 0 and 1 one is left."""
    if near and 0 < y < 1:
        x = float(mp.log(mp.mpf(y) / (1 - mp.mpf(y)))) * (1 + nudge)
    score, target = _score(x), mp.mpf(y)

    actual = score_minus_target(np.array(x), np.array(y))

    allowed = 3 * EPSILON * ((1 - target) * score + target * (1 - score))
    assert abs(mp.mpf(float(actual)) - (score - target)) <= allowed


def test_infinite_logits_have_their_limits():
    """A right infinite logit costs 0 and is at distance 0, a wrong one costs infinity."""
    x = np.array([np.inf, np.inf, np.inf, -np.inf, -np.inf, -np.inf])
    y = np.array([1.0, 0.0, 0.25, 0.0, 1.0, 0.25])

    assert soft_cross_entropy(x, y).tolist() == [0.0, np.inf, np.inf, 0.0, np.inf, np.inf]
    assert score_minus_target(x, y).tolist() == [0.0, 1.0, 0.75, 0.0, -1.0, -0.25]


def test_a_weight_of_0_annuls_all():
    """What is infinite or undefined counts nothing with the weight 0, and stays with any other."""
    loss = np.array([np.inf, np.nan, 3.0])

    np.testing.assert_array_equal(weighted(np.array([0.0, 0.0, 0.5]), loss), [0.0, 0.0, 1.5])
    np.testing.assert_array_equal(weighted(0.5, loss), [np.inf, np.nan, 1.5])
