"""Half inputs are computed in float32, and autocast changes nothing.

So a result has the dtype float32 (or a wider one) for half inputs. The only halves that come out are numbers that
went in: scores and boxes that are picked, features that are masked, images in the dtype of the images.
"""

import pytest
import torch
from example_inputs import DEVICES, EXAMPLES, SMALL, function_of, results_and_gradients
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

HALVES = (torch.bfloat16, torch.float16)
HANDED_ON = {
    "boxes_of_class", "composite", "dense_candidates", "features_without_windows", "filter_proposals",
    "objectness_filter_scores", "switch_instances",
}  # fmt: skip
"""Functions of which some result has the dtype of an input."""


class Halves(TorchDispatchMode):
    """Operators that make a half tensor."""

    def __init__(self):
        super().__init__()
        self.made_by = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if any(leaf.dtype in HALVES for leaf in tree_leaves(result) if isinstance(leaf, Tensor)):
            self.made_by.add(function.overloadpacket.__name__)
        return result


def _under_autocast(function, device):
    def call(**arguments):
        with torch.autocast(device, torch.bfloat16):
            return function(**arguments)

    return call


def _widened(arguments, gradient):
    """The same numbers in float32."""
    wide = {
        name: value.detach().float() if isinstance(value, Tensor) and value.is_floating_point() else value
        for name, value in arguments.items()
    }
    return wide | {name: wide[name].requires_grad_() for name in gradient}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("entry", EXAMPLES)
def test_autocast_changes_nothing(entry, device):
    """No half tensor is made, and results and gradients are the same to the last bit."""
    function, example = function_of(entry, device), EXAMPLES[entry]
    expected = results_and_gradients(function, entry, example.arguments(SMALL, device=device))

    called = _under_autocast(function, device)
    actual = results_and_gradients(called, entry, example.arguments(SMALL, device=device))
    with Halves() as halves:
        results_and_gradients(called, entry, example.arguments(SMALL, device=device))

    assert halves.made_by == set()
    torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("entry", EXAMPLES)
def test_half_inputs_are_computed_in_float32(entry, dtype, device):
    """To the last bit: as if they had been given in float32. A gradient is rounded once, to the dtype of its input."""
    function, example = function_of(entry, device), EXAMPLES[entry]
    half = example.arguments(SMALL, device=device, dtype=dtype)

    results, gradients = results_and_gradients(function, entry, half)
    wide_results, wide_gradients = results_and_gradients(function, entry, _widened(half, example.gradient))

    handed_on = [result.dtype in HALVES for result in results]
    assert any(handed_on) is (entry.partition(":")[0] in HANDED_ON)
    rounded = [wide.to(dtype) if half else wide for wide, half in zip(wide_results, handed_on, strict=True)]
    torch.testing.assert_close(results, rounded, rtol=0, atol=0, equal_nan=True)
    if not any(handed_on):  # of a rounded result the loss, too, is another one
        expected = [gradient.to(dtype) for gradient in wide_gradients]
        torch.testing.assert_close(gradients, expected, rtol=0, atol=0, equal_nan=True)


def test_a_matrix_product_under_autocast_is_noticed():
    """The operator that autocast is made for."""
    with Halves() as halves:
        _under_autocast(lambda x: x @ x.T, "cpu")(x=torch.eye(3))

    assert halves.made_by
