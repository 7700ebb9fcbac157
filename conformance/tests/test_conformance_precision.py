"""Rounding to the four formats: exact, to the nearest, ties to even, cut at the ends."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest

from steelyard.conformance.precision import FLOAT32, FLOAT64, PRECISIONS, computing_precision, round_to

each_format = pytest.mark.parametrize("name", PRECISIONS)
BITS = np.arange(2**16, dtype=np.uint32)


def every_finite(name):
    """All finite numbers of a 16-bit format in ascending order, -0 left out, and the last bit of each."""
    if name == "float16":
        values = BITS.astype(np.uint16).view(np.float16).astype(np.float64)
    else:
        with np.errstate(invalid="ignore"):  # signalling NaN
            values = (BITS << np.uint32(16)).view(np.float32).astype(np.float64)
    keep = np.isfinite(values) & ~((values == 0.0) & np.signbit(values))
    order = np.argsort(values[keep])
    return values[keep][order], (BITS[keep] & 1)[order]


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_every_number_of_the_format_stays(name):
    """All 65,536 bit patterns but infinities and NaN."""
    values, _ = every_finite(name)

    assert len(values) > 63000
    np.testing.assert_array_equal(round_to(name, values), values)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_every_tie_goes_to_the_even_neighbour(name):
    """Half-way between any two neighbours, subnormal ones too, the one whose last bit is 0 is taken."""
    values, last_bit = every_finite(name)
    middle = values[:-1] + (values[1:] - values[:-1]) / 2

    even = np.where(last_bit[:-1] == 0, values[:-1], values[1:])

    np.testing.assert_array_equal(round_to(name, middle), even)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_next_to_a_tie_the_nearer_neighbour_is_taken(name):
    """One unit of float64 beside the middle decides: nothing is rounded twice."""
    values, _ = every_finite(name)
    middle = values[:-1] + (values[1:] - values[:-1]) / 2

    np.testing.assert_array_equal(round_to(name, np.nextafter(middle, -np.inf)), values[:-1])
    np.testing.assert_array_equal(round_to(name, np.nextafter(middle, np.inf)), values[1:])


def test_float32_against_arithmetic_with_many_digits():
    """Random numbers of all sizes, against mpmath's rounding to 24 binary digits, ties to even."""
    random = np.random.default_rng(0)
    values = random.normal(size=500) * 2.0 ** random.integers(-100, 100, 500)
    ties = 1.0 + random.integers(0, 2**23, 500) * 2.0**-23 + 2.0**-24
    drawn = np.concatenate([values, ties])

    with mpmath.workprec(24):
        expected = [float(+mpmath.mpf(value)) for value in drawn]

    np.testing.assert_array_equal(round_to("float32", drawn), expected)


def test_float64_is_left_alone():
    """Whatever the value."""
    values = np.array([0.1, -1e308, 5e-324, 0.0])

    np.testing.assert_array_equal(round_to("float64", values), values)


@each_format
def test_beyond_the_range_is_cut_to_it(name):
    """Also where rounding would give an infinity."""
    largest = PRECISIONS[name].largest
    values = np.array([largest, -largest, 1.7e308, -1.7e308])
    if name != "float64":
        values = np.append(values, np.nextafter(largest, np.inf))

    rounded = round_to(name, values)

    np.testing.assert_array_equal(np.abs(rounded), np.minimum(np.abs(values), largest))
    np.testing.assert_array_equal(np.sign(rounded), np.sign(values))


@each_format
def test_infinities_and_nan_and_the_sign_of_zero_stay(name):
    """They are numbers of every format."""
    rounded = round_to(name, np.array([np.inf, -np.inf, np.nan, 0.0, -0.0]))

    np.testing.assert_array_equal(rounded, [np.inf, -np.inf, np.nan, 0.0, 0.0])
    assert np.signbit(rounded).tolist()[3:] == [False, True]


@each_format
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (2, 2)])
def test_the_shape_stays(name, shape):
    """Also of a single number and of nothing; integers become floats."""
    rounded = round_to(name, np.ones(shape, dtype=np.int64))

    assert rounded.shape == shape
    assert rounded.dtype == np.float64


@each_format
def test_what_a_format_says_of_itself(name):
    """The unit roundoff is half of the gap at 1, the ends of the normal range belong to it."""
    precision = PRECISIONS[name]
    u = precision.unit_roundoff

    assert round_to(name, np.array(1.0 + u)) == 1.0
    if name != "float64":
        assert round_to(name, np.array(1.0 + 1.01 * u)) == 1.0 + 2 * u
        subnormal = precision.smallest_normal * 2 * u
        assert round_to(name, np.array(subnormal)) == subnormal
        assert round_to(name, np.array(subnormal / 2)) == 0.0
    highest_power = Fraction(2) ** (1 - round(np.log2(precision.smallest_normal)))
    assert Fraction(precision.largest) == (2 - 2 * Fraction(u)) * highest_power
    assert round_to(name, np.array(precision.smallest_normal)) == precision.smallest_normal


def test_halves_are_computed_in_float32():
    """And the others in their own format."""
    assert [computing_precision(name) for name in PRECISIONS] == [FLOAT64, FLOAT32, FLOAT32, FLOAT32]
