"""The page on speed shows what its stored run measured."""

import importlib.util
import json
from pathlib import Path

import pytest

from steelyard.conformance.schemas import violation

DOCS = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("steelyard_docs_speed", DOCS / "speed.py")
speed = importlib.util.module_from_spec(spec)
spec.loader.exec_module(speed)


@pytest.fixture(scope="module")
def document():
    return json.loads((DOCS / "bench.json").read_text(encoding="utf-8"))


def test_the_stored_run_fits_the_schema(document):
    """It is complete, and one contender at least was measured in each case."""
    assert violation(document, "bench") == ""
    assert document["complete"]
    assert document["cases"]


def test_the_tables_are_those_of_the_stored_run(document):
    """Made again, they are the same."""
    page = (DOCS / "speed.md").read_text(encoding="utf-8")

    assert speed.with_tables(page, document) == page
    for case in document["cases"]:
        assert f"| {case['technique']} | {case['size']} |" in page


def test_another_run_gives_another_page(document):
    """A ratio that changes, changes the table."""
    page = (DOCS / "speed.md").read_text(encoding="utf-8")
    other = json.loads(json.dumps(document))
    other["cases"][0]["summary"]["eager"] = 1234.5

    assert "1234.50" in speed.with_tables(page, other)


def test_a_page_without_a_place_for_a_table_is_refused(document):
    """Named."""
    with pytest.raises(ValueError, match="no line <!-- table machine -->"):
        speed.with_tables("", document)
