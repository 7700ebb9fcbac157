"""The sum of the harmonized cross entropies against 50 digits."""

import mpmath
import numpy as np
import pytest

from steelyard.reference import ghm_classification_sum, ghm_classification_sum_grad
from steelyard.reference.checks import SpecError


def exact(logits, targets, valid, bins, norm, constant):
    """From equations 3 to 10; the regions of `constant`."""
    norms = [abs(1 / (1 + mpmath.exp(-mpmath.mpf(x))) - y) for x, y in zip(constant, targets, strict=True)]
    regions = [min(int(mpmath.floor(g * bins)), bins - 1) if is_valid else None
               for g, is_valid in zip(norms, valid, strict=True)]  # fmt: skip
    number = sum(valid)
    present = len({region for region in regions if region is not None})
    total = mpmath.mpf(0)
    for x, y, region in zip(logits, targets, regions, strict=True):
        if region is not None:
            density = mpmath.mpf(regions.count(region)) * (bins if norm == "M" else present)
            total += number / density * mpmath.log(1 + mpmath.exp(-x if y else x))
    return total


@pytest.mark.parametrize("norm", ["nonempty", "M"])
def test_value_and_gradient_at_50_digits(norm):
    """Random scores, some of them no examples."""
    random = np.random.default_rng(0)
    logits, targets, valid = 3.0 * random.standard_normal(20), random.integers(0, 2, 20), random.random(20) < 0.8

    value = ghm_classification_sum(logits, targets, valid, bins=7, norm=norm)
    slope = ghm_classification_sum_grad(logits, targets, valid, bins=7, norm=norm)

    with mpmath.workdps(50):
        point = [mpmath.mpf(x) for x in logits]
        assert value == pytest.approx(float(exact(point, targets, valid, 7, norm, logits)), rel=1e-13)
        for i in range(20):

            def moved(x, i=i):
                return exact([*point[:i], x, *point[i + 1 :]], targets, valid, 7, norm, logits)

            assert slope[i] == pytest.approx(float(mpmath.diff(moved, point[i])), rel=1e-12, abs=0.0)


def test_without_an_example_it_is_0():
    """None at all, and none that is valid."""
    assert ghm_classification_sum([], [], []) == 0.0
    assert ghm_classification_sum([1.0], [0], [False]) == 0.0
    assert not ghm_classification_sum_grad([1.0], [0], [False]).any()


@pytest.mark.parametrize("change", [{"targets": [2]}, {"valid": [1, 1]}, {"bins": 0}, {"norm": "none"}])
def test_bad_input_is_refused(change):
    """By its name."""
    with pytest.raises(SpecError, match=next(iter(change))):
        ghm_classification_sum(**{"logits": [0.0], "targets": [0], "valid": [1], **change})
