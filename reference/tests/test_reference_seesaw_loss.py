"""The seesaw loss against 60 digits, worked numbers, and the laws of its factors."""

import mpmath
import numpy as np
import pytest

from steelyard.reference import seesaw_loss, seesaw_loss_grad, softmax_focal_loss
from steelyard.reference.checks import SpecError

SCORES, COUNTS = [1.0, 2.0, -0.5], [1000, 10, 0]


def exact(z, label, counts, *, p=0.8, q=2.0, epsilon=0.01, constant=None):
    """From the definition; with `constant` scores in the factors, for derivatives."""
    z = [mpmath.mpf(x) for x in z]
    of_factors = z if constant is None else [mpmath.mpf(x) for x in constant]
    total = sum(map(mpmath.exp, of_factors))
    share = [mpmath.exp(x) / total for x in of_factors]
    n = [mpmath.mpf(max(float(count), 1.0)) for count in counts]
    divisor = max(share[label], mpmath.mpf(epsilon or 0.0))
    others = sum(
        min(1, n[j] / n[label]) ** mpmath.mpf(p) * max(1, share[j] / divisor) ** mpmath.mpf(q) * mpmath.exp(z[j])
        for j in range(len(z))
        if j != label
    )
    return -mpmath.log(mpmath.exp(z[label]) / (mpmath.exp(z[label]) + others))


@pytest.mark.parametrize(
    ("label", "worked"), [(0, 0.409068058903196221), (1, 0.322727521252264805), (2, 7.54911406669592726)]
)
def test_worked_numbers(label, worked):
    """A frequent, a rarer and an unseen class; worked out apart with 60 digits."""
    found = seesaw_loss([SCORES], [label], COUNTS)

    with mpmath.workdps(60):
        assert float(exact(SCORES, label, COUNTS)) == pytest.approx(worked, rel=1e-15)
    assert found[0] == pytest.approx(worked, rel=1e-14)


@pytest.mark.parametrize(("epsilon", "worked"), [(0.01, 16.1115526554310641), (None, 21.0001234029478857)])
def test_the_floor(epsilon, worked):
    """A score of 0.0009 of the own class: with the floor the compensation saturates."""
    assert seesaw_loss([[-4.0, 3.0, 0.0]], [0], [5, 5, 5], epsilon=epsilon)[0] == pytest.approx(worked, rel=1e-14)


@pytest.mark.parametrize("epsilon", [0.01, None, 0.5])
@pytest.mark.parametrize(("p", "q"), [(0.8, 2.0), (0.0, 1.0), (2.5, 0.0), (0.0, 0.0)])
def test_value_and_gradient_at_60_digits(p, q, epsilon):
    """Random scores and counts; the derivative with the factors held constant."""
    random = np.random.default_rng(0)
    z, counts = 4.0 * random.standard_normal((5, 4)), [3, 0, 70_000, 12.5]
    labels = [0, 1, 2, 3, 1]

    value = seesaw_loss(z, labels, counts, p=p, q=q, epsilon=epsilon)
    slope = seesaw_loss_grad(z, labels, counts, p=p, q=q, epsilon=epsilon)

    with mpmath.workdps(60):
        for row, label, found, by_logit in zip(z, labels, value, slope, strict=True):
            options = {"p": p, "q": q, "epsilon": epsilon}
            assert found == pytest.approx(float(exact(row, label, counts, **options)), rel=1e-13)
            for k in range(4):

                def moved(x, k=k, row=row, label=label, options=options):
                    return exact([*row[:k], x, *row[k + 1 :]], label, counts, constant=row, **options)

                assert by_logit[k] == pytest.approx(float(mpmath.diff(moved, row[k])), rel=1e-12, abs=1e-16)


def test_laws_of_the_factors():
    """Off: cross entropy. Mitigation lowers, compensation raises it. Only ratios of counts matter."""
    random = np.random.default_rng(1)
    z, labels = 3.0 * random.standard_normal((50, 6)), random.integers(0, 6, 50)
    counts = np.array([5000, 900, 60, 12, 3, 2])
    cross_entropy = softmax_focal_loss(z, labels, alpha=None, gamma=0.0)

    np.testing.assert_array_equal(seesaw_loss(z, labels, counts, p=0.0, q=0.0), cross_entropy)
    assert (seesaw_loss(z, labels, counts, q=0.0) <= cross_entropy).all()
    assert (seesaw_loss(z, labels, counts, p=0.0) >= cross_entropy).all()
    np.testing.assert_allclose(seesaw_loss(z, labels, 8 * counts), seesaw_loss(z, labels, counts), rtol=1e-13)
    equal = np.full(6, 7)
    np.testing.assert_array_equal(
        seesaw_loss(z, labels, equal, p=3.0), seesaw_loss(z, labels, equal, p=0.0)
    )  # equal counts tip nothing
    np.testing.assert_allclose(seesaw_loss_grad(z, labels, counts).sum(axis=1), 0.0, atol=1e-15)


def test_unseen_classes_count_as_one_sample():
    """Fractions below 1 too."""
    args = [SCORES] * 3, [0, 1, 2]

    np.testing.assert_array_equal(seesaw_loss(*args, [20, 0, 0.5]), seesaw_loss(*args, [20, 1, 1]))


def test_background_and_ignored_samples_have_no_loss():
    """Nor a gradient; the objectness channels are another loss."""
    assert seesaw_loss([SCORES] * 2, [3, -1], COUNTS).tolist() == [0.0, 0.0]
    assert not seesaw_loss_grad([SCORES] * 2, [3, -1], COUNTS).any()
    assert seesaw_loss(np.zeros((0, 2)), [], [1, 1]).shape == (0,)


def test_extreme_scores_stay_finite():
    """Where the own class's softmax is 0 the floor holds; without it the compensation grows with the scores."""
    z = [[-1e4, 1e4]]

    assert seesaw_loss(z, [0], [1, 1])[0] == pytest.approx(20_000 + 2 * np.log(100), rel=1e-14)
    assert seesaw_loss(z, [0], [1, 1], epsilon=None)[0] == pytest.approx(60_000, rel=1e-14)
    np.testing.assert_array_equal(seesaw_loss_grad(z, [0], [1, 1]), [[-1.0, 1.0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": [[1.0]]}, r"logits: expected shape \(R, C\) with C >= 2"),
        ({"logits": [[np.nan, 1.0, 0.0]]}, "logits: expected finite"),
        ({"labels": [4]}, r"labels: expected integers in \[-1, 3\]"),
        ({"labels": [0, 1]}, "labels: expected shape"),
        ({"counts": [1, 1]}, "counts: expected shape"),
        ({"counts": [1, 1, -1]}, "counts: expected numbers >= 0"),
        ({"p": -0.1}, "p: expected"),
        ({"q": np.inf}, "q: expected"),
        ({"epsilon": 1.5}, "epsilon: expected"),
    ],
)
def test_bad_input_is_refused(change, message):
    """Each with its name."""
    with pytest.raises(SpecError, match=message):
        seesaw_loss(**{"logits": [SCORES], "labels": [0], "counts": COUNTS, **change})
