"""Arrays and options as JSON: nothing is lost in any form, and what is no array is refused with its place."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from steelyard.conformance.encoding import (
    FLOAT_FORMS,
    EncodingError,
    decode_array,
    decode_float,
    decode_option,
    encode_array,
    encode_float,
    encode_option,
)


@pytest.mark.parametrize("form", FLOAT_FORMS)
@given(values=arrays.arrays(np.float64, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)))
def test_floats_come_back_bit_for_bit(form, values):
    """Signed zeros, subnormals, infinities, NaN; through the text of JSON."""
    document = json.loads(json.dumps(encode_array(values, form), allow_nan=False))

    found = decode_array(document)

    assert found.shape == values.shape
    np.testing.assert_array_equal(found, values)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(np.where(np.isnan(values), found, values)))


@pytest.mark.parametrize("values", [np.array([[1, -(2**63), 2**63 - 1]]), np.array([True, False]), np.zeros((0, 2))])
def test_integers_and_masks_come_back(values):
    """With their kind and shape."""
    found = decode_array(json.loads(json.dumps(encode_array(values))))

    assert (found.dtype, found.shape) == (values.dtype, values.shape)
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0x1.8p+1", 3.0), ("1e400", math.inf), ("-0x1p9999", -math.inf), ("Infinity", math.inf), (3, 3.0), ("-0", -0.0)],
)
def test_other_spellings_are_read(text, value):
    """What other languages write."""
    assert decode_float(text) == value
    assert math.copysign(1, decode_float(text)) == math.copysign(1, value)


@pytest.mark.parametrize("value", ["0x", "1.2.3", "one", "", None, True, [1.0], "1_0"])
def test_what_is_no_float_is_refused(value):
    """Not guessed at."""
    with pytest.raises(EncodingError, match="expected a number or a text"):
        decode_float(value)


@pytest.mark.parametrize("form", FLOAT_FORMS)
@given(value=st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=3))
def test_options_keep_their_kind(form, value):
    """2.0 stays a float, 2 an integer."""
    found = decode_option(json.loads(json.dumps(encode_option(value, form))))

    assert (type(found), found) == (type(value), value)
    assert encode_float(2.0, "hex") == "0x1p+1"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([1.0], "expected an array as an object"),
        ({"kind": "text", "shape": [0], "data": []}, "kind: expected one of"),
        ({"kind": "float", "shape": [-1], "data": []}, "shape: expected a list of lengths"),
        ({"kind": "float", "shape": [2], "data": [1.0]}, "data: expected 2 elements"),
        ({"kind": "float", "shape": [1], "data": 1.0}, "data: expected a list"),
        ({"kind": "int", "shape": [1], "data": [1.5]}, r"data\[0\]: expected an integer"),
        ({"kind": "int", "shape": [1], "data": [2**63]}, "does not fit into 64 bits"),
        ({"kind": "bool", "shape": [1], "data": [1]}, r"data\[0\]: expected true or false"),
        ({"kind": "float", "shape": [0] * 65, "data": []}, "shape: "),
        ({"kind": "float", "shape": [0, 10**30], "data": []}, "shape: "),
    ],
)
def test_what_is_no_array_is_refused(document, message):
    """One line that says where."""
    with pytest.raises(EncodingError, match=message):
        decode_array(document)
