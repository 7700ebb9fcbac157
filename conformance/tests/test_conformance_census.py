"""`steelyard census`: exact on real annotations, and never a wrong count without a word."""

import json
import os
import re
import signal
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from steelyard.conformance.census.annotation_files import AnnotationFileError, AnnotationStore
from steelyard.conformance.census.counting import DESIGNS, changed, count_image
from steelyard.conformance.command_line import app
from steelyard.conformance.doors import UsageError
from steelyard.conformance.schemas import violation
from steelyard.reference import (
    add_census,
    empty_census,
    faster_rcnn_anchors,
    inside_image,
    max_iou_assignment,
    retinanet_anchor_census,
)

REAL = files("steelyard.conformance") / "data" / "coco_exact_annotations.json"


def run(*arguments):
    return CliRunner().invoke(app, ["census", *map(str, arguments)])


def small(**changes):
    """Two images of 64 x 64; the one object fills the first."""
    document = {
        "images": [{"id": 7, "height": 64, "width": 64}, {"id": 9, "height": 64, "width": 64}],
        "annotations": [{"image_id": 7, "category_id": 3, "bbox": [0, 0, 64, 64], "iscrowd": 0}],
        "categories": [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}],
    }
    return {**document, **changes}


@pytest.fixture
def write(tmp_path):
    def write(document):
        path = tmp_path / "annotations.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
        return path

    return write


@pytest.fixture
def counted(write):
    """The JSON of a census of a document, which is on standard output alone."""

    def counted(document, *options):
        found = run(write(document), "--json", "-", "--short-side", "64", "--long-side", "64", *options)
        assert found.exit_code == 0, found.output
        census = json.loads(found.stdout)
        assert violation(census, "census") == ""
        return census, found.stderr

    return counted


def test_real_annotations_give_the_published_totals(tmp_path):
    """203 COCO images on all cores: the figures that NumPy gave in float32 when the data were published."""
    found = run(REAL, "--json", tmp_path / "census.json", "--html", tmp_path / "census.html")

    assert found.exit_code == 0, found.output
    census = json.loads((tmp_path / "census.json").read_text())
    assert violation(census, "census") == ""
    assert violation({**census, "complete": "yes"}, "census") == "$.complete: 'yes' is not of type 'boolean'"
    assert [census[k] for k in ("background", "ignored", "foreground")] == [34_582_779, 81_534, 41_739]
    assert (census["images"], census["objects"], census["crowds_left_out"]) == (203, 1_913, 22)
    assert sum(row["foreground"] for row in census["classes"]) == census["foreground"]
    assert sum(row["background"] for row in census["levels"]) == census["background"]
    assert census["complete"]
    assert "34,582,779" in found.stdout
    page = (tmp_path / "census.html").read_text()
    assert "34,582,779" in page
    assert page.count("<svg") == 2
    assert not re.search(r'(src|href)="http|@import|url\(http', page), "the page asks the network for something"


def test_the_low_quality_rule_on_real_annotations():
    """The best anchors of every object are foreground as well: the published total."""
    found = run(REAL, "--low-quality", "--json", "-")

    assert json.loads(found.stdout)["foreground"] == 42_922


@pytest.mark.parametrize("low_quality", [False, True])
def test_a_count_is_that_of_the_reference(low_quality):
    """In float64 every image's census is the reference's, which takes no short cut."""
    design = changed(DESIGNS["retinanet"], dtype="float64", low_quality=low_quality)
    with AnnotationStore() as store:
        store.read(REAL)
        images = [image for image in store.images() if len(image.boxes) < 4][:6]
    for image in images:
        expected, _ = retinanet_anchor_census(
            image.boxes,
            image.labels,
            height=image.height,
            width=image.width,
            num_classes=80,
            low_quality="keep" if low_quality else None,
        )
        found = count_image(image, design, 80)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_anchors_of_faster_rcnn():
    """Its region proposal network: anchors inside the image, 0.7 and 0.3, the best of each object."""
    design = changed(DESIGNS["faster_rcnn"], dtype="float64")
    total = empty_census(num_classes=80)
    with AnnotationStore() as store:
        store.read(REAL)
        image = next(image for image in store.images() if len(image.boxes) > 3)
    total = add_census(total, count_image(image, design, 80))

    scale = min(600 / min(image.height, image.width), 1000 / max(image.height, image.width))
    size = [int(image.height * scale + 0.5), int(image.width * scale + 0.5)]
    anchors = faster_rcnn_anchors(height=size[0], width=size[1])
    labels = max_iou_assignment(
        anchors,
        image.boxes * np.tile([size[1] / image.width, size[0] / image.height], 2),
        image.labels,
        num_classes=80,
        foreground_iou=0.7,
        background_iou=0.3,
        low_quality="keep",
        candidate_mask=inside_image(anchors, size),
    ).labels[inside_image(anchors, size)]
    assert (total.background, total.ignored) == ((labels == 80).sum(), (labels == -1).sum())
    assert total.foreground == ((labels >= 0) & (labels < 80)).sum() > 0


