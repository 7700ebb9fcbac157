"""Mini-batches over 1, 2 and 4 processes: what they find together is what the specification says of the whole.

Rows are dealt out in equal numbers and in unequal ones, to ranks without rows and to ranks whose rows have no positive.
The ranks run once, in `ranks.py`. Integers have to agree exactly. Of a sum of n terms of one sign, every order of
adding is within n half ulps of the exact one, and no term takes more than 64 operations; this on both sides.
"""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from steelyard import impl, reference

B, N, C = 8, 24, 5
LIMIT = 430  # seconds; the ranks have a shorter one
TIMEOUT = 10.0  # seconds, of a group that loses a rank
SPLITS = {
    "alone": [8],
    "two, even": [4, 4],
    "two, uneven": [1, 7],
    "two, the first one empty": [0, 8],
    "two, no positive on the second": [6, 2],
    "four, even": [2, 2, 2, 2],
    "four, uneven, one empty": [5, 0, 1, 2],
    "four, all on the last": [0, 0, 0, 8],
}
OF_SUMS = (B * N * C + 64) * np.finfo(np.float64).eps


@dataclass(frozen=True)
class Call:
    """A function of the mini-batch, its data by rows, and how what the ranks return is put together.

    `together`, for each output: "shares" add up, "rows" lie one after another, "same" is the whole on every rank.
    """

    function: str
    data: dict[str, torch.Tensor]
    together: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)
    gradients: tuple[str, ...] = ()
    exact: bool = False
    cancels: float = 0.0
    """Size of the terms of which a gradient is the difference, where it is one."""

    def shards(self, split):
        """Arguments of each rank."""
        parts = {name: tensor.split(split) for name, tensor in self.data.items()}
        return [{**{name: part[rank] for name, part in parts.items()}, **self.options} for rank in range(len(split))]

    def expected(self):
        """Outputs and gradients of the whole by the specification."""
        given = {
            name: value.numpy() if isinstance(value, torch.Tensor) else value
            for name, value in {**self.data, **self.options}.items()
            if name != "capacity"
        }
        outputs = getattr(reference, self.function)(**given)
        gradients = {}
        for name in self.gradients:
            of_name = getattr(reference, f"{self.function}_grad_{name}", None)
            if self.function == "normalise_focal_loss":
                of_name = _normaliser_grad
            gradients[name] = (of_name or getattr(reference, f"{self.function}_grad"))(**given)
        return outputs if isinstance(outputs, tuple) else (outputs,), gradients

    def disagreements(self, parts):
        """Names of the outputs and gradients that are not those of the whole; `parts`: of each rank, both."""
        outputs, gradients = self.expected()
        wrong = []
        for place, (kind, expected) in enumerate(zip(self.together, outputs, strict=True)):
            found = [part[0][place] for part in parts]
            together = {"shares": lambda found: [sum(found)], "rows": lambda found: [torch.cat(found)]}
            if not all(self._agrees(one, expected) for one in together.get(kind, list)(found)):
                wrong.append(f"output {place}")
        for name, expected in gradients.items():
            if not self._agrees(torch.cat([part[1][name] for part in parts]), expected):
                wrong.append(f"gradient by {name}")
        return wrong

    def _agrees(self, found, expected):
        if self.exact:
            return np.array_equal(found, expected)
        return np.allclose(found, expected, rtol=OF_SUMS, atol=OF_SUMS * self.cancels)


def _normaliser_grad(losses, labels, **options):
    """The loss is linear in the losses: its derivative by one element is the loss of that element alone."""
    gradient = np.empty_like(losses)
    for image in range(len(losses)):
        alone = np.zeros_like(losses)
        alone[image, 0, 0] = 1.0
        gradient[image] = reference.normalise_focal_loss(alone, labels, **options)
    return gradient


