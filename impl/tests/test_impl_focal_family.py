"""The focal-loss family: agreement with the specification, derivatives, and the promises of the implementation."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import steelyard.impl as room
from steelyard import reference

SHAPE, CLASSES = (2, 7), 5
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}
TRACES_AUTOGRAD_FUNCTIONS = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def elements(dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = (torch.randn(*SHAPE, CLASSES, generator=generator, dtype=torch.float64) * 5).to(dtype)
    return x, torch.randint(0, 2, (*SHAPE, CLASSES), generator=generator)


def labelled(dtype=torch.float64, seed=0, background=CLASSES):
    x, _ = elements(dtype, seed)
    labels = torch.randint(-1, background + 1, SHAPE, generator=torch.Generator().manual_seed(seed + 1))
    labels[0, 0], labels[0, 1], labels[0, 2] = -1, background, 0
    return x, labels


def background_in_the_last_channel(dtype=torch.float64, seed=0):
    return labelled(dtype, seed, CLASSES - 1)


FAMILY = {
    "sigmoid_focal_loss": elements,
    "sigmoid_focal_loss_with_labels": labelled,
    "softmax_focal_loss": background_in_the_last_channel,
    "focal_loss_star": elements,
}
each = pytest.mark.parametrize("name", FAMILY)


def numpy(tensor):
    return tensor.double().numpy() if tensor.is_floating_point() else tensor.numpy()


def loss_and_gradient(name, x, y, **options):
    x = x.detach().requires_grad_()
    loss = getattr(room, name)(x, y, **options)
    upstream = torch.linspace(-1, 2, loss.numel(), dtype=loss.dtype).reshape(loss.shape)
    (gradient,) = torch.autograd.grad(loss, x, upstream)
    return loss.detach(), gradient, upstream


@each
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_agrees_with_the_specification(name, dtype, gamma):
    """Value and gradient with an upstream gradient; half precision is computed in float32 and returned so."""
    x, y = FAMILY[name](dtype)

    loss, gradient, upstream = loss_and_gradient(name, x, y, gamma=gamma)

    expected = getattr(reference, name)(numpy(x), numpy(y), gamma=gamma)
    slope = getattr(reference, f"{name}_grad")(numpy(x), numpy(y), gamma=gamma)
    spread = numpy(upstream).reshape(*upstream.shape, *[1] * (x.ndim - upstream.ndim))
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert gradient.dtype == dtype
    np.testing.assert_allclose(numpy(loss), expected, rtol=min(TOLERANCE[dtype], 2e-5), atol=1e-30)
    np.testing.assert_allclose(numpy(gradient), slope * spread, rtol=TOLERANCE[dtype], atol=1e-6)


@each
def test_first_and_second_derivative(name):
    """gradcheck and gradgradcheck, with a logit at exactly 0, where the parts of the formula have kinks."""
    x, y = FAMILY[name]()
    x = (x[:1, :3] * 0.3).clone()
    x[0, 0, 0] = 0.0
    y = y[:1, :3]

    assert torch.autograd.gradcheck(lambda x: getattr(room, name)(x, y), x.requires_grad_())
    assert torch.autograd.gradgradcheck(lambda x: getattr(room, name)(x, y), x)


@each
def test_keeps_its_inputs_and_nothing_of_their_size(name):
    """Saved for the backward pass: the logits and the targets, in the caller's memory; neither is written to.

    Of a softmax besides: three numbers of an anchor.
    """
    x, y = FAMILY[name]()
    x.requires_grad_()
    before = x.detach().clone(), y.clone()
    saved = []

    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        loss = getattr(room, name)(x, y)
    loss.sum().backward()

    owned = {tensor.untyped_storage().data_ptr() for tensor in (x, y)}
    further = [tensor for tensor in saved if tensor.untyped_storage().data_ptr() not in owned]
    assert len(saved) - len(further) == len(owned)
    assert [tensor.numel() for tensor in further] == ([y.numel()] * 3 if name == "softmax_focal_loss" else [])
    assert torch.equal(x.detach(), before[0])
    assert torch.equal(y, before[1])


class Operators(TorchDispatchMode):
    """Every operator that is dispatched."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


