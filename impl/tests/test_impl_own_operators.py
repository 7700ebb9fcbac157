"""Operators of our own keep to what PyTorch demands of an operator."""

import importlib
import pkgutil

import pytest
import torch
from example_inputs import DEVICES, EXAMPLES, OTHERWISE_ON_CPUS, SMALL, Draw, function_of, results_and_gradients
from torch import Tensor
from torch._library.custom_ops import OPDEFS
from torch.testing._internal.optests import OpCheckError

import steelyard.impl as room
from steelyard.impl import cpu_operators


def _suppress(draw, n):
    return draw.boxes(2, n), draw.integers(0, 3, 2, n), draw.boolean(2, n), 0.5


def _leaders(draw, n):
    return draw.boxes(2, n), draw.boolean(2, n), 0.5


def _lowest_in_rows(draw, n):
    return draw.uniform(2, n), draw.boolean(2, n), draw.integers(0, n + 1, 2, 1)


def _lowest_of_groups_in_rows(draw, n):
    return draw.uniform(2, n), draw.integers(-1, 2, 2, n), draw.integers(0, n + 1, 2, 1), 2


def _draw_in_rows(draw, n):
    return draw.integers(-1, 4, 2, n), torch.tensor([3, 4]), 3, 20, 5, 2.5


def _lowest_sample_in_rows(draw, n):
    return draw.integers(-1, 4, 2, n), draw.uniform(2, n), 3, 20, 5, None


OPERATORS = {"steelyard::suppress": _suppress, "steelyard::leaders": _leaders}
ON_CPUS = {
    "steelyard::lowest_in_rows": _lowest_in_rows,
    "steelyard::lowest_of_groups_in_rows": _lowest_of_groups_in_rows,
    "steelyard::draw_in_rows": _draw_in_rows,
    "steelyard::lowest_sample_in_rows": _lowest_sample_in_rows,
}
"""Arguments of each, for `n` boxes or candidates."""


def test_every_operator_of_the_package_is_checked():
    """All modules are imported, however an operator is defined; PyTorch knows them by their namespace."""
    for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
        importlib.import_module(module.name)

    assert {name for name in torch._C._dispatch_get_all_op_names() if name.startswith("steelyard::")} == {
        *OPERATORS,
        *ON_CPUS,
    }


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("n", [0, 1, 300])
@pytest.mark.parametrize("name", OPERATORS)
def test_operator_is_a_good_citizen(name, n, device):
    """Schema, fake implementation, and behaviour when compiled with dynamic shapes; 300 boxes are two blocks."""
    arguments = [value.to(device) if isinstance(value, Tensor) else value for value in OPERATORS[name](Draw(0), n)]

    assert set(torch.library.opcheck(OPDEFS[name], arguments).values()) == {"SUCCESS"}


@pytest.mark.parametrize("n", [0, 1, 300])
@pytest.mark.parametrize("name", ON_CPUS)
def test_operator_of_cpus_is_a_good_citizen(name, n):
    """The same."""
    operator = getattr(torch.ops.steelyard, name.partition("::")[2]).default

    assert set(torch.library.opcheck(operator, ON_CPUS[name](Draw(0), n)).values()) == {"SUCCESS"}


def test_it_is_known_which_functions_use_those_of_cpus(monkeypatch):
    """The others do the same on every device."""
    asked = []
    monkeypatch.setattr(cpu_operators, "used_for", lambda tensor: asked.append(tensor) or True)
    found = []
    for entry, example in EXAMPLES.items():
        asked.clear()
        results_and_gradients(function_of(entry, "cpu"), entry, example.arguments(SMALL, device="cpu"))
        if asked:
            found.append(entry.partition(":")[0])

    assert set(found) == set(OTHERWISE_ON_CPUS)


def test_a_wrong_fake_implementation_is_noticed():
    with torch.library._scoped_library("steelyard_test", "FRAGMENT") as library:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda x: torch.cat([x, x]), "CompositeExplicitAutograd")
        torch.library.register_fake("steelyard_test::twice", torch.empty_like, lib=library)

        with pytest.raises(OpCheckError, match="test_faketensor"):
            torch.library.opcheck(torch.ops.steelyard_test.twice.default, (torch.ones(3),))
