"""COCO-format annotation files of any size, read as a stream into a store on disk.

A file may list its annotations before its images, so nothing can be counted while it is read: images and boxes go into
a temporary SQLite database, which joins them. Memory does not grow with the file.

Every object of the file is either stored or counted in one of `PROBLEMS`, and what cannot be read at all is an
`AnnotationFileError`: there is no way to a wrong count without a word.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeGuard

import ijson
import numpy as np

from steelyard.conformance.candidates import LoadError
from steelyard.conformance.contract import Array

CHUNK = 1 << 18
BORDER_TOLERANCE = 1.0
"""Pixels by which a published box may cross the border of its image before that is worth a word: COCO's are rounded."""

FARTHEST = 1e9
"""No picture has a pixel beyond: such a number is damage, and its square would leave float32."""

PROBLEMS = {
    "image-size": "images left out: width or height is not a whole number of at least 1",
    "image-id": "images left out: id is not a whole number",
    "image-twice": "images left out: their id has been seen before",
    "box-form": "annotations left out: bbox is not four numbers that can be pixels",
    "box-negative": "annotations left out: bbox has a negative width or height",
    "box-outside": "annotations left out: bbox lies outside its image",
    "category": "annotations left out: category_id is not among the categories",
    "image-unknown": "annotations left out: image_id is not among the images",
    "box-empty": "annotations kept: bbox has no area, so that no anchor can be its own",
    "box-border": f"annotations kept: bbox crosses the border of its image by more than {BORDER_TOLERANCE:g} pixel",
}


class AnnotationFileError(LoadError):
    """The file cannot be read as COCO-format annotations; the message says where and why."""


class Category(NamedTuple):
    """A declared class; its place in the list is the label."""

    id: int
    name: str


class AnnotatedImage(NamedTuple):
    """One image as the file has it."""

    id: int
    height: int
    width: int
    boxes: Array
    """Shape (M, 4): x1, y1, x2, y2 in pixels of the image."""
    labels: Array
    """Shape (M,): places in the list of categories."""


@dataclass(frozen=True)
class Contents:
    """What a file has, but for the images themselves."""

    categories: tuple[Category, ...]
    images: int
    objects: int
    crowds: int
    """Annotations with iscrowd = 1: regions, not objects; left out as every detector's training leaves them out."""
    problems: dict[str, int]
    """How many of each of `PROBLEMS`, those with any."""