@each
def test_never_waits_for_the_device(name):
    """No operator that looks at a value or makes a shape from one, forward or backward."""
    x, y = FAMILY[name]()
    x.requires_grad_()

    with Operators() as operators:
        getattr(room, name)(x, y).sum().backward()

    assert not operators.names & {"_local_scalar_dense", "nonzero", "masked_select", "item", "index", "unique"}
    assert "exp" in operators.names


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_peak_memory(name, dtype):
    """Beyond the loss and the gradient themselves: at most 1.5 times the logits, forward and backward."""
    x = torch.randn(2, 8000, 40).to(dtype).requires_grad_()
    labels = torch.randint(-1, 39, (2, 8000))
    y = labels if FAMILY[name] is not elements else torch.randint(0, 2, x.shape)

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        loss = getattr(room, name)(x, y)
        upstream = torch.ones_like(loss)
        loss.backward(upstream)

    changes = [event.nbytes() for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    own = sum(t.untyped_storage().nbytes() for t in (loss, upstream, x.grad))
    logits = x.untyped_storage().nbytes()
    assert own <= np.cumsum(changes).max() <= own + 1.5 * logits


@each
def test_runs_without_data(name):
    """On the meta device nothing can look at a value."""
    x, y = (tensor.to("meta") for tensor in FAMILY[name]())
    x.requires_grad_()

    loss = getattr(room, name)(x, y)
    loss.sum().backward()

    assert loss.is_meta
    assert x.grad.shape == x.shape


@each
@TRACES_AUTOGRAD_FUNCTIONS
def test_compiles_whole(name):
    """No graph break, forward and backward, and the same numbers."""
    x, y = FAMILY[name](torch.float32)
    x.requires_grad_()
    compiled = torch.compile(getattr(room, name), fullgraph=True, backend="aot_eager")

    loss = compiled(x, y)
    (gradient,) = torch.autograd.grad(loss.sum(), x)

    expected, *_ = loss_and_gradient(name, x, y)
    torch.testing.assert_close(loss.detach(), expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(getattr(room, name)(x, y).sum(), x)[0])


@each
def test_is_one_function_an_image_under_vmap(name):
    """Mapped over images it gives what the batch gives."""
    x, y = FAMILY[name]()
    function = getattr(room, name)

    torch.testing.assert_close(torch.func.vmap(function)(x, y), function(x, y))
    torch.testing.assert_close(
        torch.func.vmap(torch.func.grad(lambda x, y: function(x, y).sum()))(x, y),
        torch.func.grad(lambda x: function(x, y).sum())(x),
    )


@each
def test_any_layout(name):
    """Transposed and strided logits give the same."""
    x, y = FAMILY[name]()
    strided = torch.stack([x, x], dim=-1)[..., 0]
    turned = x.transpose(0, 1).contiguous().transpose(0, 1)

    expected = getattr(room, name)(x, y)
    torch.testing.assert_close(getattr(room, name)(strided, y), expected)
    torch.testing.assert_close(getattr(room, name)(turned, y), expected)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x, y: room.sigmoid_focal_loss(x, y.double()), TypeError, "targets: expected a bool or integer dtype"),
        (lambda x, y: room.sigmoid_focal_loss(x.int(), y), TypeError, "logits: expected a floating dtype"),
        (lambda x, y: room.sigmoid_focal_loss(x.numpy(), y), TypeError, "logits: expected a torch.Tensor, got ndarray"),
        (lambda x, y: room.sigmoid_focal_loss(x, y[:1]), ValueError, r"targets: expected shape \(2, 7, 5\)"),
        (lambda x, y: room.sigmoid_focal_loss(x, y, gamma=-1), ValueError, "gamma: expected a number >= 0, got -1"),
        (lambda x, y: room.focal_loss_star(x, y, gamma=0), ValueError, "gamma: expected a number > 0, got 0"),
        (lambda x, y: room.softmax_focal_loss(x[..., :1], y[..., 0]), ValueError, "logits: expected shape"),
        (room.softmax_focal_loss, ValueError, "labels: expected shape"),
        (lambda *_: room.prior_probability_bias(0.0), ValueError, "prior: expected a number strictly between"),
        (
            lambda x, y: room.normalise_focal_loss(x, y[..., 0], num_classes=5, normaliser="x"),
            ValueError,
            "normaliser:",
        ),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    """Each refusal says which argument, what was expected and what came."""
    with pytest.raises(error, match=message):
        call(*elements())
