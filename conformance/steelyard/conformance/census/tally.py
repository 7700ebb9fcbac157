"""The census of a whole data set: all images on all cores, added up, with the indices of imbalance."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from typing import Any

from steelyard.conformance.candidates import LoadError
from steelyard.conformance.census.annotation_files import AnnotatedImage, Contents
from steelyard.conformance.census.counting import Design, count_image
from steelyard.conformance.contract import Array
from steelyard.conformance.version import __version__
from steelyard.reference import (
    add_census,
    background_to_foreground,
    count_labels,
    effective_number,
    empty_census,
    foreground_share,
    gini_coefficient,
    imbalance_ratio,
    normalised_entropy,
)
from steelyard.reference.detection.census import Census

SCHEMA = "steelyard-census-1"
IMAGES_A_TASK = 8
EFFECTIVE_NUMBER_BETA = 0.999
"""Of Cui et al. 2019, table 4, for data sets of the size of a detection benchmark's tail."""


@dataclass
class Tally:
    """What has been counted so far."""

    anchors: Census
    objects: Census
    """Of the annotations themselves, with their labels in place of the anchors'."""
    complete: bool = False

    @classmethod
    def empty(cls, num_classes: int, num_levels: int) -> Tally:
        """Of no image."""
        return cls(empty_census(num_classes=num_classes, num_levels=num_levels), empty_census(num_classes=num_classes))

    def add(self, other: Tally) -> None:
        """Add the counts of other images."""
        self.anchors, self.objects = add_census(self.anchors, other.anchors), add_census(self.objects, other.objects)


def all_cores() -> int:
    """How many processes may run at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def take_census(
    images: Iterable[AnnotatedImage],
    design: Design,
    num_classes: int,
    *,
    workers: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Tally:
    """Count images, on `workers` processes; `progress` is told of images as they are counted.

    Ctrl-C ends it at once with what has been counted, and `complete` stays False.
    """
    tally = Tally.empty(num_classes, len(design.level_names))
    tasks = _tasks(images)
    counted = _in_processes(tasks, design, num_classes, workers) if workers > 1 else _here(tasks, design, num_classes)
    try:
        for part in counted:
            tally.add(part)
            progress(part.anchors.images)
    except KeyboardInterrupt:
        counted.close()
        return tally
    tally.complete = True
    return tally


def census_document(file: str, contents: Contents, design: Design, tally: Tally) -> dict[str, Any]:
    """The census as JSON: counts, and the indices of imbalance for anchors and for objects."""
    anchors, objects = tally.anchors, tally.objects
    levels = zip(design.level_names, anchors.by_level.tolist(), strict=True)
    return {
        "schema": SCHEMA,
        "steelyard": __version__,
        "file": file,
        "complete": tally.complete,
        "anchor_design": design.described(),
        "images": anchors.images,
        "images_in_file": contents.images,
        "images_without_foreground": anchors.images_without_foreground,
        "objects": objects.foreground,
        "crowds_left_out": contents.crowds,
        "problems": contents.problems,
        "background": anchors.background,
        "ignored": anchors.ignored,
        "foreground": anchors.foreground,
        "background_to_foreground": _number(background_to_foreground(anchors.background, anchors.foreground)),
        "foreground_share": _number(foreground_share(anchors.background, anchors.foreground)),
        "levels": [
            dict(zip(("level", "background", "ignored", "foreground"), (n, *c), strict=True)) for n, c in levels
        ],
        "classes": [
            {
                "id": category.id,
                "name": category.name,
                "foreground": int(anchors.by_class[place]),
                "objects": int(objects.by_class[place]),
                "images": int(objects.images_by_class[place]),
                "images_with_foreground": int(anchors.images_by_class[place]),
            }
            for place, category in enumerate(contents.categories)
        ],
        "indices": {"foreground": indices(anchors.by_class), "objects": indices(objects.by_class)},
    }


def indices(counts: Array) -> dict[str, float | str | None]:
    """How unequal counts by class are; all declared classes, and None where nothing can be said."""
    found = {
        "imbalance_ratio": imbalance_ratio(counts),
        "imbalance_ratio_of_present_classes": imbalance_ratio(counts, present_only=True) if counts.any() else math.nan,
        "normalised_entropy": normalised_entropy(counts),
        "gini_coefficient": gini_coefficient(counts),
        "effective_number_of_largest": float(effective_number(counts, beta=EFFECTIVE_NUMBER_BETA).max()),
        "effective_number_of_smallest": float(effective_number(counts, beta=EFFECTIVE_NUMBER_BETA).min()),
    }
    return {name: _number(value) for name, value in found.items()}


def _number(value: float) -> float | str | None:
    """JSON has no infinity and no NaN."""
    if math.isnan(value):
        return None
    return float(value) if math.isfinite(value) else "inf"


def _tasks(images: Iterable[AnnotatedImage]) -> Iterator[list[AnnotatedImage]]:
    rest = iter(images)
    while task := list(islice(rest, IMAGES_A_TASK)):
        yield task


def _count(task: list[AnnotatedImage], design: Design, num_classes: int) -> Tally:
    tally = Tally.empty(num_classes, len(design.level_names))
    for image in task:
        tally.add(Tally(count_image(image, design, num_classes), count_labels(image.labels, num_classes=num_classes)))
    return tally


def _here(tasks: Iterator[list[AnnotatedImage]], design: Design, num_classes: int) -> Generator[Tally]:
    for task in tasks:
        yield _count(task, design, num_classes)


def _in_processes(
    tasks: Iterator[list[AnnotatedImage]], design: Design, num_classes: int, workers: int
) -> Generator[Tally]:
    """Two tasks for each process are under way: more would be memory that grows with the data set."""
    context = multiprocessing.get_context("spawn")  # a fork copies the locks of whatever thread runs beside us
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_interrupts_to_the_parent)
    waiting: set[Future[Tally]] = set()
    try:
        for task in tasks:
            waiting.add(pool.submit(_count, task, design, num_classes))
            if len(waiting) >= 2 * workers:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    except BrokenProcessPool as error:
        raise LoadError("a counting process died: out of memory? Try fewer with --workers") from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
