"""The fast class-balanced loss."""

import numpy as np
import pytest
import torch

import steelyard.impl as room
from steelyard import reference

KINDS = pytest.mark.parametrize("kind", ["softmax", "sigmoid", "focal"])
COUNTS = [5000, 0, 60, 3]


def inputs(dtype=torch.float64, scale=4.0, samples=40):
    generator = torch.Generator().manual_seed(0)
    logits = (scale * torch.randn((samples, 4), generator=generator, dtype=torch.float64)).to(dtype)
    return logits, torch.randint(-1, 4, (samples,), generator=generator), torch.tensor(COUNTS)


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.999, 1 - 2.0**-40, 1.0])
@pytest.mark.parametrize("counts", [COUNTS, [0, 0], [1], [2.5, 0.5, 10.0**12]])
def test_weights_are_those_of_the_reference(beta, counts):
    """In float64, whatever comes in."""
    found = room.class_balanced_weights(torch.tensor(counts), beta=beta)

    expected = reference.class_balanced_weights(np.float32(counts), beta=beta)
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-14, atol=0)


@KINDS
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_value_and_gradient_are_those_of_the_reference(kind, dtype, scale):
    """Half precisions in float32; the gradient comes back in the format of the logits."""
    logits, labels, counts = inputs(dtype, scale)
    logits.requires_grad_()

    loss = room.class_balanced_loss(logits, labels, counts, kind=kind, gamma=1.5)
    loss.backward()

    exact = logits.detach().double().numpy()
    value = reference.class_balanced_loss(exact, labels.numpy(), COUNTS, kind=kind, gamma=1.5)
    slopes = reference.class_balanced_loss_grad(exact, labels.numpy(), COUNTS, kind=kind, gamma=1.5)
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    tolerance = {torch.float64: 1e-13, torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}
    assert loss.item() == pytest.approx(float(value), rel=1e-13 if dtype == torch.float64 else 2e-6)
    torch.testing.assert_close(
        logits.grad.double(), torch.from_numpy(slopes), rtol=tolerance[dtype], atol=tolerance[dtype] * 1e-3
    )


@KINDS
def test_derivatives_of_first_and_second_order(kind):
    """Against finite differences."""
    logits, labels, counts = inputs(scale=2.0, samples=6)
    logits.requires_grad_()

    def loss(logits):
        return room.class_balanced_loss(logits, labels, counts, kind=kind, gamma=2.0)

    assert torch.autograd.gradcheck(loss, logits)
    assert torch.autograd.gradgradcheck(loss, logits)


@KINDS
def test_ignored_samples_may_hold_anything(kind):
    """NaN in an ignored sample reaches neither the value nor any gradient."""
    logits, labels, counts = inputs()
    spoilt = logits.clone()
    spoilt[labels == -1] = torch.nan
    spoilt.requires_grad_()

    loss = room.class_balanced_loss(spoilt, labels, counts, kind=kind)
    loss.backward()

    assert torch.equal(loss, room.class_balanced_loss(logits, labels, counts, kind=kind))
    assert torch.isfinite(spoilt.grad).all()


@KINDS
def test_no_sample_gives_0(kind):
    """An empty mini-batch, and one of which all is ignored."""
    logits, labels, counts = inputs()

    assert room.class_balanced_loss(logits[:0], labels[:0], counts, kind=kind) == 0
    assert room.class_balanced_loss(logits, torch.full_like(labels, -1), counts, kind=kind) == 0


def test_strides_and_inputs():
    """Transposed logits and int32 labels; nothing is written to."""
    logits, labels, counts = inputs()
    copies = logits.clone(), labels.clone(), counts.clone()

    for kind in ("softmax", "sigmoid", "focal"):
        plain = room.class_balanced_loss(logits, labels, counts, kind=kind)
        transposed = logits.t().contiguous().t()
        torch.testing.assert_close(room.class_balanced_loss(transposed, labels, counts, kind=kind), plain)

    for before, after in zip(copies, (logits, labels, counts), strict=True):
        assert torch.equal(before, after)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # raised inside torch
def test_runs_without_data_and_compiles_whole():
    """On the meta device, and in one graph with its gradient."""
    logits, labels, counts = inputs()

    def loss(logits, labels, counts):
        return room.class_balanced_loss(logits, labels, counts) + room.class_balanced_loss(
            logits, labels, counts, kind="focal"
        )

    assert loss(*(tensor.to("meta") for tensor in (logits, labels, counts))).shape == ()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    leaves = [logits.clone().requires_grad_() for _ in range(2)]
    for function, leaf in zip((loss, compiled), leaves, strict=True):
        function(leaf, labels, counts).backward()
    torch.testing.assert_close(compiled(logits, labels, counts), loss(logits, labels, counts))
    torch.testing.assert_close(leaves[0].grad, leaves[1].grad)


def test_maps_over_images():
    """Through vmap, with each image's own gradient."""
    logits, labels, counts = inputs()
    batch, batch_labels = logits.view(4, 10, 4), labels.view(4, 10)

    slopes = torch.func.vmap(torch.func.grad(room.class_balanced_loss), in_dims=(0, 0, None))(
        batch, batch_labels, counts
    )

    single = torch.func.grad(room.class_balanced_loss)(batch[1], batch_labels[1], counts)
    torch.testing.assert_close(slopes[1], single)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": torch.zeros(2)}, r"logits: expected shape \(R, C\)"),
        ({"logits": torch.zeros(2, 1)}, "C >= 2"),
        ({"logits": torch.zeros(2, 2, dtype=torch.long)}, "logits: expected a floating dtype"),
        ({"labels": torch.zeros(3, dtype=torch.long)}, "labels: expected shape"),
        ({"counts": torch.ones(3)}, "counts: expected shape"),
        ({"counts": torch.ones(2, 2)}, "counts: expected a tensor of shape"),
        ({"kind": "hinge"}, "kind: expected one of"),
        ({"beta": 1.5}, "beta"),
        ({"gamma": -1.0}, "gamma"),
    ],
)
def test_bad_input_is_refused(change, message):
    """Shapes, dtypes, names and numbers."""
    arguments = {"logits": torch.zeros(2, 2), "labels": torch.zeros(2, dtype=torch.long), "counts": torch.ones(2)}

    with pytest.raises((TypeError, ValueError), match=message):
        room.class_balanced_loss(**{**arguments, **change})
