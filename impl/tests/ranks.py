"""Ranks of gloo groups, forked from one process that has loaded torch: `python ranks.py FOLDER`.

FOLDER/plan.pt holds for each number of ranks what they are to call: the name of a function, its arguments on each rank,
and by which of them to differentiate. What rank r of w found goes to FOLDER/w-r.pt. Meanwhile, groups of two in which
rank 1 is killed, or does not come: what rank 0 saw goes to FOLDER/lost.pt.
"""

import os
import signal
import sys
import time
from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from steelyard import impl
from steelyard.impl import collectives
from steelyard.impl.soft_sampling.ghm import GHMClassificationLoss

LIMIT = 400.0  # seconds for all: many times what it takes, so that only what hangs comes to it
TIMEOUT = 10.0  # of a group of which a rank is lost


def fork(function, ranks):
    """Process ids of ranks that run `function(rank)` and end without tearing down what gloo's threads still use."""
    processes = []
    for rank in range(ranks):
        process = os.fork()
        if process == 0:
            status = 1
            try:
                function(rank)
                status = 0
            except BaseException:  # noqa: BLE001 - a forked process must not return into its parent's code
                sys.excepthook(*sys.exc_info())
            finally:
                sys.stderr.flush()
                os._exit(status)
        processes.append(process)
    return processes


def wait(processes, deadline):
    """Exit statuses; whoever is not done by then is killed."""
    statuses = dict.fromkeys(processes)
    while None in statuses.values() and time.monotonic() < deadline:
        for process, status in statuses.items():
            if status is None:
                done, code = os.waitpid(process, os.WNOHANG)
                if done:
                    statuses[process] = os.waitstatus_to_exitcode(code)
        time.sleep(0.005)
    for process, status in statuses.items():
        if status is None:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
    return list(statuses.values())


def join(folder, name, rank, ranks):
    """The group of all ranks."""
    store, timeout = f"file://{folder}/store-{name}", timedelta(seconds=LIMIT)
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=ranks, timeout=timeout)
    return distributed.group.WORLD


def called(function, arguments, gradients, group):
    """Result and gradients. Every rank differentiates its own share: the gradients are those of their sum."""
    arguments = {
        name: value.clone().requires_grad_() if name in gradients else value for name, value in arguments.items()
    }
    result = function(**arguments, group=group)
    outputs = result if isinstance(result, tuple) else (result,)
    found = {}
    if gradients:
        inputs = [arguments[name] for name in gradients]
        found = dict(zip(gradients, torch.autograd.grad(outputs[0].sum(), inputs), strict=True))
    return [output.detach() if isinstance(output, torch.Tensor) else output for output in outputs], found


def two_steps_of_a_module(logits, labels, group):
    """Loss of the second mini-batch by a copy of a module, and its state."""
    module = GHMClassificationLoss(bins=30, momentum=0.75, group=group)
    module(logits.detach().flip(-1), labels)
    copy = deepcopy(module)
    loss = copy(logits, labels)
    assert not torch.equal(module.state, copy.state)
    return loss, copy.state


def gradients_of_a_model(features, labels, group):
    """Gradients of a head's weights under DistributedDataParallel, which averages them."""
    torch.manual_seed(distributed.get_rank(group))  # the ranks begin apart; the wrapper gives all the first one's
    head = torch.nn.Linear(features.shape[-1], 5, dtype=torch.float64)
    if distributed.get_rank(group) == 0:
        torch.nn.init.constant_(head.weight, 0.1)
        torch.nn.init.constant_(head.bias, -2.0)
    model = DistributedDataParallel(head, process_group=group)
    logits = model(features)
    focal = impl.sigmoid_focal_loss_with_labels(logits, labels)
    loss = impl.normalise_focal_loss(focal, labels, num_classes=5, normaliser="batch_foreground", group=group)
    located = impl.classification_aware_regression_loss(
        logits, labels, features.square().sum(-1), activation="sigmoid", group=group
    )
    ((loss + located) * group.size()).backward()
    return head.weight.grad, head.bias.grad


def second_derivatives(logits, labels, regression_losses, group):
    """Derivative by the logits of the squared gradient of CARL by the logits."""
    logits = logits.clone().requires_grad_()
    loss = impl.classification_aware_regression_loss(
        logits, labels, regression_losses, activation="sigmoid", group=group
    )
    (gradient,) = torch.autograd.grad(loss, logits, create_graph=True)
    return torch.autograd.grad(gradient.square().sum(), logits)


def ranks_of_images_with_numbers_of_their_own(image_index, group, **located):
    """Ranks in the classes, where every rank counts its images from 0."""
    first = image_index.min() if image_index.numel() else 0
    return impl.iou_hierarchical_local_rank(**located, image_index=image_index - first, num_classes=5, group=group)


def sampled(factors, group):
    """The shard of a sampler, of a group that is given and of the default one."""
    shard = list(impl.RepeatFactorSampler(factors, seed=5, group=group))
    assert shard == list(impl.RepeatFactorSampler(factors, seed=5))
    return torch.tensor(shard)