def _calls():  # noqa: C901 - one mini-batch, many functions
    generator = torch.Generator().manual_seed(0)

    def uniform(*shape):
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64) * 2

    labels = torch.randint(-1, C + 1, (B, N), generator=generator)
    labels[6:] = labels[6:].clamp(max=0) * (C + 1) + C  # the last two images have ignored samples and background
    labels[6:] = torch.where(labels[6:] < 0, -1, C)
    number = float((labels != -1).sum())
    positives = float(((labels >= 0) & (labels < C)).sum())
    x, valid, quality = normal(B, N, C), uniform(B, N, C) < 0.7, uniform(B, N)
    norms, state, with_background = uniform(B, N, C).pow(3), uniform(30) * 20, normal(B, N, C + 1)
    losses, tied_iou = uniform(B, N), (uniform(B, N) * 16).round() / 16
    objects = torch.randint(0, 3, (B, N), generator=generator)
    images = torch.arange(B).unsqueeze(1) * 7 + torch.randint(0, 2, (B, N), generator=generator)
    corners = uniform(B, N, 2) * 50
    boxes = torch.cat([corners, corners + 5 + uniform(B, N, 2) * 30], dim=-1)
    labelled = {"logits": x, "labels": labels}
    binary = {"logits": x, "targets": (x > 1).long(), "valid": valid}
    located = {"iou": tied_iou, "labels": labels, "gt_index": objects}
    weighed = {**located, "classification_losses": losses, "label_weights": quality.round() + 0.5}
    points = {
        "class_logits": x, "labels": labels, "quality": quality, "distance_logits": normal(B, N, 4, 8),
        "distance_targets": uniform(B, N, 4) * 7, "giou_losses": uniform(B, N) * 2,
    }  # fmt: skip
    rois = {"boxes": boxes, "labels": labels, "classification_losses": losses, "regression_losses": quality}
    samples = {"logits": x[:, 0], "labels": torch.tensor([0, 1, 4, -1, 2, 0, -1, -1])}
    class_counts = torch.tensor([9000, 700, 60, 5, 1])

    calls = {
        "moving_average_foreground": Call(
            "moving_average_foreground", {"foreground": (labels >= 0).sum(dim=1)}, ("same",), {"previous": 100.0},
            exact=True,
        ),
        "unit_region_counts": Call(
            "unit_region_counts", {"gradient_norms": norms, "valid": valid}, ("same",), {"bins": 30}, exact=True
        ),
        "harmonized_mean_terms": Call(
            "harmonized_mean_terms", {"values": losses, "weights": quality, "valid": valid[..., 0]}, ("rows",)
        ),
        "image_repeat_factors": Call(
            "image_repeat_factors", {"labels": torch.randint(-1, 40, (B, 6), generator=generator)}, ("rows",),
            {"num_classes": 40, "threshold": 0.4},
        ),
        "ssd_confidence_loss": Call(
            "ssd_confidence_loss", {"logits": with_background, "labels": labels}, ("shares",), {}, ("logits",),
            cancels=1 / positives,
        ),
        "online_hard_example_loss": Call(
            "online_hard_example_loss", rois, ("shares",), {"num_classes": C, "num_samples": 7},
            ("classification_losses", "regression_losses"),
        ),
    }  # fmt: skip
    for name in NORMALISERS:
        calls[f"normalise_focal_loss {name}"] = Call(
            "normalise_focal_loss", {"losses": uniform(B, N, C), "labels": labels}, ("shares",),
            {"num_classes": C, "normaliser": name}, ("losses",),
        )  # fmt: skip
    for norm, ema in (("nonempty", "lazy"), ("M", "full")):
        options = {"bins": 30, "norm": norm, "ema": ema, "momentum": 0.75, "state": state}
        for name, data, kind, gradient in (
            ("unit_region_weights", {"gradient_norms": norms, "valid": valid}, "rows", ()),
            ("ghm_classification_loss", binary, "shares", ("logits",)),
            ("ghm_classification_loss_with_labels", labelled, "shares", ("logits",)),
            ("ghm_regression_loss", {"predictions": x / 9, "targets": x * 0}, "shares", ("predictions",)),
        ):  # fmt: skip
            calls[f"{name} {norm} {ema}"] = Call(name, data, (kind, "same"), options, gradient)
    for name in BOX_NORMALISERS:
        # differences of terms up to 3, of a quality and a score, by the number of positives
        calls[f"generalized_focal_detection_loss {name}"] = Call(
            "generalized_focal_detection_loss", points, ("shares",), {"box_normaliser": name},
            ("class_logits", "distance_logits", "giou_losses"), cancels=3 / positives,
        )  # fmt: skip
    for name, data, options in (
        ("of rows", located, {}),
        ("of numbered images", {**located, "image_index": images}, {}),
        ("of a capacity", located, {"capacity": B * N + 3}),
    ):
        calls[f"iou_hierarchical_local_rank {name}"] = Call(
            "iou_hierarchical_local_rank", data, ("rows",), {"num_classes": C, **options}, exact=True
        )
    for name in DENOMINATORS:
        options = {"num_classes": C, "denominator": name, "beta": 0.1}
        calls[f"isr_p_weights {name}"] = Call("isr_p_weights", weighed, ("rows",), options)
    for activation, logits in (("softmax", with_background), ("sigmoid", x)):
        for k in (1.0, 2.5):
            options, scored = {"activation": activation, "k": k}, {"logits": logits, "labels": labels}
            calls[f"classification_aware_regression_weights {activation} {k}"] = Call(
                "classification_aware_regression_weights", scored, ("rows",), options
            )
            # the difference of a loss and the mean loss, times at most k (1 - b) / b^k
            calls[f"classification_aware_regression_loss {activation} {k}"] = Call(
                "classification_aware_regression_loss", {**scored, "regression_losses": losses}, ("shares",), options,
                ("logits", "regression_losses"), cancels=k * 0.8 / 0.2**k / number,
            )  # fmt: skip
    gradients = {"positive_gradients": uniform(C) * 3, "negative_gradients": uniform(C) * 3}
    calls["equalization_loss_v2"] = Call(
        "equalization_loss_v2", {**samples, "logits": with_background[:, 0], "weights": uniform(B)},
        ("shares", "same", "same"), gradients, ("logits",),
    )  # fmt: skip
    for kind in KINDS:
        calls[f"class_balanced_loss {kind}"] = Call(
            "class_balanced_loss", samples, ("shares",), {"counts": class_counts, "kind": kind}, ("logits",),
            cancels=C / 5,
        )  # fmt: skip
    return calls


