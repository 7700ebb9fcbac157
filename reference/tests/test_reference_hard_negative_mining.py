"""SSD's hard-negative mining: worked numbers, the laws of the mined set, gradients, errors."""

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.reference import SpecError, hard_negative_mining, ssd_confidence_loss, ssd_confidence_loss_grad

# three channels, the background first, as SSD numbers them; here it comes last
LOGITS = np.roll(
    [(2, 0.5, -1), (0.1, 1.5, 0.2), (1, 1, 1), (3, -2, 0),
     (-0.5, 0.4, 0.3), (0, 0.2, 2), (1.5, 1, -0.5), (0.3, 0, 0.1)],
    -1, axis=1,
)  # fmt: skip
TWO_POSITIVES = [2, 0, 2, 2, 2, 1, 2, 2]
FOUR_POSITIVES = [2, 0, 0, 2, 2, 1, 2, 1]


def exact_cross_entropy(logits, label):
    with mpmath.workdps(50):
        z = [mpmath.mpf(float(x)) for x in logits]
        return mpmath.log(mpmath.fsum(mpmath.exp(x) for x in z)) - z[label]


@pytest.mark.parametrize(
    ("labels", "ratio", "negatives", "loss"),
    [
        (TWO_POSITIVES, 1.0, [2, 4], 1.75872885319089),
        (TWO_POSITIVES, 3.0, [0, 2, 3, 4, 6, 7], 2.65427110945129),
        (FOUR_POSITIVES, 3.0, [0, 3, 4, 6], 1.37713555472564),
    ],
)
def test_worked_numbers(labels, ratio, negatives, loss):
    """Recomputed at 50 digits; with four positives only four negatives exist for the twelve that may be taken."""
    positives = [i for i, label in enumerate(labels) if label != 2]
    terms = [exact_cross_entropy(LOGITS[i], labels[i]) for i in positives + negatives]
    exact = mpmath.fsum(terms) / len(positives)

    actual = ssd_confidence_loss(LOGITS, labels, negatives_per_positive=ratio)

    assert actual == pytest.approx(float(exact), rel=1e-15)
    assert actual == pytest.approx(loss, rel=1e-14)


def test_positives_are_not_counted_twice():
    """Two positives, two negatives, four equal logits each: 4 ln 4 / 2, where double counting gives 6 ln 4 / 2."""
    assert ssd_confidence_loss(np.zeros((4, 4)), [0, 1, 3, 3]) == pytest.approx(2.772588722239781, rel=1e-15)


images = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(-1, 2), min_size=n, max_size=n),
        st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, np.inf]), min_size=n, max_size=n),
    )
)


@given(image=images, ratio=st.sampled_from([0.0, 1.0, 2.5, 3.0]), least=st.integers(0, 3))
def test_the_mined_negatives_are_the_hardest(image, ratio, least):
    """Their number by the formula, none easier than one left out, and of equal ones the first."""
    label, loss = np.array(image[0]), np.array(image[1])
    background = np.flatnonzero(label == 2)

    positive, negative = hard_negative_mining(
        loss, label, num_classes=2, negatives_per_positive=ratio, min_negatives=least
    )

    wanted = max(int(ratio * ((label == 0) | (label == 1)).sum()), least)
    assert negative.sum() == min(wanted, background.size)
    assert (positive == ((label == 0) | (label == 1))).all()
    ranked = sorted(background, key=lambda i: (-loss[i], i))
    assert np.flatnonzero(negative).tolist() == sorted(ranked[:wanted])


def test_a_fraction_of_a_negative_is_none():
    """At most 2.5 for one positive are two; rounding up would be more than the ratio allows."""
    assert hard_negative_mining(
        np.arange(5.0), [0, 1, 1, 1, 1], num_classes=1, negatives_per_positive=2.5
    ).negative.sum() == 2  # fmt: skip


