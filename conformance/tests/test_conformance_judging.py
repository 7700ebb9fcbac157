"""The comparison of one answer with what it should be: bounds, special values, exactness, the share of the bound."""

from dataclasses import replace

import numpy as np
import pytest

from steelyard.conformance import judging
from steelyard.conformance.candidates import OwnFunctions
from steelyard.conformance.checking import Bench, Deviation, gradient, value
from steelyard.conformance.contract import Argument, Case, Output, Technique
from steelyard.conformance.judging import Bounds, compare, plain_bounds, sum_bounds, value_bounds
from steelyard.conformance.precision import PRECISIONS
from steelyard.conformance.registry import TECHNIQUES

U = 2.0**-24
LARGEST = PRECISIONS["float16"].largest


def bounds(strict, loose=None):
    strict = np.atleast_1d(np.asarray(strict, dtype=np.float64))
    return Bounds(strict, strict if loose is None else np.atleast_1d(np.asarray(loose, dtype=np.float64)))


def status(actual, expected, allowed=1.0, dtype="float64"):
    actual, expected = np.atleast_1d(actual), np.atleast_1d(expected)
    return compare(actual, expected, bounds(np.full(actual.shape, allowed)), dtype).status


# --- the two bounds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("distance", "expected"),
    [(0.0, "pass"), (0.999, "pass"), (1.0, "pass"), (1.001, "warn"), (3.0, "warn"), (3.001, "fail")],
)
def test_strict_bound_passes_loose_bound_warns_beyond_fails(distance, expected):
    """Both ends belong to the better side."""
    assert compare(np.array([distance]), np.array([0.0]), bounds(1.0, 3.0)).status == expected


def test_share_of_the_bound_is_that_of_the_worst_element():
    """Not of the largest distance: each element has its own bound."""
    comparison = compare(np.array([1.0, 5.0]), np.array([0.9, 4.0]), bounds([0.2, 10.0]))

    assert comparison.bound_used == pytest.approx(0.5)
    assert comparison.index == (0,)
    assert (comparison.actual, comparison.expected, comparison.allowed) == (1.0, 0.9, 0.2)


def test_a_failing_element_is_named_before_a_warning_one():
    """Also where the warning one uses a larger share of its strict bound."""
    comparison = compare(np.array([[50.0, 2.0]]), np.zeros((1, 2)), bounds([[1.0, 1.0]], [[100.0, 1.5]]))

    assert comparison.status == "fail"
    assert comparison.index == (0, 1)
    assert (comparison.wrong, comparison.size) == (1, 2)


def test_equal_numbers_use_nothing_of_a_bound_of_zero():
    """0 of 0 is 0; anything else of 0 is a failure."""
    assert compare(np.array([2.0]), np.array([2.0]), bounds(0.0)).bound_used == 0.0
    with np.errstate(divide="ignore"):
        assert compare(np.array([2.0]), np.array([2.1]), bounds(0.0)).status == "fail"


@pytest.mark.parametrize("allowed", [None, bounds(np.zeros(0))])
def test_empty_arrays_agree(allowed):
    """There is nothing that could differ."""
    comparison = compare(np.zeros(0), np.zeros(0), allowed)

    assert (comparison.status, comparison.size, comparison.bound_used) == ("pass", 0, 0.0)


def test_a_number_without_axes_is_compared():
    """As a sum is returned."""
    comparison = compare(np.array(1.5), np.array(1.0), Bounds(np.array(0.1), np.array(0.2)))

    assert (comparison.status, comparison.index) == ("fail", ())


# --- NaN and infinities ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actual", "expected", "verdict"),
    [
        (np.nan, np.nan, "pass"), (np.nan, 1.0, "fail"), (1.0, np.nan, "fail"), (np.nan, np.inf, "fail"),
        (np.inf, np.nan, "fail"), (np.inf, np.inf, "pass"), (-np.inf, -np.inf, "pass"), (-np.inf, np.inf, "fail"),
        (np.inf, 1.0, "fail"), (1.0, np.inf, "fail"), (-np.inf, 1.0, "fail"),
    ],
)  # fmt: skip
def test_nan_and_infinity_are_wanted_where_the_oracle_has_them(actual, expected, verdict):
    """And nowhere else."""
    assert status(actual, expected) == verdict


@pytest.mark.parametrize(
    ("actual", "expected", "allowed", "verdict"),
    [
        (np.inf, 70000.0, 1.0, "pass"),  # beyond the format
        (-np.inf, -70000.0, 1.0, "pass"),
        (-np.inf, 70000.0, 1.0, "fail"),
        (np.inf, LARGEST, 1.0, "pass"),  # rounding at the end
        (np.inf, 60000.0, 1.0, "fail"),
        (np.inf, 60000.0, 6000.0, "pass"),  # the bound reaches the end
        (LARGEST, np.inf, 1.0, "pass"),  # saturated
        (-LARGEST, np.inf, 1.0, "fail"),
        (60000.0, np.inf, 1.0, "fail"),
        (LARGEST, 1e6, 1.0, "fail"),  # a finite number is compared as it is
    ],
)
def test_infinity_stands_for_what_the_format_cannot_hold(actual, expected, allowed, verdict):
    """Rounding overflows near the end of the answer's format; the largest number stands for an infinity."""
    assert status(actual, expected, allowed, "float16") == verdict


