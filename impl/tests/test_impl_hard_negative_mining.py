"""Hard negative mining, its loss and a round of bootstrapping on batches: the specification's choice, bit for bit."""

import numpy as np
import pytest
import torch

from steelyard import reference
from steelyard.impl import (
    hard_negative_mining,
    mine_false_positives,
    mine_random_false_positives,
    ssd_confidence_loss,
)

# torch.compile instantiates the class to trace it
TRACES_AUTOGRAD_FUNCTIONS = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def batch(seed, channels=4):
    """Logits whose background losses are far apart, and labels with ignored ones."""
    random = np.random.default_rng(seed)
    shape = (2, int(random.integers(1, 30)))
    logits = random.integers(-8, 9, (*shape, channels)) / 4
    margins = random.permuted(np.broadcast_to(np.arange(shape[1]), shape), axis=1) / 4 - 3
    logits[..., -1] = np.logaddexp.reduce(logits[..., :-1], axis=-1) + margins
    return logits, random.integers(-1, channels, shape)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.usefixtures("either_way")
def test_same_choice_as_specified(seed):
    """Few different losses, infinite ones, ignored candidates, images without positives, fractional ratios."""
    random = np.random.default_rng(seed)
    labels = random.integers(-1, 3 if seed % 4 else 1, (3, int(random.integers(0, 40))))
    losses = random.choice([0.0, 0.5, 1.0, -1.0, np.inf, -np.inf], labels.shape)
    options = {
        "num_classes": 2 if seed % 4 else 1,
        "negatives_per_positive": float(random.choice([0.0, 1.0, 2.5, 3.0])),
        "min_negatives": int(random.integers(0, 3)),
    }

    sample = hard_negative_mining(torch.from_numpy(losses), torch.from_numpy(labels), **options)

    expected = reference.hard_negative_mining(losses, labels, **options)
    np.testing.assert_array_equal(sample.positive.numpy(), expected.positive)
    np.testing.assert_array_equal(sample.negative.numpy(), expected.negative)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(5))
def test_same_loss_and_gradient_as_specified(seed, dtype):
    """In every format, halves computed in float32; the gradient in the format of the logits."""
    logits, labels = batch(seed)
    x = torch.from_numpy(logits).to(dtype).requires_grad_()

    loss = ssd_confidence_loss(x, torch.from_numpy(labels))
    loss.backward()

    exact = x.detach().double().numpy()
    roundoff = torch.finfo(dtype).eps
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    np.testing.assert_allclose(
        loss.item(), reference.ssd_confidence_loss(exact, labels), rtol=1e-14 if dtype == torch.float64 else 1e-5
    )
    np.testing.assert_allclose(
        x.grad.double().numpy(), reference.ssd_confidence_loss_grad(exact, labels), rtol=8 * roundoff, atol=roundoff
    )


def test_gradients_of_first_and_second_order():
    """Where no two losses are near each other the loss is smooth."""
    logits, labels = batch(3)
    x, y = torch.from_numpy(logits).requires_grad_(), torch.from_numpy(labels)

    assert torch.autograd.gradcheck(lambda z: ssd_confidence_loss(z, y), x)
    assert torch.autograd.gradgradcheck(lambda z: ssd_confidence_loss(z, y), x)