def census(labels, group):
    """Of the images of all ranks."""
    return tuple(impl.total_census(impl.count_labels(labels, num_classes=5), group=group))


def compiled(logits, labels, group):
    """A loss with a gradient through the processes, and a histogram, compiled whole."""

    def function(logits, labels):
        located = impl.classification_aware_regression_loss(
            logits, labels, logits.square().sum(-1), activation="sigmoid", group=group
        )
        return located + impl.ghm_classification_loss_with_labels(logits, labels, group=group).loss

    return torch.compile(function, fullgraph=True, backend="aot_eager")(logits, labels)


def refused(group):
    """What a rank is told that is no member of the group, which is of the first rank only, or has too many samples."""
    inner = distributed.new_group([0])
    told = []
    iou, labels = torch.ones(3), torch.zeros(3, dtype=torch.int64)
    for call in (
        lambda: impl.unit_region_counts(iou, group=inner),
        lambda: impl.iou_hierarchical_local_rank(iou, labels, labels, num_classes=1, group=group, capacity=2),
    ):
        try:
            call()
            told.append(None)
        except ValueError as error:
            told.append(str(error))
    return tuple(told)


OWN = (
    two_steps_of_a_module, gradients_of_a_model, second_derivatives, sampled, census, compiled, refused,
    ranks_of_images_with_numbers_of_their_own,
)  # fmt: skip
FUNCTIONS = {function.__name__: function for function in OWN}


def run_plan(folder, ranks, calls):
    """All calls on all ranks of one group."""

    def rank_of_plan(rank):
        group = join(folder, ranks, rank, ranks)
        found = {}
        for name, call in calls.items():
            function = FUNCTIONS.get(call["function"]) or getattr(impl, call["function"])
            of_call = function, call["arguments"][rank], call["gradients"], group
            found[name] = called(*of_call)
            if call.get("without its sum"):
                with patch.object(collectives._SumWithGradient, "backward", lambda _, grad: (grad, None)):
                    found[f"{name}, without its sum"] = called(*of_call)
        torch.save(found, folder / f"{ranks}-{rank}.pt")
        distributed.barrier()  # nobody leaves while another still talks

    return fork(rank_of_plan, ranks)


def lose(folder):
    """Begin groups of two in which rank 1 is killed, or stays away; processes of both ranks of each."""
    x, labels = torch.linspace(-1.0, 1.0, 24).view(2, 4, 3), torch.tensor([[0, 1, 3, 2]] * 2)

    def normalise(group, point):
        point()
        impl.normalise_focal_loss(x, labels, num_classes=3, group=group)

    def rank_positives(group, point):
        point()
        impl.isr_p_weights(x[..., 0], x[..., 1].abs(), labels, labels, num_classes=3, group=group)

    def locate(group, point):
        logits = x.clone().requires_grad_()
        loss = impl.classification_aware_regression_loss(
            logits, labels, logits[..., 0], activation="sigmoid", group=group
        )
        point()
        loss.backward()

    def killed():
        os.kill(os.getpid(), signal.SIGKILL)

    def away():
        time.sleep(LIMIT)

    cases = {
        "normaliser, killed": (normalise, killed),
        "ranks, killed": (rank_positives, killed),
        "backward, killed": (locate, killed),
        "normaliser, away": (normalise, away),
        "backward, away": (locate, away),
    }
    processes = []
    for number, (name, (function, fate)) in enumerate(cases.items()):

        def rank_of_two(rank, name=name, number=number, function=function, fate=fate):
            join(folder, f"lost-{number}", rank, 2)
            group = distributed.new_group(timeout=timedelta(seconds=TIMEOUT))
            distributed.barrier()
            begin = time.monotonic()
            try:
                function(group, fate if rank == 1 else lambda: None)
                seen = None
            except RuntimeError as error:
                seen = f"{type(error).__name__}: {error}"
            torch.save({name: (seen, time.monotonic() - begin)}, folder / f"lost-{number}.pt")

        processes.append(fork(rank_of_two, 2))
    return processes


def seen_by_others(folder, processes, deadline):
    """Error and seconds of each rank 0; whoever stayed away is ended."""
    found = {}
    for number, (first, second) in enumerate(processes):
        wait([first], deadline)
        wait([second], time.monotonic())
        found |= torch.load(folder / f"lost-{number}.pt")
    return found


def main(folder):
    torch.set_num_threads(1)
    deadline = time.monotonic() + LIMIT
    losing = lose(folder)
    for ranks, calls in torch.load(folder / "plan.pt").items():
        statuses = wait(run_plan(folder, ranks, calls), deadline)
        if statuses != [0] * ranks:
            sys.exit(f"{ranks} ranks ended with {statuses}")
    torch.save(seen_by_others(folder, losing, deadline), folder / "lost.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