def test_one_nan_among_right_numbers_is_the_worst():
    """It is counted and named."""
    comparison = compare(np.array([1.0, np.nan, 2.5]), np.array([1.0, 2.0, 2.0]), bounds([1.0, 1.0, 1.0]))

    assert (comparison.status, comparison.wrong, comparison.index) == ("fail", 1, (1,))


# --- exact comparison ------------------------------------------------------------------------------------------


def test_integers_and_masks_are_exact():
    """Off by one is wrong, however large the number."""
    right = np.array([2**60, 5])

    assert compare(right, right.copy(), None).status == "pass"
    comparison = compare(right + np.array([1, 0]), right, None)
    assert (comparison.status, comparison.wrong, comparison.index) == ("fail", 1, (0,))
    assert compare(np.array([True, False]), np.array([True, True]), None).index == (1,)


# --- how wide the bounds are -----------------------------------------------------------------------------------


def test_plain_bound_is_sixteen_roundoffs_and_that_of_the_answer():
    """By hand: 16 u |y| + u_out |y| + the smallest normal number."""
    case = Case({}, {}, "float32")

    allowed = plain_bounds(case, np.array([3.0, np.inf]), "float32")

    np.testing.assert_allclose(allowed.strict, [17 * U * 3.0, 2.0**-126], rtol=1e-6)
    np.testing.assert_array_equal(allowed.strict, allowed.loose)


def test_coarser_answers_widen_the_bound_by_their_own_rounding():
    """A float16 answer to float32 inputs: the strict bound grows by its roundoff alone, the loose one altogether."""
    case, right = Case({}, {}, "float32"), np.array([3.0])

    allowed = plain_bounds(case, right, "float16")

    np.testing.assert_allclose(allowed.strict, (16 * U + 2.0**-11) * 3.0 + 2.0**-14)
    np.testing.assert_allclose(allowed.loose, (17 * 2.0**-11) * 3.0 + 2.0**-14)


@pytest.mark.parametrize(("one", "other"), [("float16", "bfloat16"), ("float64", "float32"), ("float32", "float32")])
def test_the_coarser_format_is_found(one, other):
    """In either order."""
    assert judging.coarser(one, other) == judging.coarser(other, one) == other


@pytest.mark.parametrize("terms", [0, 1, 2, 10, 1000, 10**6])
def test_bound_of_a_sum_grows_with_the_summation(terms):
    """u (8 + log2 n) S, loosely u (8 + 4 sqrt n) S, as the page derives it."""
    case, magnitude = Case({}, {}, "float32"), np.array([0.0, 2.0])

    allowed = sum_bounds(case, "float32", terms, magnitude)

    np.testing.assert_allclose(allowed.strict, U * (8 + np.log2(max(terms, 2))) * magnitude)
    np.testing.assert_allclose(allowed.loose, np.maximum(allowed.strict, U * (8 + 4 * terms**0.5) * magnitude))


@pytest.mark.parametrize("count", [10, 1000, 100_000])
def test_sums_of_any_length_stay_inside(count):
    """Of numbers that cancel: in pairs within the strict bound, one after another within the loose one."""
    terms = np.random.default_rng(count).normal(size=count).astype(np.float32)
    exact, magnitude = np.array([np.sum(terms, dtype=np.float64)]), np.array([np.abs(terms).sum(dtype=np.float64)])
    allowed = sum_bounds(Case({}, {}, "float32"), "float32", count, magnitude)

    in_pairs = np.array([np.sum(terms)])
    in_order = np.array([np.cumsum(terms)[-1]])

    assert compare(in_pairs, exact, allowed).status == "pass"
    assert compare(in_order, exact, allowed).status in ("pass", "warn")
    assert compare(exact + 64 * 2 * U * magnitude, exact, sum_bounds(Case({}, {}), "float64", count, magnitude)).wrong


def squares(x):
    return np.asarray(x) ** 2


def absolute(x):
    return np.abs(np.asarray(x))


def always(answer):
    def function(x):
        return np.array(answer)

    return function


SQUARE = Technique(
    id="square", title="Square", family="test", summary="", sources=(), oracle=squares,
    arguments=(Argument("x", ("...",), "float", "any", differentiable=True),), options=(),
    outputs=(Output("y", ("...",), "float", "x squared"),), requirements=(), mutants=(),
    gradients={"x": lambda x: 2 * np.asarray(x)},
)  # fmt: skip


