"""The table of examples is complete, and no example is so small that nothing happens in it."""

from inspect import isclass, signature

import pytest
import torch
from example_inputs import EXAMPLES, HOST, SMALL, function_of, results_and_gradients
from torch.utils.data import Sampler

import steelyard.impl as room

PUBLIC = {name for name, value in vars(room).items() if callable(value)}


def _unlisted(public, examples, host):
    """Public names without an entry, and entries without a public name."""
    return public ^ ({entry.partition(":")[0] for entry in examples} | set(host))


def _tensors_never_given(name):
    """Tensor parameters that no example of a function fills."""
    function = getattr(room, name)
    wanted = {
        parameter.name
        for parameter in signature(function).parameters.values()
        if "Tensor" in str(parameter.annotation) or "Census" in str(parameter.annotation)
    }
    for entry, example in EXAMPLES.items():
        if entry.partition(":")[0] == name:
            wanted -= example.arguments(SMALL).keys() | example.options.keys()
    return wanted


def test_every_public_function_has_an_example():
    assert _unlisted(PUBLIC, EXAMPLES, HOST) == set()


def test_a_function_without_an_example_and_an_example_without_a_function_are_noticed():
    assert _unlisted({*PUBLIC, "new_loss"}, EXAMPLES, HOST) == {"new_loss"}
    assert _unlisted(PUBLIC - {"box_area"}, EXAMPLES, HOST) == {"box_area"}


@pytest.mark.parametrize("name", sorted({entry.partition(":")[0] for entry in EXAMPLES}))
def test_every_tensor_that_a_function_takes_is_given_in_an_example(name):
    assert _tensors_never_given(name) == set()


@pytest.mark.parametrize("name", HOST)
def test_what_has_no_example_is_code_of_the_host(name):
    """A sampler of a data loader, or a function between plain numbers."""
    value = getattr(room, name)
    if isclass(value):
        assert issubclass(value, Sampler)
    else:
        assert "Tensor" not in str(signature(value))


@pytest.mark.parametrize("entry", EXAMPLES)
def test_results_and_gradients_depend_on_the_tensors(entry):
    """Two draws give two results, and no gradient of an example is 0 everywhere."""
    function, example = function_of(entry), EXAMPLES[entry]
    results, gradients = results_and_gradients(function, entry, example.arguments(SMALL))
    others, _ = results_and_gradients(function, entry, example.arguments(SMALL, seed=1))

    differ = any(not torch.equal(one, other) for one, other in zip(results, others, strict=True))
    assert differ is bool(example.arguments(SMALL).keys() - example.sizes(SMALL).keys())
    assert all(gradient.any() for gradient in gradients)
