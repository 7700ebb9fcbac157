"""How many passes over the logits a loss and its gradient take when they are compiled.

A pass is a kernel that reads or writes a tensor of as many elements as the logits: on a device, little else than its
memory traffic takes time. The kernels are those that PyTorch's compiler plans, after it has fused what it can, for the
sum of the loss and for its gradient; they are counted before code is generated, so this takes no C++ compiler.
"""

import pytest
import torch
from example_inputs import EXAMPLES, function_of
from torch._functorch.aot_autograd import make_boxed_func
from torch._guards import detect_fake_mode
from torch.utils._pytree import tree_leaves

N = 10_007

AT_MOST = {
    "authentic_smooth_l1_loss": (2, 1),
    "class_balanced_loss": (1, 2),
    "classification_aware_regression_loss": (4, 2),
    "distribution_focal_loss": (2, 1),
    "exact_ghm_classification_loss": (9, 1),
    "exact_ghm_regression_loss": (9, 1),
    "focal_loss_star": (1, 1),
    "generalized_focal_detection_loss": (4, 4),
    "generalized_focal_loss": (2, 1),
    "ghm_classification_loss": (5, 1),
    "ghm_classification_loss_with_labels": (5, 1),
    "ghm_regression_loss": (5, 1),
    "quality_focal_loss": (1, 1),
    "quality_focal_loss_with_labels": (1, 1),
    "sigmoid_focal_loss": (1, 1),
    "sigmoid_focal_loss_with_labels": (4, 1),
    "softmax_focal_loss": (2, 2),
    "ssd_confidence_loss": (2, 2),
    "varifocal_loss": (1, 1),
    "varifocal_loss_with_labels": (3, 1),
}
"""Forward and backward, as planned for a CPU: where labels are compared with channels, or regions are looked up, its
kernels fuse less than those of a GPU. Who saves a pass lowers the number."""

pytestmark = [
    # torch.compile itself makes an instance of autograd.Function, which torch deprecates, and uses torch.jit
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
]


def _passes(loss, arguments, size):
    """Passes of a scalar function and of its gradient over tensors of `size` elements."""
    # here, since importing them warns
    from torch._inductor.compile_fx import _recursive_post_grad_passes, compile_fx, record_original_output_strides
    from torch._inductor.debug import DebugContext
    from torch._inductor.graph import GraphLowering
    from torch._inductor.virtualized import V

    counted = {}

    def plan(graph_module, inputs, *, is_backward=False, **_):
        mode = detect_fake_mode(inputs)
        record_original_output_strides(graph_module)
        with V.set_fake_mode(mode), V.set_debug_handler(DebugContext()):
            _recursive_post_grad_passes(graph_module, is_inference=False)
            graph = GraphLowering(
                graph_module, example_inputs=inputs, is_backward=is_backward, shape_env=mode.shape_env
            )
            with V.set_graph_handler(graph):
                graph.run(*inputs)
                graph._update_scheduler()
                counted[is_backward] = sum(_is_pass(graph, kernel, size) for kernel in graph.scheduler.nodes)
        return make_boxed_func(graph_module.forward)

    torch._dynamo.reset()
    compiled = torch.compile(
        loss, fullgraph=True, backend=lambda module, inputs: compile_fx(module, inputs, inner_compile=plan)
    )
    compiled(**arguments).backward()
    return counted[False], counted[True]


def _is_pass(graph, kernel, size):
    touched = kernel.get_read_write_buffer_accesses(include_reads=True, include_writes=True)
    return any(graph.get_numel(name) >= size for name in touched)


def _sum(function):
    """The loss of a batch, of which one number is left."""

    def loss(**arguments):
        return sum(leaf.sum() for leaf in tree_leaves(function(**arguments)) if leaf.requires_grad)

    return loss


@pytest.mark.parametrize("entry", AT_MOST)
def test_passes_over_the_logits(entry):
    example = EXAMPLES[entry]
    arguments = example.arguments(N)
    logits = arguments[example.gradient[0]]

    forward, backward = _passes(_sum(function_of(entry)), arguments, logits.numel())

    most_forward, most_backward = AT_MOST[entry]
    assert 1 <= forward <= most_forward
    assert 1 <= backward <= most_backward


def test_the_least_is_counted_as_one_and_one():
    x = torch.randn(N, requires_grad=True)

    assert _passes(lambda x: x.exp().sum(), {"x": x}, N) == (1, 1)


def test_further_passes_are_counted():
    """Here the largest element has to be known before anything else; the order, before the differences."""
    x = torch.randn(N, requires_grad=True)

    assert _passes(lambda x: (x - x.detach().amax()).exp().sum(), {"x": x}, N)[0] == 2
    assert _passes(lambda x: x.sort().values.diff().square().sum(), {"x": x}, N)[0] > 1