def test_an_image_without_objects_counts(counted):
    """Its anchors are background, and it is in the number of images that means are taken over."""
    census, warnings = counted(small())

    assert (census["images"], census["images_without_foreground"], census["problems"]) == (2, 1, {})
    alone, _ = counted(small(images=small()["images"][:1]))
    anchors = sum(alone[kind] for kind in ("background", "ignored", "foreground"))
    assert census["background"] == alone["background"] + anchors
    assert census["foreground"] == alone["foreground"] > 0
    assert "warning" not in warnings


def test_the_order_of_the_file_does_not_matter(counted):
    """Annotations before images, as some tools write them."""
    document = small()

    assert counted(dict(reversed(document.items())))[0] == counted(document)[0]


def test_one_process_or_several(counted):
    """The same counts."""
    document = small(images=[{"id": 10 + i, "height": 64, "width": 64 + i} for i in range(20)] + small()["images"])

    assert counted(document, "--workers", "1")[0] == counted(document, "--workers", "2")[0]


BOX = {"image_id": 7, "category_id": 3, "bbox": [1, 2, 30, 30]}


@pytest.mark.parametrize(
    ("problem", "annotation"),
    [
        ("box-form", {**BOX, "bbox": [1, 2, 30]}),
        ("box-form", {**BOX, "bbox": [1, 2, None, 30]}),
        ("box-form", {**BOX, "bbox": [1, 2, 1e300, 30]}),
        ("box-form", {**BOX, "bbox": [1, 2, True, 30]}),
        ("box-form", {**BOX, "bbox": "none"}),
        ("box-form", "a word"),
        ("box-negative", {**BOX, "bbox": [10, 10, -5, 5]}),
        ("box-outside", {**BOX, "bbox": [64, 10, 5, 5]}),
        ("box-outside", {**BOX, "bbox": [-10, 10, 10, 5]}),
        ("category", {**BOX, "category_id": 4}),
        ("category", {**BOX, "category_id": "3"}),
        ("image-unknown", {**BOX, "image_id": 8}),
    ],
)
def test_what_cannot_be_counted_is_left_out_with_a_word(counted, problem, annotation):
    """The count is that of the file without it; the warning says how many and why; --strict refuses."""
    document = small()
    document["annotations"].append(annotation)

    census, warnings = counted(document)

    assert census["problems"] == {problem: 1}
    assert "warning: 1 annotations left out" in warnings
    clean, _ = counted(small())
    assert {**census, "problems": {}} == clean


@pytest.mark.parametrize(
    ("problem", "box", "objects"),
    [("box-empty", [10, 10, 0, 5], 2), ("box-border", [-3, 10, 20, 20], 2), ("box-border", [50, 50, 20, 10], 2)],
)
def test_what_is_only_odd_is_kept_with_a_word(counted, problem, box, objects):
    """An object without area, and one that crosses the border, are objects."""
    document = small()
    document["annotations"].append({**BOX, "bbox": box})

    census, warnings = counted(document)

    assert (census["problems"], census["objects"]) == ({problem: 1}, objects)
    assert "annotations kept" in warnings


@pytest.mark.parametrize(
    ("problem", "image"),
    [
        ("image-size", {"id": 11, "height": 0, "width": 64}),
        ("image-size", {"id": 11, "width": 64}),
        ("image-size", {"id": 11, "height": 64.5, "width": 64}),
        ("image-id", {"height": 64, "width": 64}),
        ("image-id", {"id": "a.jpg", "height": 64, "width": 64}),
        ("image-twice", {"id": 7, "height": 32, "width": 64}),
    ],
)
def test_images_that_cannot_be_counted(counted, problem, image):
    """Left out with a word; the others are counted."""
    document = small()
    document["images"].append(image)

    census, warnings = counted(document)

    assert (census["images"], census["problems"]) == (2, {problem: 1})
    assert "warning: 1 images left out" in warnings


