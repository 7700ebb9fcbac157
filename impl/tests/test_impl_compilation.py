"""Every public function compiles into one graph, which serves every size, and gives what it gives uncompiled."""

import pytest
import torch
from example_inputs import (
    DEVICES,
    EXAMPLES,
    LARGER,
    OTHERWISE_ON_CPUS,
    SMALL,
    function_of,
    results_and_gradients,
)

pytestmark = [
    # torch.compile itself makes an instance of autograd.Function, which torch deprecates, and uses torch.jit
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
]


RUN_AS_IT_IS, INDUCTOR = "eager", "inductor"
"""Backends: the first runs the graph that was recorded, of which most of these tests are; the second generates code."""


def _compiles_into_one_graph(function, entry, device, backend=RUN_AS_IT_IS):
    """One size after another: an error at a graph break, at a second compilation, or at another result."""
    torch._dynamo.reset()
    example = EXAMPLES[entry]
    compiled = torch.compile(function, fullgraph=True, dynamic=True, backend=backend)
    sizes = [SMALL] if example.fixed else [SMALL, LARGER, example.large]
    if backend == INDUCTOR:
        sizes = sizes[:2]  # of its own accord it generates other code, of wider indices, where it sorts 32,767 or more
    for n in sizes:
        arguments = example.arguments(n, seed=n, device=device)
        expected = results_and_gradients(function, entry, arguments)
        with torch._dynamo.config.patch(error_on_recompile=n != SMALL):
            actual = results_and_gradients(compiled, entry, arguments)
        torch.testing.assert_close(actual, expected, equal_nan=True)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("entry", EXAMPLES)
def test_one_graph_for_all_sizes(entry, device):
    """No graph break, no second compilation where the number of candidates changes, and the results of eager code."""
    _compiles_into_one_graph(function_of(entry, device), entry, device)


@pytest.mark.parametrize("entry", OTHERWISE_ON_CPUS)
@pytest.mark.usefixtures("as_on_a_device")
def test_one_graph_for_all_sizes_on_a_device(entry):
    """The same without the operators of CPUs."""
    _compiles_into_one_graph(function_of(entry, "cpu"), entry, "cpu")


GENERATED = ("sigmoid_focal_loss", "random_sampling")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(entry, marks=() if entry in GENERATED else pytest.mark.slow)
        for entry, example in EXAMPLES.items()
        if example.gradient or entry in GENERATED
    ],
)
def test_generated_code_gives_the_same(entry, device):
    """Forward and backward by the compiler's own backend: of two functions, or of all losses with `-m slow`."""
    _compiles_into_one_graph(function_of(entry, device), entry, device, INDUCTOR)


WRONG = {
    "breaks the graph": (lambda boxes: boxes if boxes.sum() > 0 else -boxes, torch._dynamo.exc.Unsupported),
    "loops over candidates": (
        lambda boxes: torch.stack([boxes[:, i] for i in range(boxes.shape[1])]),
        torch._dynamo.exc.RecompileError,
    ),
    "takes large tensors apart": (
        lambda boxes: boxes * 2 if boxes.numel() > 2**18 else boxes + boxes,
        torch._dynamo.exc.RecompileError,
    ),
    "differs when compiled": (lambda boxes: boxes * (2 if torch.compiler.is_compiling() else 3), AssertionError),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_compile_is_noticed(name):
    function, error = WRONG[name]

    with pytest.raises(error):
        _compiles_into_one_graph(function, "box_area", "cpu")