def test_images_without_positives():
    """They give no negatives, unless asked for; the loss of a batch without positives is 0."""
    logits, labels = np.zeros((2, 3, 2)), np.array([[0, 1, 1], [1, 1, 1]])

    mined = hard_negative_mining(np.ones((2, 3)), labels, num_classes=1)
    asked = hard_negative_mining(np.ones((2, 3)), labels, num_classes=1, min_negatives=1)

    assert mined.negative.sum(axis=-1).tolist() == [2, 0]
    assert asked.negative.sum(axis=-1).tolist() == [2, 1]
    assert ssd_confidence_loss(logits[1:], labels[1:]) == 0.0
    assert ssd_confidence_loss(logits[1:], labels[1:], min_negatives=2) == pytest.approx(2 * np.log(2))
    assert ssd_confidence_loss(np.zeros((0, 2)), np.zeros(0, dtype=int)) == 0.0


def test_padding_and_easy_background_change_nothing():
    """Ignored candidates, and background that is easier than all that is mined."""
    longer = np.vstack([LOGITS, [[9.0, 0.0, 0.0]], [[-9.0, -9.0, 9.0]]])
    labels = [*TWO_POSITIVES, -1, 2]

    alone = ssd_confidence_loss(LOGITS, TWO_POSITIVES, negatives_per_positive=1.0)

    assert ssd_confidence_loss(longer, labels, negatives_per_positive=1.0) == alone


def test_a_large_ratio_is_cross_entropy_over_positives():
    """All candidates that are not ignored, in images with positives."""
    labels = np.array(TWO_POSITIVES)
    total = sum(float(exact_cross_entropy(z, y)) for z, y in zip(LOGITS, labels, strict=True))

    assert ssd_confidence_loss(LOGITS, labels, negatives_per_positive=1e9) == pytest.approx(total / 2, rel=1e-15)


def test_gradient_is_the_derivative():
    """Against mpmath at every logit; 0 outside the sample, and no push on the sum of a candidate's logits."""
    gradient = ssd_confidence_loss_grad(LOGITS, TWO_POSITIVES, negatives_per_positive=1.0)

    for i in (1, 2, 4, 5):
        for channel in range(3):

            def loss(x, i=i, channel=channel):
                z = [mpmath.mpf(float(v)) for v in LOGITS[i]]
                z[channel] = x
                return (mpmath.log(mpmath.fsum(mpmath.exp(v) for v in z)) - z[TWO_POSITIVES[i]]) / 2

            with mpmath.workdps(40):
                exact = float(mpmath.diff(loss, mpmath.mpf(float(LOGITS[i, channel]))))
            assert gradient[i, channel] == pytest.approx(exact, rel=1e-13)
    assert not gradient[[0, 3, 6, 7]].any()
    np.testing.assert_allclose(gradient.sum(axis=-1), 0.0, atol=1e-16)


@pytest.mark.parametrize(
    ("losses", "labels", "options", "message"),
    [
        ([1.0, 2.0], [0], {}, r"labels: expected shape \(2,\)"),
        ([np.nan], [1], {}, "losses: expected numbers at background"),
        ([1.0], [2], {}, "labels: expected integers"),
        ([1.0], [0], {"negatives_per_positive": -1.0}, "negatives_per_positive: expected a number >= 0"),
        ([1.0], [0], {"min_negatives": -1}, "min_negatives: expected an int >= 0"),
        (1.0, 0, {}, r"losses: expected shape \(\.\.\., N\)"),
    ],
)
def test_errors_name_argument_expectation_and_value(losses, labels, options, message):
    """Each refusal says what was wrong."""
    with pytest.raises(SpecError, match=message):
        hard_negative_mining(losses, labels, num_classes=1, **options)


def test_losses_that_do_not_count_may_be_anything():
    """NaN of a positive or of an ignored candidate is not looked at."""
    sample = hard_negative_mining([np.nan, np.nan, 1.0], [0, -1, 1], num_classes=1)

    assert sample.negative.tolist() == [False, False, True]
