"""The fast seesaw loss."""

import pytest
import torch

import steelyard.impl as room
from steelyard import reference

COUNTS = [100_000, 0, 60, 3, 700]


def inputs(dtype=torch.float64, scale=3.0, samples=40):
    generator = torch.Generator().manual_seed(0)
    logits = (scale * torch.randn((samples, 5), generator=generator, dtype=torch.float64)).to(dtype)
    return logits, torch.randint(-1, 6, (samples,), generator=generator), torch.tensor(COUNTS)


@pytest.mark.parametrize("options", [{}, {"p": 0.0}, {"q": 0.0}, {"epsilon": None}, {"p": 2.0, "epsilon": 0.5}])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_value_and_gradient_are_those_of_the_reference(dtype, options):
    """Half precisions in float32, the counts too; the gradient comes back in the format of the logits."""
    logits, labels, counts = inputs(dtype)
    logits.requires_grad_()

    loss = room.seesaw_loss(logits, labels, counts, **options)
    loss.sum().backward()

    exact = logits.detach().double().numpy(), labels.numpy(), COUNTS
    value = torch.from_numpy(reference.seesaw_loss(*exact, **options))
    slope = torch.from_numpy(reference.seesaw_loss_grad(*exact, **options))
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    near = 1e-13 if dtype == torch.float64 else 2e-5
    rounding = {torch.float64: 1e-13, torch.float32: 2e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}[dtype]
    torch.testing.assert_close(loss.double(), value, rtol=near, atol=near)
    torch.testing.assert_close(logits.grad.double(), slope, rtol=rounding, atol=rounding)


def test_derivatives_with_constant_factors():
    """Of first and second order: those of the cross entropy at moved logits, whose factors are held."""
    logits, labels, counts = inputs(scale=2.0, samples=6)
    moved = room.seesaw_loss(logits, labels, counts)
    leaf = logits.clone().requires_grad_()
    (slope,) = torch.autograd.grad(room.seesaw_loss(leaf, labels, counts).sum(), leaf, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.square().sum(), leaf)

    # with p and q 0 nothing is held, and differences must agree
    assert torch.autograd.gradcheck(lambda z: room.seesaw_loss(z, labels, counts, q=0.0), leaf)
    assert torch.autograd.gradgradcheck(lambda z: room.seesaw_loss(z, labels, counts, q=0.0), leaf)
    has_class = (labels >= 0) & (labels < 5)
    assert (moved[has_class] > 0).all()
    assert torch.isfinite(curvature).all()
    assert not slope[~has_class].any()


def test_samples_without_a_class_may_hold_anything():
    """NaN in a background or ignored sample reaches neither the values nor any gradient."""
    logits, labels, counts = inputs()
    spoilt = logits.clone()
    without = (labels == -1) | (labels == 5)
    spoilt[without] = torch.nan
    spoilt.requires_grad_()

    loss = room.seesaw_loss(spoilt, labels, counts)
    loss.sum().backward()

    assert torch.equal(loss, room.seesaw_loss(logits, labels, counts))
    assert not loss[without].any()
    assert torch.isfinite(spoilt.grad).all()


def test_no_sample_and_strides():
    """An empty mini-batch; transposed logits, int32 labels and float counts give the same."""
    logits, labels, counts = inputs()
    plain = room.seesaw_loss(logits, labels, counts)

    assert room.seesaw_loss(logits[:0], labels[:0], counts).shape == (0,)
    other = room.seesaw_loss(logits.t().contiguous().t(), labels.int(), counts.double())
    torch.testing.assert_close(other, plain)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # raised inside torch
def test_runs_without_data_and_compiles_whole():
    """On the meta device, and in one graph with its gradient."""
    logits, labels, counts = inputs()

    def loss(logits, labels, counts):
        return room.seesaw_loss(logits, labels, counts).sum()

    assert loss(*(tensor.to("meta") for tensor in (logits, labels, counts))).shape == ()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    leaves = [logits.clone().requires_grad_() for _ in range(2)]
    for function, leaf in zip((loss, compiled), leaves, strict=True):
        function(leaf, labels, counts).backward()
    torch.testing.assert_close(compiled(logits, labels, counts), loss(logits, labels, counts))
    torch.testing.assert_close(leaves[0].grad, leaves[1].grad)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": torch.zeros(2)}, r"logits: expected shape \(R, C\)"),
        ({"labels": torch.zeros(3, dtype=torch.long)}, "labels: expected shape"),
        ({"counts": torch.ones(2)}, "counts: expected a tensor of shape"),
        ({"p": -1.0}, "p: expected"),
        ({"q": -1.0}, "q: expected"),
        ({"epsilon": 1.5}, "epsilon: expected"),
    ],
)
def test_bad_input_is_refused(change, message):
    """Each with its name."""
    arguments = {"logits": torch.zeros(2, 5), "labels": torch.zeros(2, dtype=torch.long), "counts": torch.ones(5)}

    with pytest.raises(ValueError, match=message):
        room.seesaw_loss(**{**arguments, **change})
