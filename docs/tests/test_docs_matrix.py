"""The published matrix: made by one command, self-contained, small, and the same in both of its forms."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

from steelyard.conformance import check
from steelyard.conformance.doors import make_target
from steelyard.conformance.loading import BUNDLED

DOCS = Path(__file__).parents[1]
TESTS = DOCS.parent / "conformance" / "tests"
PINS = dict(re.findall(r"^([\w-]+)==(\S+)$", (TESTS / "requirements-peers.txt").read_text(), re.MULTILINE))
spec = importlib.util.spec_from_file_location("steelyard_docs_matrix", DOCS / "matrix.py")
matrix = importlib.util.module_from_spec(spec)
spec.loader.exec_module(matrix)


def shown(page):
    """The data that stands in the page."""
    (data,) = re.findall(r"<script[^>]*type=\"application/json\"[^>]*>(.*?)</script>", page, re.DOTALL)
    return json.loads(data)


def rows(text):
    """Cells of the Markdown table, the head first."""
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in re.findall(r"^\|.*\|$", text, re.MULTILINE)]


@pytest.fixture(scope="module")
def published():
    return (DOCS / "matrix.html").read_text(encoding="utf-8"), (DOCS / "matrix.md").read_text(encoding="utf-8")


def test_the_page_stands_alone_and_is_small(published):
    """Below 1 MB, nothing to load, and no path of the machine that made it."""
    page, table = published

    assert len(page.encode()) < 1_000_000
    assert re.findall(r"(?:src|href)=\"(?:https?:)?//", page) == []
    assert re.findall(r"(?:/tmp|/home|/root|/work|/usr)/\S*", page + table) == []


def test_every_adapter_is_in_it_with_the_pinned_version(published):
    """The libraries of requirements-peers.txt; a new adapter or pin asks for a new matrix."""
    head = rows(published[1])[0][1:]

    versions = dict(column.split() for column in head)
    assert {name.lower().replace("_", "-") for name in versions} == {
        file.stem.replace("_", "-") for file in BUNDLED.glob("[!_]*.py")
    }
    assert {name: version.partition("+")[0] for name, version in versions.items()} == {
        name: PINS[name.replace("_", "-")] for name in versions
    }


def test_both_forms_say_the_same(published):
    """Libraries, techniques and verdicts."""
    page, text = shown(published[0]), rows(published[1])

    assert text[0][1:] == [f"{c['name']} {c['version']}" for c in page["candidates"]]
    assert [row[0] for row in text[2:]] == [technique["id"] for technique in page["techniques"]]
    for number, row in enumerate(text[2:]):
        cells = [candidate["cells"][number] for candidate in page["candidates"]]
        assert [re.match(r"[\w-]*", cell)[0] for cell in row[1:]] == [cell["verdict"] if cell else "" for cell in cells]


def test_the_command_writes_both_from_results(tmp_path):
    """A wrong NumPy function: one column, one row, what does not hold counted by level, its script in the page."""
    target = make_target(f"{TESTS / 'candidates' / 'wrong_numpy.py'}:naive", as_technique="sigmoid_focal_loss")
    (tmp_path / "results").mkdir()
    result = check(target, profile="quick")
    (tmp_path / "results" / "wrong.json").write_text(json.dumps(result.to_json()), encoding="utf-8")

    matrix.main(["--results", str(tmp_path / "results"), "--to", str(tmp_path)])

    text = (tmp_path / "matrix.md").read_text(encoding="utf-8")
    assert len(rows(text)) == 3
    assert re.fullmatch(r"deviates: [1-9]\d* \+ \d+", rows(text)[2][1])
    assert "sigmoid_focal_loss" in (tmp_path / "matrix.html").read_text(encoding="utf-8")
