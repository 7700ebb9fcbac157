"""PISA's positives: ISR-P and CARL on the samples of two images."""

from types import SimpleNamespace

import torch
from torch import Generator, Tensor

from steelyard.impl.benchmarks.case import Axes, Call, Case, Floor, Growth, Inputs, Peer
from steelyard.impl.soft_sampling.carl_loss import classification_aware_regression_loss
from steelyard.impl.soft_sampling.pisa import isr_p_weights

SIZES = ({"N": 2_000, "C": 80}, {"N": 20_000, "C": 80})


def _positives(axes: Axes, device: torch.device, generator: Generator) -> Inputs:
    """Positives of two images, one after the other, of 40 objects each."""
    number, num_classes = axes["N"], axes["C"]
    return {
        "iou": torch.rand(number, generator=generator, device=device),
        "losses": torch.rand((number, num_classes), generator=generator, device=device),
        "labels": torch.randint(num_classes, (number,), generator=generator, device=device),
        "gt_index": torch.randint(40, (number,), generator=generator, device=device),
        "image_index": torch.arange(number, device=device) * 2 // number,
        "logits": torch.randn((number, num_classes), generator=generator, device=device).requires_grad_(),
        "predictions": torch.rand((number, 4), generator=generator, device=device).requires_grad_(),
    }


def _isr_p(iou: Tensor, losses: Tensor, labels: Tensor, gt_index: Tensor, image_index: Tensor) -> Tensor:
    return isr_p_weights(iou, losses, labels, gt_index, image_index, num_classes=losses.shape[-1], denominator="max")


def _carl(logits: Tensor, labels: Tensor, predictions: Tensor) -> Tensor:
    return classification_aware_regression_loss(logits, labels, predictions.abs(), activation="sigmoid")


def _mmdet_isr_p(inputs: Inputs) -> Call:
    from mmdet.models.losses import isr_p  # noqa: PLC0415 - may be absent

    labels, image, iou = inputs["labels"], inputs["image_index"], inputs["iou"]
    # boxes that have the IoUs with the unit square
    unit = torch.tensor([0.0, 0.0, 1.0, 1.0], device=iou.device).expand(len(iou), 4)
    boxes = torch.stack([0 * iou, 0 * iou, iou, 0 * iou + 1], dim=-1)
    of_images = [SimpleNamespace(pos_assigned_gt_inds=inputs["gt_index"][image == number]) for number in range(2)]
    coder = SimpleNamespace(decode=lambda _, deltas: deltas)

    def call() -> Tensor:
        targets = labels, torch.ones_like(iou), unit, unit  # the weights are overwritten
        _, weights, _, _ = isr_p(
            inputs["losses"],
            boxes,
            targets,
            unit,
            of_images,
            loss_cls=lambda scores, _, reduction_override: scores,  # noqa: ARG005 - its name there
            bbox_coder=coder,
            num_class=inputs["losses"].shape[-1],
        )
        return torch.as_tensor(weights)

    return call


def _mmdet_carl(inputs: Inputs) -> Call:
    from mmdet.models.losses import carl_loss  # noqa: PLC0415

    zeros = torch.zeros_like(inputs["predictions"])

    def call() -> Tensor:
        found = carl_loss(
            inputs["logits"],
            inputs["labels"],
            inputs["predictions"],
            zeros,
            loss_bbox=lambda predictions, _, reduction_override: predictions.abs(),  # noqa: ARG005 - its name there
            sigmoid=True,
            num_class=inputs["logits"].shape[-1],
        )
        return torch.as_tensor(found["loss_carl"][0])

    return call


def _carl_floor(inputs: Inputs) -> Call:
    logits, predictions = inputs["logits"].detach(), inputs["predictions"].detach()
    own = inputs["labels"].unsqueeze(-1)

    def call() -> tuple[Tensor, ...]:
        score = logits.gather(-1, own).sigmoid_()
        loss = predictions.abs().sum(dim=-1, keepdim=True).mul_(score).sum()
        return loss, torch.zeros_like(logits).scatter_add_(-1, own, score), predictions.sign().mul_(score)

    return call


CASES: tuple[Case, ...] = (
    *(
        Case(
            technique="isr_p_weights",
            axes=axes,
            make_inputs=_positives,
            ours=_isr_p,
            takes=("iou", "losses", "labels", "gt_index", "image_index"),
            peers=(Peer("mmdet", _mmdet_isr_p, departs="IoU plus rank in one float32: IoUs that are near come equal"),),
            yardstick="losses",
            likeness="the largest class in the denominator, as there",
            goal=(5.0, 5.0),
            growth=(Growth("N", (1_000, 10_000, 100_000, 1_000_000), {"C": 8}, 1.1),) if axes is SIZES[0] else (),
        )
        for axes in SIZES
    ),
    *(
        Case(
            technique="classification_aware_regression_loss",
            axes=axes,
            make_inputs=_positives,
            ours=_carl,
            takes=("logits", "labels", "predictions"),
            differentiates=("logits", "predictions"),
            peers=(Peer("mmdet", _mmdet_carl),),
            floors=(
                Floor(
                    "a score and a loss of each row, a gradient of zeros with one number a row, and one of boxes",
                    _carl_floor,
                ),
                Floor("the same", _carl_floor, compiled=True),
            ),
            likeness="with the sigmoid; the regression loss is an absolute value",
            goal=(5.0, 5.0),
        )
        for axes in SIZES
    ),
)
