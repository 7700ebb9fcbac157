"""Every report of docs/deviations prints what it says, and every known failure is a report or a choice that is told."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from steelyard.conformance.loading import BUNDLED
from steelyard.conformance.registry import TECHNIQUES

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "deviations"
PAGES = {page.stem: page.read_text(encoding="utf-8") for page in sorted(FOLDER.glob("[!R]*.md"))}
INDEX = (FOLDER / "README.md").read_text(encoding="utf-8")
TESTS = ROOT / "conformance" / "tests"
PINS = dict(re.findall(r"^([\w-]+)==(\S+)$", (TESTS / "requirements-peers.txt").read_text(), re.MULTILINE))
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS / "shims"), os.environ.get("PYTHONPATH", "")])}
HEADINGS = ["What the definition says", "Script", "Expected", "Actual", "Cause"]

# Scripts in one process, each with globals of its own: importing a library takes longer than calling it.
RUN = """
import contextlib, io, json, sys
printed = {}
for name, script in json.load(sys.stdin).items():
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile(script, name, "exec"), {"__name__": "__main__"})
    printed[name] = output.getvalue()
json.dump(printed, sys.stdout)
"""


def field(page, name):
    (found,) = re.findall(rf"^\| {name} \| (.*) \|$", page, re.MULTILINE)
    return found


def block(page, heading):
    (found,) = re.findall(rf"^## {heading}\n\n```\w+\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    return found


def library(page):
    return field(page, "library").split()[0]


def named(text):
    """Pairs of technique and requirement in `technique A-1, A-2; other B-1`."""
    parts = [part.strip().partition(" ") for part in text.split(";")]
    return {(technique, id_) for technique, _, ids in parts for id_ in ids.split(", ")}


def choices():
    """Triples of library, technique and requirement in the index's second table."""
    rows = re.findall(r"^\| ([\w-]+) \| (\w+) \| ([A-Z]+-\d.*?) \| .* \|$", INDEX, re.MULTILINE)
    return {(name, technique, id_) for name, technique, ids in rows for id_ in ids.split(", ")}


def reported():
    return {(library(page), *pair) for page in PAGES.values() for pair in named(field(page, "requirements"))}


@pytest.mark.peers
@pytest.mark.parametrize("name", sorted({library(page) for page in PAGES.values()}))
def test_scripts_print_what_the_reports_say(name):
    """A release that mends a deviation changes the output: its report goes, with the known failure."""
    module = name.replace("-", "_")
    if importlib.util.find_spec(module) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing: pip install --no-deps -r conformance/tests/requirements-peers.txt")
        pytest.skip(f"{name} is not installed")
    pages = {stem: page for stem, page in PAGES.items() if library(page) == name}

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN],
        input=json.dumps({stem: block(page, "Script") for stem, page in pages.items()}),
        env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {stem: block(page, "Actual") for stem, page in pages.items()}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_a_report_is_complete_and_stands_alone(page):
    """All sections, the pinned version, a result other than expected, and no word of ours in the script."""
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == HEADINGS
    assert field(page, "library") == f"{library(page)} {PINS[library(page)]}"
    assert block(page, "Expected") != block(page, "Actual")
    imported = set(re.findall(r"^(?:from|import) (\w+)", block(page, "Script"), re.MULTILINE))
    allowed = {"numpy", "torch", "types", library(page).replace("-", "_")}
    assert imported <= allowed | ({"mmengine"} if library(page) == "mmdet" else set())


def test_the_index_names_every_report():
    """Library, version, title and file."""
    rows = set(re.findall(r"^\| (\S+ \S+) \| \[(.*)\]\((.*)\.md\) \|$", INDEX, re.MULTILINE))

    titles = {stem: page.partition("\n")[0] for stem, page in PAGES.items()}
    assert {(lib, f"# {lib.split()[0]}'s {title}", stem) for lib, title, stem in rows} == {
        (field(page, "library"), titles[stem], stem) for stem, page in PAGES.items()
    }


def test_what_is_named_exists():
    """Every technique and requirement of reports and choices, and none is both."""
    known = {(id_, r.id) for id_, contract in TECHNIQUES.items() for r in contract.requirements}

    assert {entry[1:] for entry in reported() | choices()} <= known
    assert reported() & choices() == set()


@pytest.mark.peers
def test_every_known_failure_is_told():
    """In a report, or among the choices with the reason why there is none."""
    adapters = [file.stem for file in sorted(BUNDLED.glob("[!_]*.py")) if importlib.util.find_spec(file.stem)]
    code = (
        "import importlib, json, sys\n"
        "modules = [importlib.import_module('steelyard.conformance.adapters.' + name) for name in sys.argv[1:]]\n"
        "known = [(m.NAME, k['technique'], k['requirement']) for m in modules for k in getattr(m, 'KNOWN', [])]\n"
        "print(json.dumps(known))"
    )

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *adapters], env=ENVIRONMENT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert {tuple(entry) for entry in json.loads(done.stdout.splitlines()[-1])} <= reported() | choices()
