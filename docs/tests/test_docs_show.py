"""`steelyard show` and the site say the same: both are made from the contract and the reference's docstrings."""

import importlib
import inspect
import re
import sys
from collections import defaultdict
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from steelyard.conformance.registry import TECHNIQUES
from steelyard.conformance.reporting import specification_page

DOCS = Path(__file__).parents[1]
pytest.importorskip("sphinx", reason="needs the extra: docs")


@pytest.fixture(scope="module")
def pages():
    """The site's pages as Markdown, without links, pictures and outcomes of runs."""
    sys.path[:0] = [str(DOCS), str(DOCS / "generator")]
    technique_pages = importlib.import_module("generator.technique_pages")
    sys.path.remove(str(DOCS))
    sys.path.remove(str(DOCS / "generator"))
    return technique_pages.pages({}, {}, defaultdict(str), {})


def letters(text):
    """Letters and digits alone: what markup, wrapping and frames leave."""
    return re.sub(r"[^0-9A-Za-z]+", "", text)


def sayings(technique):
    """Everything that is said of a technique, in the pieces in which it is written."""
    for documented in (technique.oracle, inspect.getmodule(technique.oracle)):
        yield from (line for line in (inspect.getdoc(documented) or "").splitlines() if set(line) - {"-"})
    yield from (technique.title, technique.summary, *technique.sources)
    for requirement in technique.requirements:
        yield from (
            requirement.id,
            requirement.level.value,
            requirement.kind.value,
            requirement.text,
            requirement.source,
        )
        yield requirement.no_mutant
    for kind, reason in technique.not_applicable.items():
        yield f"{kind.value}: {reason}"
    for one in (*technique.rulings, *technique.dialects, *technique.mutants):
        yield f"{one.id}: {one.text if hasattr(one, 'text') else one.summary}"
    for dialect in technique.dialects:
        yield from (f"{name}={value!r}" for name, value in dialect.options.items())


@pytest.mark.parametrize("technique", TECHNIQUES.values(), ids=list(TECHNIQUES))
def test_both_say_everything(technique, pages):
    """Each sentence stands in the terminal's page and in the site's."""
    out = StringIO()
    Console(file=out, width=4000).print(specification_page(technique, source=False))
    terminal, site = letters(out.getvalue()), letters(pages[f"techniques/{technique.id}.md"])

    assert [said for said in sayings(technique) if letters(said) not in terminal] == []
    assert [said for said in sayings(technique) if letters(said) not in site] == []


def test_a_sentence_that_is_missing_is_seen(pages):
    """The comparison can fail."""
    page = letters(pages["techniques/sigmoid_focal_loss.md"])

    assert letters("Focal loss of every element, in nats.") in page
    assert letters("Focal loss of every element, in bits.") not in page
