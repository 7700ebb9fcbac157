"""Every public function compiles into one graph, which serves every size, and gives what it gives uncompiled."""

import pytest
import torch
from example_inputs import DEVICES, EXAMPLES, LARGER, SMALL, function_of, results_and_gradients

pytestmark = [
    # torch.compile itself makes an instance of autograd.Function, which torch deprecates
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
]


def _compiled_for_all_sizes(function, entry, device):
    """Call a compiled function with one size after another; an error if it does not become one graph for all of them.

    The backend runs the graph as it is, since what is looked at here is the graph.
    """
    torch._dynamo.reset()
    example = EXAMPLES[entry]
    compiled = torch.compile(function, fullgraph=True, dynamic=True, backend="eager")
    for n in [SMALL] if example.fixed else [SMALL, LARGER, example.large]:
        arguments = example.arguments(n, seed=n, device=device)
        with torch._dynamo.config.patch(error_on_recompile=n != SMALL):
            yield results_and_gradients(compiled, entry, arguments), results_and_gradients(function, entry, arguments)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("entry", EXAMPLES)
def test_one_graph_for_all_sizes(entry, device):
    """No graph break, and no second compilation where the number of candidates changes."""
    for compiled, eager in _compiled_for_all_sizes(function_of(entry, device), entry, device):
        torch.testing.assert_close(compiled, eager, equal_nan=True)
