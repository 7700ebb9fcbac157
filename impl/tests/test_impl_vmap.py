"""`torch.func.vmap` over calls gives what the calls give one by one, gradients included."""

import pytest
import torch
from example_inputs import DEVICES, EXAMPLES, OTHERWISE_ON_CPUS, SMALL, function_of
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

CALLS = 3


def _calls(entry, device):
    """Arguments of several calls: tensors of each, and the numbers that all share."""
    example = EXAMPLES[entry]
    sizes = example.sizes(SMALL)
    drawn = [example.arguments(SMALL, seed=seed, device=device) for seed in range(CALLS)]
    return [{name: value for name, value in one.items() if name not in sizes} for one in drawn], sizes


def _stacked(calls):
    return tree_map(lambda *values: torch.stack(values), *calls)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("entry", [entry for entry, example in EXAMPLES.items() if not example.alone])
def test_mapped_calls_are_single_calls(entry, device):
    _mapped_calls_are_single_calls(entry, device)


@pytest.mark.parametrize("entry", [entry for entry in OTHERWISE_ON_CPUS if not EXAMPLES[entry].alone])
@pytest.mark.usefixtures("as_on_a_device")
def test_mapped_calls_are_single_calls_on_a_device(entry):
    """The same without the operators of CPUs."""
    _mapped_calls_are_single_calls(entry, "cpu")


def _mapped_calls_are_single_calls(entry, device):
    function = function_of(entry, device)
    calls, sizes = _calls(entry, device)

    mapped = torch.func.vmap(lambda tensors: function(**tensors, **sizes))(_stacked(calls))

    single = [tree_leaves(function(**tensors, **sizes)) for tensors in calls]
    torch.testing.assert_close(tree_leaves(mapped), [torch.stack(values) for values in zip(*single, strict=True)],
                               equal_nan=True)  # fmt: skip


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("entry", [entry for entry, example in EXAMPLES.items() if example.gradient])
def test_mapped_gradients_are_single_gradients(entry, device):
    function, names = function_of(entry, device), EXAMPLES[entry].gradient
    calls, sizes = _calls(entry, device)
    calls = tree_map(Tensor.detach, calls)

    def loss(varied, others):
        results = [leaf for leaf in tree_leaves(function(**varied, **others, **sizes)) if leaf.is_floating_point()]
        return sum(result.square().sum() for result in results)

    varied = [{name: one[name] for name in names} for one in calls]
    others = [{name: value for name, value in one.items() if name not in names} for one in calls]
    mapped = torch.func.vmap(torch.func.grad(loss))(_stacked(varied), _stacked(others))

    single = [torch.func.grad(loss)(one, other) for one, other in zip(varied, others, strict=True)]
    torch.testing.assert_close(mapped, _stacked(single), equal_nan=True)
