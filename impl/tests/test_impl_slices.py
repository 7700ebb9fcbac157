"""Large tensors are computed in slices: same numbers, little memory besides loss and gradient."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from steelyard.impl import slices
from steelyard.impl.soft_sampling.distribution_focal_loss import distribution_expectation, distribution_focal_loss
from steelyard.impl.soft_sampling.generalized_focal_loss import generalized_focal_loss
from steelyard.impl.soft_sampling.quality_focal_loss import quality_focal_loss, quality_focal_loss_with_labels
from steelyard.impl.soft_sampling.varifocal_loss import varifocal_loss, varifocal_loss_with_labels

B, N, C, BINS = 4, 2100, 80, 17


def _cases(dtype):
    """Each loss with its differentiable input and the others; the sizes are NanoDet's at 320 pixels."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(B, N, C, generator=generator).to(dtype)
    labels = torch.randint(-1, C + 1, (B, N), generator=generator)
    quality, targets = torch.rand(B, N, generator=generator), torch.rand(B, N, C, generator=generator)
    z = torch.randn(B, N, 4, BINS, generator=generator).to(dtype)
    p = torch.rand(B, N, C, 2, generator=generator).to(dtype)
    distances = torch.rand(B, N, 4, generator=generator) * (BINS - 1)
    return {
        "quality_focal_loss": (quality_focal_loss, x, targets),
        "quality_focal_loss_with_labels": (quality_focal_loss_with_labels, x, labels, quality),
        "varifocal_loss": (varifocal_loss, x, targets),
        "varifocal_loss_with_labels": (varifocal_loss_with_labels, x, labels, quality),
        "distribution_focal_loss": (distribution_focal_loss, z, distances),
        "distribution_expectation": (distribution_expectation, z),
        "generalized_focal_loss": (generalized_focal_loss, p, targets, torch.zeros_like(x), torch.ones_like(x)),
    }


NAMES = sorted(_cases(torch.float32))


@pytest.fixture(autouse=True)
def _one_thread():
    """Several threads on shared cores spend their time waiting for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _forward_and_backward(function, x, *others):
    x = x.detach().requires_grad_()
    loss = function(x, *others)
    (gradient,) = torch.autograd.grad(loss, x, torch.ones((), dtype=loss.dtype).expand(loss.shape))
    return loss.detach(), gradient


def _peak_bytes(call):
    """Most memory that the CPU's allocator has handed out at once during a call, and what the call returned."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        result = call()
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak, result


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_forward_and_backward_need_little_besides_loss_and_gradient(name, dtype):
    """At most one and a half times the logits: nothing of their size is kept between the passes."""
    function, x, *others = _cases(dtype)[name]
    _forward_and_backward(function, x, *others)  # first call: caches

    peak, (loss, gradient) = _peak_bytes(lambda: _forward_and_backward(function, x, *others))

    assert peak > gradient.nbytes  # the profiler has seen the allocations
    assert peak - loss.nbytes - gradient.nbytes <= 1.5 * x.nbytes


@pytest.mark.parametrize("name", NAMES)
def test_slices_give_the_same_numbers(name, monkeypatch):
    """To the rounding of vectorised loops, in values and gradients, with a last slice that is shorter."""
    function, x, *others = _cases(torch.float32)[name]
    assert N % slices.SLICES_PER_WIDENING
    assert x.numel() >= slices.SMALL

    loss, gradient = _forward_and_backward(function, x, *others)

    monkeypatch.setattr(slices, "SMALL", float("inf"))
    whole, whole_gradient = _forward_and_backward(function, x, *others)
    # where the score is near a soft target, their distance cancels: the rounding is that of a score near 1
    torch.testing.assert_close(loss, whole, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(gradient, whole_gradient, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_slices_work_under_vmap_and_on_strided_inputs(name, monkeypatch):
    """Slicing is along logical axes: a batch axis in front, or axes in another order, do not matter."""
    monkeypatch.setattr(slices, "SMALL", 8)
    function, x, *others = _cases(torch.float32)[name]
    x, *others = (tensor[:, :37] for tensor in (x, *others))
    strided = [tensor.transpose(0, 1).contiguous().transpose(0, 1) for tensor in (x, *others)]

    mapped = torch.func.vmap(function)(x, *others)
    gradient = torch.func.vmap(torch.func.grad(lambda *inputs: function(*inputs).sum()))(x, *others)

    loss, expected = _forward_and_backward(function, *strided)
    torch.testing.assert_close(mapped, loss)
    torch.testing.assert_close(gradient, expected)


def test_second_derivatives_are_right_for_large_tensors(monkeypatch):
    """A backward pass that is recorded keeps its temporaries anyhow, and runs in one piece."""
    monkeypatch.setattr(slices, "SMALL", 2)
    x = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels, quality = torch.tensor([0, 1, 2, 3, -1, 0]), torch.full((6,), 0.4, dtype=torch.float64)

    assert torch.autograd.gradgradcheck(lambda x: quality_focal_loss_with_labels(x, labels, quality), x)
