"""On a CUDA device: what it gives, that the host never waits, and that a CUDA graph of every call can be replayed.

What only a device can show. Without one, the other tests of the same examples are the proof (docs/gpu.md).
"""

import pytest
import torch
from example_inputs import EXAMPLES, LARGER, SMALL, function_of, results_and_gradients
from torch import Tensor
from torch.utils._pytree import tree_leaves

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture
def an_error_where_the_host_waits():
    """The host may wait before and after, for transfers and comparisons."""
    torch.cuda.synchronize()

    class Mode:
        def __enter__(self):
            torch.cuda.set_sync_debug_mode("error")

        def __exit__(self, *raised):
            torch.cuda.set_sync_debug_mode("default")

    return Mode()


@pytest.mark.parametrize("n", [SMALL, LARGER])
@pytest.mark.parametrize("entry", EXAMPLES)
def test_as_on_the_cpu_and_without_waiting(entry, n, an_error_where_the_host_waits):
    arguments = EXAMPLES[entry].arguments(n, device="cuda")

    with an_error_where_the_host_waits:
        on_device = results_and_gradients(function_of(entry, "cuda"), entry, arguments)

    on_host = results_and_gradients(function_of(entry), entry, EXAMPLES[entry].arguments(n))
    torch.testing.assert_close(on_device, on_host, equal_nan=True, check_device=False)


def test_waiting_is_an_error(an_error_where_the_host_waits):
    with an_error_where_the_host_waits, pytest.raises(RuntimeError, match="synchroniz"):
        torch.ones(3, device="cuda").nonzero()


@pytest.mark.parametrize("entry", EXAMPLES)
def test_a_cuda_graph_can_be_replayed(entry):
    """Captured with the numbers of one draw, replayed with those of another, forward and backward."""
    function, example = function_of(entry, "cuda"), EXAMPLES[entry]
    arguments = example.arguments(SMALL, device="cuda")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # once before the capture, as CUDA graphs want it
        results_and_gradients(function, entry, arguments)
    torch.cuda.current_stream().wait_stream(stream)

    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        replayed = results_and_gradients(function, entry, arguments)
    others = example.arguments(SMALL, seed=1, device="cuda")
    with torch.no_grad():
        for static, other in zip(_tensors(arguments), _tensors(others), strict=True):
            static.copy_(other)
    graph.replay()

    torch.testing.assert_close(replayed, results_and_gradients(function, entry, others), equal_nan=True)


def test_a_call_that_looks_at_a_value_cannot_be_captured():
    x = torch.ones(3, device="cuda")

    with pytest.raises(RuntimeError), torch.cuda.graph(torch.cuda.CUDAGraph()):
        x.nonzero()


def _tensors(arguments):
    return [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor)]