class AnnotationStore:
    """The images of one file with their boxes, on disk; a context manager."""

    def __init__(self) -> None:
        self._exit = ExitStack()
        folder = Path(self._exit.enter_context(tempfile.TemporaryDirectory(prefix="steelyard-census-")))
        self._database = sqlite3.connect(folder / "annotations.sqlite", isolation_level=None)
        self._exit.callback(self._database.close)
        self._database.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN;"
            "CREATE TABLE image (id INTEGER PRIMARY KEY, height INTEGER, width INTEGER);"
            "CREATE TABLE category (place INTEGER PRIMARY KEY, id INTEGER UNIQUE, name TEXT);"
            "CREATE TABLE box (image INTEGER, category INTEGER, x REAL, y REAL, w REAL, h REAL);"
        )
        self._problems: Counter[str] = Counter()
        self._crowds = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    def read(self, path: Path, progress: Callable[[int], None] = lambda _: None) -> Contents:
        """Read a file; `progress` is told of bytes as they are read."""
        found = {
            "images": _Sink(self._add_image),
            "categories": _Sink(self._add_category),
            "annotations": _Sink(self._add_annotation),
        }
        parsers = [ijson.items_coro(sink, f"{name}.item", use_float=True) for name, sink in found.items()]
        position = 0
        try:
            with path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    position += len(chunk)
                    for parser in parsers:
                        parser.send(chunk)
                    progress(len(chunk))
            for parser in parsers:
                parser.close()
        except OSError as error:
            raise AnnotationFileError(f"{path}: {error.strerror}; expected annotations in COCO's format") from error
        except ijson.IncompleteJSONError as error:
            raise AnnotationFileError(_damage(path, position, str(error))) from error
        except ijson.JSONError as error:
            raise AnnotationFileError(f"{path}: not JSON after byte {position}: {_first_line(error)}") from error
        for name, sink in found.items():
            if not sink.items:
                raise AnnotationFileError(f"{path}: expected COCO format: a list {name!r} that is not empty")
        return self._join(path)

    def images(self) -> Iterator[AnnotatedImage]:
        """Every image, also those without an object; those of one size come together, for they share anchors."""
        rows = self._database.execute("SELECT id, height, width FROM image ORDER BY height, width, id")
        for image_id, height, width in rows:
            found = self._database.execute(
                "SELECT x, y, x + w, y + h, place FROM box JOIN category ON category.id = box.category WHERE image = ?"
                " ORDER BY box.rowid",
                (image_id,),
            ).fetchall()
            table = np.array(found, dtype=np.float64).reshape(-1, 5)
            yield AnnotatedImage(image_id, height, width, table[:, :4], table[:, 4].astype(np.int64))

    def _add_image(self, image: Any) -> None:  # noqa: ANN401 - whatever the file has
        if not isinstance(image, dict) or not _is_int(image.get("id")):
            self._problems["image-id"] += 1
            return
        size = [image.get("height"), image.get("width")]
        if not all(_is_int(side) and side >= 1 for side in size):
            self._problems["image-size"] += 1
            return
        done = self._database.execute("INSERT OR IGNORE INTO image VALUES (?, ?, ?)", (image["id"], *size))
        self._problems["image-twice"] += done.rowcount == 0

    def _add_category(self, category: Any) -> None:  # noqa: ANN401
        if not isinstance(category, dict) or not _is_int(category.get("id")):
            raise AnnotationFileError(f"categories: expected objects with a whole number as id, got {category!r:.80}")
        name = str(category.get("name", category["id"]))
        done = self._database.execute("INSERT OR IGNORE INTO category (id, name) VALUES (?, ?)", (category["id"], name))
        if done.rowcount == 0:
            raise AnnotationFileError(f"categories: expected every id once, got {category['id']} twice")

    def _add_annotation(self, annotation: Any) -> None:  # noqa: ANN401
        box = annotation.get("bbox") if isinstance(annotation, dict) else None
        if not isinstance(box, list) or len(box) != 4 or not all(_is_pixels(side) for side in box):
            self._problems["box-form"] += 1
            return
        if annotation.get("iscrowd"):
            self._crowds += 1
        elif box[2] < 0 or box[3] < 0:
            self._problems["box-negative"] += 1
        elif not _is_int(annotation.get("image_id")):
            self._problems["image-unknown"] += 1
        elif not _is_int(annotation.get("category_id")):
            self._problems["category"] += 1
        else:
            row = annotation["image_id"], annotation["category_id"], *map(float, box)
            self._database.execute("INSERT INTO box VALUES (?, ?, ?, ?, ?, ?)", row)

    def _join(self, path: Path) -> Contents:
        """Take out what belongs to no image and no category, and what an image does not show."""
        run = self._database.execute
        run("UPDATE category SET place = place - 1")  # labels begin at 0
        run("CREATE INDEX box_of_image ON box (image)")
        self._problems["image-unknown"] += run("DELETE FROM box WHERE image NOT IN (SELECT id FROM image)").rowcount
        self._problems["category"] += run("DELETE FROM box WHERE category NOT IN (SELECT id FROM category)").rowcount
        outside = "x >= i.width OR y >= i.height OR x + w < 0 OR y + h < 0 OR (w > 0 AND x + w = 0)"
        outside += " OR (h > 0 AND y + h = 0)"
        query = "SELECT box.rowid FROM box JOIN image AS i ON i.id = box.image WHERE "
        self._problems["box-outside"] += run(f"DELETE FROM box WHERE rowid IN ({query}{outside})").rowcount  # noqa: S608
        self._problems["box-empty"] += self._count("SELECT count(*) FROM box WHERE w = 0 OR h = 0")
        self._problems["box-border"] += self._count(
            "SELECT count(*) FROM box JOIN image AS i ON i.id = box.image"
            " WHERE min(x, y) < -? OR x + w > i.width + ? OR y + h > i.height + ?",
            *[BORDER_TOLERANCE] * 3,
        )
        names = run("SELECT id, name FROM category ORDER BY place").fetchall()
        images = self._count("SELECT count(*) FROM image")
        if not images:
            raise AnnotationFileError(f"{path}: expected at least one image with a width and a height, found none")
        return Contents(
            categories=tuple(Category(*row) for row in names),
            images=images,
            objects=self._count("SELECT count(*) FROM box"),
            crowds=self._crowds,
            problems={name: self._problems[name] for name in PROBLEMS if self._problems[name]},
        )

    def _count(self, query: str, *values: float) -> int:
        return int(self._database.execute(query, values).fetchone()[0])


class _Sink:
    """What a parser sends its items to."""

    def __init__(self, add: Callable[[Any], None]) -> None:
        self._add = add
        self.items = 0

    def send(self, item: Any) -> None:  # noqa: ANN401
        self.items += 1
        self._add(item)


def _is_int(value: object) -> TypeGuard[int]:
    """A whole number that the store can hold."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _is_pixels(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= FARTHEST


def _damage(path: Path, position: int, message: str) -> str:
    if position == 0:
        return f"{path}: expected JSON, found an empty file"
    if "premature" in message or "incomplete" in message.lower():
        return f"{path}: the file ends after {position} bytes in the middle of its JSON: is it a partial download?"
    hint = "; NaN and Infinity are not JSON" if "nan" in message.lower() or "inf" in message.lower() else ""
    return f"{path}: not JSON after byte {position}: {_first_line(message)}{hint}"


def _first_line(message: object) -> str:
    return str(message).strip().splitlines()[0]
