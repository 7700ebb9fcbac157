"""Assignment of a RetinaNet's number of anchors to the objects of 16 images."""

import torch
from torch import Generator, Tensor

from steelyard.impl.benchmarks.case import Axes, Call, Case, Growth, Inputs, Peer, Result
from steelyard.impl.detection.assignment import max_iou_assignment


def _scene(axes: Axes, device: torch.device, generator: Generator) -> Inputs:
    """Anchors of all sizes, one list for all images, and objects."""

    def boxes(*shape: int) -> Tensor:
        corner = torch.rand((*shape, 2), generator=generator, device=device) * 800.0
        side = 16.0 * 2.0 ** (torch.rand((*shape, 2), generator=generator, device=device) * 4.0)
        return torch.cat([corner, corner + side], dim=-1)

    objects = axes["B"], axes["G"]
    labels = torch.randint(80, objects, generator=generator, device=device)
    return {"boxes": boxes(axes["N"]), "gt_boxes": boxes(*objects), "gt_labels": labels}


def _assigned(boxes: Tensor, gt_boxes: Tensor, gt_labels: Tensor) -> tuple[Tensor, ...]:
    return max_iou_assignment(boxes, gt_boxes, gt_labels, num_classes=80, low_quality="keep")


def _torchvision(inputs: Inputs) -> Call:
    from torchvision.models.detection._utils import Matcher  # noqa: PLC0415 - may be absent
    from torchvision.ops import box_iou  # noqa: PLC0415

    matcher = Matcher(0.5, 0.4, allow_low_quality_matches=True)
    return lambda: [matcher(box_iou(gt, inputs["boxes"])) for gt in inputs["gt_boxes"]]


def _mmdet(inputs: Inputs) -> Call:
    from mmdet.models.task_modules import MaxIoUAssigner  # noqa: PLC0415
    from mmengine.structures import InstanceData  # noqa: PLC0415

    assigner = MaxIoUAssigner(0.5, 0.4, min_pos_iou=0.0, ignore_iof_thr=-1)
    priors = InstanceData(priors=inputs["boxes"])
    images = zip(inputs["gt_boxes"], inputs["gt_labels"], strict=True)
    objects = [InstanceData(bboxes=boxes, labels=labels) for boxes, labels in images]
    return lambda: [assigner.assign(priors, gt).gt_inds.sub_(1) for gt in objects]


def _as_many_foreground(theirs: Result, ours: Result, _: Inputs) -> str:
    """As many foreground anchors but for a thousandth: IoUs are rounded differently, and near a threshold it shows."""
    mine = int((ours.outputs[2] == 1).sum())
    if len(theirs.outputs) == len(ours.outputs) and theirs.outputs[2].dtype == torch.int8:  # ours, compiled
        others = int((theirs.outputs[2] == 1).sum())
    else:
        others = sum(int((matches >= 0).sum()) for matches in theirs.outputs)
    return "" if abs(mine - others) <= 1e-3 * mine + 1 else f"{others} foreground anchors, not {mine}"


CASES: tuple[Case, ...] = (
    Case(
        technique="max_iou_assignment",
        axes={"B": 16, "N": 170_000, "G": 20},
        make_inputs=_scene,
        ours=_assigned,
        takes=("boxes", "gt_boxes", "gt_labels"),
        peers=(Peer("torchvision", _torchvision), Peer("mmdet", _mmdet)),
        yardstick="boxes",
        agreement=_as_many_foreground,
        likeness="low-quality matches are allowed; ours and mmdet give labels too, an image after the other for peers",
        goal=(2.0, 3.0),
        growth=(
            Growth("N", (10_000, 100_000, 1_000_000), {"B": 1, "G": 20}),
            Growth("B", (1, 2, 4, 8, 16), {"N": 20_000, "G": 20}),
            Growth("G", (5, 10, 20, 40, 80), {"B": 1, "N": 100_000}),
        ),
    ),
)