def test_ignored_logits_may_be_anything():
    """Padding of NaN spoils neither the loss nor a gradient."""
    logits, labels = batch(4)
    padded = np.concatenate([logits, np.full((2, 3, 4), np.nan)], axis=1)
    x = torch.from_numpy(padded).requires_grad_()

    loss = ssd_confidence_loss(x, torch.from_numpy(np.concatenate([labels, np.full((2, 3), -1)], axis=1)))
    loss.backward()

    assert loss.item() == pytest.approx(reference.ssd_confidence_loss(logits, labels), rel=1e-14)
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.usefixtures("either_way")
def test_same_round_of_bootstrapping_as_specified(seed):
    """Equal scores and keys, scores on the threshold, infinite ones; with and without a cap."""
    random = np.random.default_rng(seed)
    shape = (2, int(random.integers(0, 40)))
    scores, held = random.choice([-np.inf, -1.0, 0.0, 0.5, 1.0, np.inf], shape), random.random(shape) < 0.3
    keys, cap = random.integers(0, 16, shape) / 16, [None, 1, 5][seed % 3]
    tensors = [torch.from_numpy(array) for array in (scores, held, keys)]

    hardest = mine_false_positives(*tensors[:2], max_new=cap)
    drawn = mine_random_false_positives(*tensors, max_new=cap)

    np.testing.assert_array_equal(hardest.numpy(), reference.mine_false_positives(scores, held, max_new=cap))
    np.testing.assert_array_equal(drawn.numpy(), reference.mine_random_false_positives(scores, held, keys, max_new=cap))


def everything(logits, labels):
    scores, held = logits.amax(-1), labels < 0
    keys = torch.rand(scores.shape, dtype=torch.float64, device=scores.device)
    mined = hard_negative_mining(scores, labels, num_classes=3, negatives_per_positive=2.5, min_negatives=1)
    return (
        *mined,
        ssd_confidence_loss(logits, labels),
        mine_false_positives(scores, held, max_new=3),
        mine_random_false_positives(scores, held, keys, max_new=None),
    )


@TRACES_AUTOGRAD_FUNCTIONS
def test_runs_without_data_compiles_and_maps():
    """meta device, fullgraph, vmap: the shapes never depend on a value."""
    logits, labels = (torch.from_numpy(array) for array in batch(5))
    eager = everything(logits, labels)

    assert everything(logits.to("meta"), labels.to("meta"))[0].shape == labels.shape
    compiled = torch.compile(everything, fullgraph=True, backend="aot_eager")(logits, labels)
    mapped = torch.func.vmap(everything, randomness="different")(logits, labels)
    for one, two in zip(eager, compiled, strict=True):
        torch.testing.assert_close(one, two)
    for number in (0, 1, 3, 4):
        assert torch.equal(eager[number], mapped[number])


def test_inputs_stay_as_they_are_and_may_be_strided():
    """Nothing is written to, and a transposed batch gives the same."""
    logits, labels = (torch.from_numpy(array) for array in batch(6))
    kept = logits.clone(), labels.clone()

    strided = ssd_confidence_loss(logits.transpose(0, 1).contiguous().transpose(0, 1), labels.T.contiguous().T)

    assert torch.equal(strided, ssd_confidence_loss(logits, labels))
    assert torch.equal(logits, kept[0])
    assert torch.equal(labels, kept[1])


@pytest.mark.parametrize(
    ("function", "arguments", "options", "message"),
    [
        (hard_negative_mining, ((3,), (2,)), {"num_classes": 1}, "labels"),
        (hard_negative_mining, ((), ()), {"num_classes": 1}, "losses"),
        (hard_negative_mining, ((3,), (3,)), {"num_classes": 1, "negatives_per_positive": -1.0}, "negatives_per_posi"),
        (hard_negative_mining, ((3,), (3,)), {"num_classes": 1, "min_negatives": -1}, "min_negatives"),
        (ssd_confidence_loss, ((3, 1), (3,)), {}, "logits"),
        (mine_false_positives, ((3,), (3,)), {"max_new": 0}, "max_new"),
        (mine_false_positives, ((3,), (3,)), {"add_threshold": float("nan")}, "add_threshold"),
        (mine_false_positives, ((3,), (2,)), {}, "held"),
    ],
)
def test_bad_arguments_are_named(function, arguments, options, message):
    """Each refusal says which argument."""
    with pytest.raises(ValueError, match=message):
        function(torch.zeros(arguments[0]), torch.zeros(arguments[1], dtype=torch.long), **options)