NORMALISERS = list(reference.soft_sampling.focal_normalisers.NORMALISERS)
BOX_NORMALISERS = reference.soft_sampling.generalized_focal_loss.BOX_NORMALISERS
DENOMINATORS = reference.soft_sampling.pisa.DENOMINATORS
KINDS = reference.foreground_balance.class_balanced_loss.KINDS
CALLS = _calls()
WITHOUT_SUM = "classification_aware_regression_loss sigmoid 1.0"
X, LABELS = CALLS["ghm_classification_loss_with_labels M full"].data.values()
FEATURES = CALLS["isr_p_weights max"].data["iou"].unsqueeze(-1) * torch.arange(1, 7) / 6
NUMBERED = CALLS["iou_hierarchical_local_rank of numbered images"]
FACTORS = torch.tensor([1.0, 2.5, 1.5])
OF_RANKS = {
    "two_steps_of_a_module": {"logits": X, "labels": LABELS},
    "gradients_of_a_model": {"features": FEATURES, "labels": LABELS},
    "census": {"labels": LABELS},
    "second_derivatives": CALLS[WITHOUT_SUM].data,
    "ranks_of_images_with_numbers_of_their_own": NUMBERED.data,
    "compiled": {"logits": X, "labels": LABELS},
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Of each split and call, what each rank found: outputs, and gradients by name; and of groups that lose a rank."""
    folder = tmp_path_factory.mktemp("ranks")
    plan = {}
    for name, split in SPLITS.items():
        calls = plan.setdefault(len(split), {})
        for key, call in CALLS.items():
            calls[f"{name}: {key}"] = {
                "function": call.function, "arguments": call.shards(split), "gradients": call.gradients,
                "without its sum": key == WITHOUT_SUM,
            }  # fmt: skip
        for function, data in OF_RANKS.items():
            if function != "compiled" or name == "two, uneven":
                arguments = Call(function, data, ()).shards(split)
                calls[f"{name}: {function}"] = {"function": function, "arguments": arguments, "gradients": ()}
    for ranks, calls in plan.items():
        calls["sampled"] = {"function": "sampled", "arguments": [{"factors": FACTORS}] * ranks, "gradients": ()}
    plan[2]["refused"] = {"function": "refused", "arguments": [{}, {}], "gradients": ()}
    torch.save(plan, folder / "plan.pt")
    script = str(Path(__file__).with_name("ranks.py"))
    subprocess.run([sys.executable, "-W", "ignore", script, str(folder)], check=True, timeout=LIMIT)
    parts = {ranks: [torch.load(folder / f"{ranks}-{rank}.pt") for rank in range(ranks)] for ranks in plan}
    whole = {name: [part[name] for part in parts[ranks]] for ranks, calls in plan.items() for name in calls}
    whole |= {f"sampled on {ranks}": [part["sampled"] for part in parts[ranks]] for ranks in plan}
    for name, split in SPLITS.items():
        wrong = f"{name}: {WITHOUT_SUM}, without its sum"
        whole[wrong] = [part[wrong] for part in parts[len(split)]]
    return {**whole, "lost": torch.load(folder / "lost.pt")}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", CALLS)
def test_ranks_together_find_what_the_specification_says_of_the_whole(found, name, split):
    """Losses, weights, ranks, counts and states, and the gradients of the sum of the shares."""
    assert CALLS[name].disagreements(found[f"{split}: {name}"]) == []


@pytest.mark.parametrize("name", CALLS)
def test_ranks_that_do_not_talk_are_found_out(name):
    """The mistakes to be seen: every rank divides by its own numbers, and the losses are added up, or averaged.

    Both ranks have positives, so that nothing but the missing exchange is wrong.
    """
    call, split = CALLS[name], [2, 6]
    parts = []
    for arguments in call.shards(split):
        inputs = {key: arguments[key].clone().requires_grad_() for key in call.gradients}
        result = getattr(impl, call.function)(**{**arguments, **inputs, **_capacity(arguments)})
        outputs = result if isinstance(result, tuple) else (result,)
        gradients = torch.autograd.grad(outputs[0].sum(), list(inputs.values())) if inputs else ()
        parts.append(([output.detach() for output in outputs], dict(zip(inputs, gradients, strict=True))))

    assert call.disagreements(parts)
    if call.together[0] == "shares":
        halves = [
            ([outputs[0] / 2, *outputs[1:]], {key: gradient / 2 for key, gradient in gradients.items()})
            for outputs, gradients in parts
        ]
        assert "output 0" in call.disagreements(halves)
        assert all(f"gradient by {key}" in call.disagreements(halves) for key in call.gradients)


def _capacity(arguments):
    return {"capacity": None} if "capacity" in arguments else {}


@pytest.mark.parametrize("split", [name for name in SPLITS if "even" in name])
def test_a_sum_whose_gradient_stays_at_home_is_found_out(found, split):
    """CARL's normaliser passes gradients between ranks: without, all but the gradient of the scores is right."""
    wrong = CALLS[WITHOUT_SUM].disagreements(found[f"{split}: {WITHOUT_SUM}, without its sum"])

    assert wrong == ["gradient by logits"]


@pytest.mark.parametrize("split", SPLITS)
def test_images_of_one_number_on_two_ranks_are_two(found, split):
    """The numbers need to differ within a rank only."""
    assert NUMBERED.disagreements(found[f"{split}: ranks_of_images_with_numbers_of_their_own"]) == []


@pytest.mark.parametrize("split", SPLITS)
def test_modules_keep_one_state_on_all_ranks(found, split):
    """GHM's moving average over two mini-batches, the second by a copy of the module."""
    ranks = found[f"{split}: two_steps_of_a_module"]

    whole = impl.soft_sampling.ghm.GHMClassificationLoss(bins=30, momentum=0.75)
    whole(X.flip(-1), LABELS)
    loss = whole(X, LABELS)

    torch.testing.assert_close(sum(part[0][0] for part in ranks), loss, rtol=OF_SUMS, atol=0)
    assert all(torch.equal(part[0][1], whole.state) for part in ranks)


@pytest.mark.parametrize("split", SPLITS)
def test_data_parallel_gradients_are_those_of_the_whole(found, split):
    """Where every rank multiplies its loss by their number, which the wrapper divides by."""
    head = torch.nn.Linear(6, C, dtype=torch.float64)
    torch.nn.init.constant_(head.weight, 0.1)
    torch.nn.init.constant_(head.bias, -2.0)
    logits = head(FEATURES)
    focal = impl.sigmoid_focal_loss_with_labels(logits, LABELS)
    loss = impl.normalise_focal_loss(focal, LABELS, num_classes=C, normaliser="batch_foreground")
    regression_losses = FEATURES.square().sum(-1)
    located = impl.classification_aware_regression_loss(logits, LABELS, regression_losses, activation="sigmoid")
    gradients = torch.autograd.grad(loss + located, list(head.parameters()))

    for outputs, _ in found[f"{split}: gradients_of_a_model"]:
        torch.testing.assert_close(tuple(outputs), gradients, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("split", SPLITS)
def test_second_derivatives_pass_through_the_processes_too(found, split):
    """CARL's, twice through the sum over the ranks."""
    logits, labels, losses = CALLS[WITHOUT_SUM].data.values()
    logits = logits.clone().requires_grad_()
    loss = impl.classification_aware_regression_loss(logits, labels, losses, activation="sigmoid")
    (gradient,) = torch.autograd.grad(loss, logits, create_graph=True)
    (whole,) = torch.autograd.grad(gradient.square().sum(), logits)

    ranks = found[f"{split}: second_derivatives"]

    torch.testing.assert_close(torch.cat([outputs[0] for outputs, _ in ranks]), whole, rtol=1e-11, atol=1e-16)


@pytest.mark.parametrize("split", SPLITS)
def test_census_is_that_of_all_images(found, split):
    """Exactly, all eight fields."""
    images = (reference.count_labels(labels.numpy(), num_classes=C) for labels in LABELS)
    whole = reference.total_census(images, num_classes=C)

    for outputs, _ in found[f"{split}: census"]:
        assert all(np.array_equal(field, expected) for field, expected in zip(outputs, whole, strict=True))


@pytest.mark.parametrize("ranks", sorted({len(split) for split in SPLITS.values()}))
def test_samplers_take_their_rank_from_the_group(found, ranks):
    """Interleaved, the shards are the order of one process."""
    whole = list(impl.RepeatFactorSampler(FACTORS, seed=5))

    shards = [outputs[0].tolist() for outputs, _ in found[f"sampled on {ranks}"]]

    assert [shards[place % ranks][place // ranks] for place in range(len(whole))] == whole


def test_losses_compile_whole_with_a_group(found):
    """No graph break at an exchange; backward exchanges as well."""
    located = impl.classification_aware_regression_loss(X, LABELS, X.square().sum(-1), activation="sigmoid")
    whole = located + impl.ghm_classification_loss_with_labels(X, LABELS).loss

    shares = [outputs[0] for outputs, _ in found["two, uneven: compiled"]]

    torch.testing.assert_close(sum(shares), whole, rtol=OF_SUMS, atol=0)


def test_a_group_of_others_and_too_many_samples_are_refused(found):
    """Torch would leave the numbers of a rank outside as they are; samples are counted before anything is exchanged."""
    (inside, _), (outside, _) = found["refused"]

    too_many = "capacity: expected at least 3, the number of samples here, got 2"
    assert inside == [None, too_many]
    assert outside == ["group: expected a group that this process is a member of", too_many]


@pytest.mark.parametrize("fate", ["killed", "away"])
def test_a_lost_rank_is_an_error_in_time(found, fate):
    """At once where its connection is gone, else after the group's timeout; forward and backward."""
    lost = {name: seen for name, seen in found["lost"].items() if name.endswith(fate)}

    assert len(lost) == {"killed": 3, "away": 2}[fate]
    for name, (error, seconds) in lost.items():
        assert error is not None, f"{name}: no error"
        assert seconds < TIMEOUT + 60.0, name  # a loaded machine schedules late
        assert fate == "killed" or seconds > 0.9 * TIMEOUT, name