def test_condition_is_measured():
    """Of x squared it is 2 x^2: the bound is 17 u y + 4 u (2 y)."""
    case = Case({"x": np.array([3.0, 0.0, -2.0])}, {}, "float32")
    right = squares(case.arguments["x"])

    allowed = value_bounds(SQUARE, case, right, "float32", None)

    np.testing.assert_allclose(allowed.strict, 25 * U * right + 2.0**-126, rtol=1e-6)


def test_domain_keeps_moved_inputs_where_the_function_is_defined():
    """A square root at 1 from below: inputs cut at 1 move in one direction only."""
    domain = Argument("x", ("...",), "float", "at most 1", domain=lambda moved, _: np.minimum(moved, 1.0))
    root = replace(SQUARE, oracle=lambda x: np.sqrt(1.0 - np.asarray(x)), arguments=(domain,))
    case = Case({"x": np.array([1.0])}, {}, "float32")

    allowed = value_bounds(root, case, np.zeros(1), "float32", None)

    assert 0.0 < allowed.strict[0] < 4 * U * 2.0**16


def test_practical_error_widens_the_loose_bound_alone():
    """In the coarser of the case's and the answer's format; of the first output only."""
    case = Case({"x": np.array([1.0])}, {}, "float32")
    practical = replace(SQUARE, practical_error=lambda _, u: np.array([-100.0 * u]))
    right = np.array([1.0])

    plain, wide = (value_bounds(t, case, right, "float32", None) for t in (SQUARE, practical))

    np.testing.assert_array_equal(wide.strict, plain.strict)
    np.testing.assert_allclose(wide.loose - plain.loose, 100 * U)


def test_summation_is_allowed_for_where_the_technique_is_a_sum():
    """Of its first output, and of its gradient."""
    case = Case({"x": np.array([3.0])}, {}, "float32")
    of_sum = replace(SQUARE, summands=lambda _: (4, np.array([7.0])), gradient_summands=lambda *_: (4, np.array([5.0])))

    def allowed(technique):
        value = value_bounds(technique, case, np.array([9.0]), "float32", None).strict
        slope = judging.gradient_bounds(technique, "x", case, np.array([6.0]), "float32", None, value_dtype="float32")
        return np.concatenate([value, slope.strict])

    np.testing.assert_allclose(allowed(of_sum) - allowed(SQUARE), [70 * U, 50 * U])


# --- sets, kinks, warnings: through the bench ------------------------------------------------------------------


def bench(technique, function, **gradients):
    return Bench(technique, OwnFunctions("mine", technique.id, function, frozenset(), gradients))


@pytest.mark.parametrize("unordered", [False, True])
def test_order_of_a_set_carries_no_meaning(unordered):
    """Sorted before they are compared; a list of indices is not."""
    indices = replace(SQUARE, oracle=always([[1, 4, 7]]), outputs=(Output("chosen", ("B", "K"), "int", "", unordered),))
    case = Case({"x": np.zeros(1)}, {})

    def judge(answer):
        value(bench(indices, always([answer])), case)

    with pytest.raises(Deviation):
        judge([7, 1, 5])
    if unordered:
        judge([7, 1, 4])
    else:
        with pytest.raises(Deviation):
            judge([7, 1, 4])


@pytest.mark.parametrize(
    ("slope", "is_right"), [(-1.0, True), (0.0, True), (0.3, True), (1.0, True), (1.001, False), (np.nan, False)]
)
def test_at_a_kink_an_interval_is_admissible(slope, is_right):
    """The derivative of |x| at 0 is any number from -1 to 1, and none else."""
    size = replace(
        SQUARE, oracle=absolute, gradients={"x": lambda x: np.sign(np.asarray(x))},
        gradient_interval=lambda _, case: (np.where(case.arguments["x"] > 0, 1.0, -1.0),
                                              np.where(case.arguments["x"] < 0, -1.0, 1.0)),
    )  # fmt: skip
    case = Case({"x": np.array([2.0, 0.0])}, {}, "float32")
    judged = bench(size, absolute, x=lambda x: np.where(x == 0, slope, np.sign(x)))

    if is_right:
        gradient("x")(judged, case)
    else:
        with pytest.raises(Deviation):
            gradient("x")(judged, case)


def test_poor_accuracy_is_a_warning_with_its_place_and_no_failure():
    """The bench keeps the worst one as text, and the share of the bound."""
    focal = TECHNIQUES["sigmoid_focal_loss"]
    case = Case({"logits": np.array([0.5, 8.0]), "targets": np.array([1, 1])}, {"alpha": 0.25, "gamma": 2.0}, "float32")

    def textbook(logits, targets, *, alpha, gamma):
        p = np.float32(1) / (1 + np.exp(-logits))
        return (alpha * (1 - p) ** gamma * -np.log(p)).astype(np.float32)

    judged = Bench(focal, OwnFunctions("textbook", focal.id, textbook, frozenset(case.options), {}))
    value(judged, case)

    assert judged.bound_used > 1.0
    assert "accuracy is poor" in judged.warning
    assert "at [1]" in judged.warning
