"""The fast equalization loss v2."""

import numpy as np
import pytest
import torch

import steelyard.impl as room
from steelyard import reference


def inputs(dtype=torch.float64, scale=3.0, samples=40):
    generator = torch.Generator().manual_seed(0)
    logits = (scale * torch.randn((samples, 5), generator=generator, dtype=torch.float64)).to(dtype)
    up = torch.tensor([3.0, 0.0, 0.0, 5.0], dtype=torch.float64)
    down = torch.tensor([2.5, 40.0, 0.0, 6.0], dtype=torch.float64)
    weights = torch.rand(samples, generator=generator, dtype=torch.float64).to(dtype)
    return logits, torch.randint(-1, 5, (samples,), generator=generator), up, down, weights


@pytest.mark.parametrize("options", [{}, {"reduction": "sum", "alpha": 0.0}, {"reduction": "none", "gamma": 2.0}])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_answers_are_those_of_the_reference(dtype, options):
    """Half precisions in float32; the gradient comes back in the format of the logits."""
    logits, labels, up, down, weights = inputs(dtype)
    logits.requires_grad_()

    found = room.equalization_loss_v2(logits, labels, up, down, weights, **options)
    found.loss.sum().backward()

    exact = logits.detach().double().numpy(), labels.numpy(), up.numpy(), down.numpy(), weights.double().numpy()
    wanted = reference.equalization_loss_v2(*exact, **options)
    slope = torch.from_numpy(reference.equalization_loss_v2_grad(*exact, **options))
    near = 1e-12 if dtype == torch.float64 else 2e-5
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        torch.testing.assert_close(one.double(), torch.as_tensor(other), rtol=near, atol=near)
    rounding = {torch.float64: 1e-12, torch.float32: 2e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}[dtype]
    torch.testing.assert_close(logits.grad.double(), slope, rtol=rounding, atol=rounding)


def test_derivatives():
    """Of first and second order, by the logits and by the weights; what is added up carries no graph."""
    logits, labels, up, down, weights = inputs(scale=2.0, samples=6)
    leaves = logits.requires_grad_(), weights.requires_grad_()

    def loss(logits, weights):
        return room.equalization_loss_v2(logits, labels, up, down, weights).loss

    assert torch.autograd.gradcheck(loss, leaves)
    assert torch.autograd.gradgradcheck(loss, leaves)
    _, new_up, new_down = room.equalization_loss_v2(*leaves[:1], labels, up.requires_grad_(), down, weights)
    assert not new_up.requires_grad
    assert not new_down.requires_grad


def test_ignored_samples_may_hold_anything():
    """NaN in them, and in their weights, reaches neither values nor gradients."""
    logits, labels, up, down, weights = inputs()
    spoilt, heavy = logits.clone(), weights.clone()
    spoilt[labels == -1], heavy[labels == -1] = torch.nan, torch.nan
    spoilt.requires_grad_()

    found = room.equalization_loss_v2(spoilt, labels, up, down, heavy)
    found.loss.backward()

    for one, other in zip(found, room.equalization_loss_v2(logits, labels, up, down, weights), strict=True):
        assert torch.equal(one, other)
    assert torch.isfinite(spoilt.grad).all()


def test_no_sample_and_strides():
    """An empty mini-batch changes nothing; transposed logits and int32 labels give the same."""
    logits, labels, up, down, _ = inputs()

    loss, new_up, new_down = room.equalization_loss_v2(logits[:0], labels[:0], up, down)
    assert loss == 0
    assert torch.equal(new_up, up)
    assert torch.equal(new_down, down)
    for one, other in zip(
        room.equalization_loss_v2(logits.t().contiguous().t(), labels.int(), up, down),
        room.equalization_loss_v2(logits, labels, up, down),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_training_balances_the_gradients():
    """A rare class: state in, state out, as the reference's over ten steps."""
    logits, labels, *_ = inputs()
    labels = torch.where(labels == 3, 4, labels)
    labels[0] = 3
    state = exact = torch.zeros(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    for _ in range(10):
        state = room.equalization_loss_v2(logits, labels, *state)[1:]
        exact = reference.equalization_loss_v2(logits.numpy(), labels.numpy(), *map(np.asarray, exact))[1:]

    for one, other in zip(state, exact, strict=True):
        torch.testing.assert_close(one, torch.as_tensor(other), rtol=1e-11, atol=0.0)
    p = torch.sigmoid(logits[labels >= 0, 3])
    unweighted = (1.0 - p[0]) / p[1:].sum()
    assert state[0][3] / state[1][3] > 2.0 * unweighted


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # raised inside torch
def test_runs_without_data_and_compiles_whole():
    """On the meta device, and in one graph with its gradient."""
    logits, labels, up, down, weights = inputs()

    def loss(logits, labels, up, down, weights):
        return room.equalization_loss_v2(logits, labels, up, down, weights)[0]

    assert loss(*(tensor.to("meta") for tensor in (logits, labels, up, down, weights))).shape == ()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    leaves = [logits.clone().requires_grad_() for _ in range(2)]
    for function, leaf in zip((loss, compiled), leaves, strict=True):
        function(leaf, labels, up, down, weights).backward()
    torch.testing.assert_close(leaves[0].grad, leaves[1].grad)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": torch.zeros(2)}, r"logits: expected shape \(R, C \+ 1\)"),
        ({"labels": torch.zeros(3, dtype=torch.long)}, "labels: expected shape"),
        ({"positive_gradients": torch.ones(5)}, "positive_gradients: expected shape"),
        ({"negative_gradients": torch.ones(3)}, "negative_gradients: expected shape"),
        ({"weights": torch.ones(3)}, "weights: expected shape"),
        ({"gamma": 0.0}, "gamma: expected"),
        ({"alpha": -1.0}, "alpha: expected"),
        ({"reduction": "average"}, "reduction: expected one of"),
    ],
)
def test_bad_input_is_refused(change, message):
    """Each with its name."""
    arguments = {
        "logits": torch.zeros(2, 5), "labels": torch.zeros(2, dtype=torch.long),
        "positive_gradients": torch.ones(4), "negative_gradients": torch.ones(4),
    }  # fmt: skip

    with pytest.raises(ValueError, match=message):
        room.equalization_loss_v2(**{**arguments, **change})