def test_crowds_are_regions_not_objects(counted):
    """Left out and counted, as every detector's training leaves them out."""
    document = small()
    document["annotations"].append({**BOX, "iscrowd": 1})

    census, _ = counted(document)

    assert (census["crowds_left_out"], census["objects"], census["problems"]) == (1, 1, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found an empty file"),
        ("[1, 2]", "expected COCO format: a list 'images'"),
        (json.dumps(small(images=[])), "expected COCO format: a list 'images' that is not empty"),
        (json.dumps(small(annotations=[])), "a list 'annotations' that is not empty"),
        (json.dumps(small(categories=[])), "a list 'categories' that is not empty"),
        (json.dumps(small())[:-40], "ends after .* bytes in the middle of its JSON: is it a partial download"),
        (json.dumps(small(images=[{"id": 1, "height": float("nan"), "width": 3}])), "NaN and Infinity are not JSON"),
        (json.dumps(small(images=[{"id": 10**30}])), "not JSON after byte [0-9]+: parse error: integer overflow"),
        ("\x7fELF not JSON at all", "not JSON after byte"),
        (json.dumps(small(images=[{"id": 1}])), "at least one image with a width and a height"),
        (json.dumps(small(categories=[{"id": 3}, {"id": 3}])), "categories: expected every id once, got 3 twice"),
        (json.dumps(small(categories=["cat"])), "categories: expected objects with a whole number as id"),
    ],
)
def test_a_broken_file_is_one_line_and_status_3(write, text, message):
    """Never a count, never a traceback."""
    found = run(write(text))

    assert found.exit_code == 3
    assert re.search(message, found.stderr.replace("\n", " "))
    assert "Traceback" not in found.output
    assert not found.stdout


def test_a_file_that_is_not_there(tmp_path):
    """Its name and the system's reason."""
    found = run(tmp_path / "absent.json")

    assert found.exit_code == 3
    assert "absent.json: No such file" in found.stderr


def test_strict_refuses_a_file_with_problems(write):
    """For those who would rather stop than count what is left."""
    document = small()
    document["annotations"].append({**BOX, "category_id": 4})

    found = run(write(document), "--strict")

    assert found.exit_code == 3
    assert not found.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--design", "retina"], "--design: expected one of retinanet, faster_rcnn, got 'retina'"),
        (["--universe", "some"], "--universe: expected one of all, inside"),
        (["--foreground-iou", "0.3"], "expected 0 < background <= foreground <= 1"),
        (["--short-side", "2000"], "expected 1 <= short side <= long side"),
        (["--json", "-", "--html", "-"], "standard output is taken by --json"),
        (["--html", "absent/page.html"], "--html: no directory absent"),
    ],
)
def test_wrong_options_are_usage_errors(write, options, message):
    """Before anything is read."""
    found = run(write(small()), *options)

    assert found.exit_code == 2
    assert message in found.stderr.replace("\n", " ")


def test_designs_refuse_what_makes_no_sense():
    """The thresholds of a design are in order."""
    with pytest.raises(UsageError, match="thresholds"):
        changed(DESIGNS["retinanet"], background_iou=0.0)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no peak of the process's own memory to read")
def test_memory_does_not_grow_with_the_file(tmp_path):
    """Reading 12 MB more, most of it polygons, takes less than 2 MB more.

    Not `ru_maxrss`: that of a process that was forked begins at what its parent held, which is more.
    """
    script = (
        "import sys; from pathlib import Path\n"
        "from steelyard.conformance.census.annotation_files import AnnotationStore\n"
        "with AnnotationStore() as store:\n"
        "    store.read(Path(sys.argv[1])); sum(len(image.boxes) for image in store.images())\n"
        "print(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])"
    )
    peaks = []
    for number in (2_000, 20_000):
        document = small()
        polygon = [[1.25] * 60] * 2
        document["annotations"] = [
            {**BOX, "id": i, "image_id": 100 + i, "segmentation": polygon} for i in range(number)
        ]
        document["images"] += [{"id": 100 + i, "height": 64, "width": 64} for i in range(number)]
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))

    assert (tmp_path / "20000.json").stat().st_size > 12e6
    assert peaks[1] - peaks[0] < 2_000 * 1.024, "kilobytes"


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to a group")
def test_ctrl_c_keeps_what_was_counted(tmp_path):
    """Status 130, the partial census is written and says that it is one, no process stays."""
    document = small(images=[{"id": i, "height": 600, "width": 800} for i in range(20_000)])
    document["annotations"][0]["image_id"] = 5
    (tmp_path / "many.json").write_text(json.dumps(document), encoding="utf-8")
    command = [sys.executable, "-m", "steelyard.conformance", "census", "many.json", "--json", "census.json"]
    process = subprocess.Popen(
        command, cwd=tmp_path, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not process.stderr.readline().startswith("counting:"):
        pass
    os.killpg(process.pid, signal.SIGINT)
    _, complaint = process.communicate(timeout=30)

    assert process.returncode == 130, complaint
    assert "interrupted" in complaint
    assert "Traceback" not in complaint
    census = json.loads((tmp_path / "census.json").read_text())
    assert not census["complete"]
    assert 0 < census["images"] < census["images_in_file"] == 20_000


def test_a_file_error_is_a_load_error():
    """Library users catch one class."""
    with AnnotationStore() as store, pytest.raises(AnnotationFileError, match="Is a directory"):
        store.read(REAL.parent)
