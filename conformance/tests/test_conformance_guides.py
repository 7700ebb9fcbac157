"""Every command and code block of the guides is run, in a directory of its own, and gives the output that it shows.

What a block is stands in comments before it: `<!-- file: NAME -->` is written to that file, `<!-- append: NAME -->` to
its end, `<!-- insert: NAME | before: TEXT -->` into it; `<!-- exit: N -->` is the expected exit status (else 0), and
`<!-- needs: MODULE -->` skips a block where the module is missing. A `text` block holds lines that the last command
printed, in this order.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

FENCE = re.compile(r"((?:<!-- [^\n]* -->\n)*)```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MARK = re.compile(r"<!-- (\w+): (.*?) -->")


@dataclass
class Block:
    """One fenced block with what its comments say."""

    language: str
    text: str
    marks: dict = field(default_factory=dict)


def blocks_of(markdown):
    return [Block(language, text, dict(MARK.findall(marks))) for marks, language, text in FENCE.findall(markdown)]


def sections_of(path):
    """Heading and blocks of each section that has blocks."""
    _, *parts = re.split(r"^## ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    sections = [(part.partition("\n")[0], blocks_of(part)) for part in parts]
    return [section for section in sections if section[1]]


NAMES = (
    "class-imbalance", "which-technique", "verify-your-implementation", "judge", "bootstrapping", "protocol", "result",
    "data-set-balance", "generative", "distributed", "gpu",
)  # fmt: skip
GUIDES = {
    f"{name}: {heading}": (sections_of(DOCS / f"{name}.md"), number)
    for name in NAMES
    for number, (heading, _) in enumerate(sections_of(DOCS / f"{name}.md"))
}


class Reader:
    """Someone who follows a guide word by word."""

    def __init__(self, folder):
        self.folder = folder
        self.output = ""
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "COLUMNS": "250",
            "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        }
        for name in ("CI", "PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "PYTEST_XDIST_WORKER", "FORCE_COLOR"):
            self.environment.pop(name, None)

    def write(self, block):
        path = self.folder / block.marks["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")

    def follow(self, block):
        if "file" in block.marks:
            self.write(block)
        elif "append" in block.marks:
            path = self.folder / block.marks["append"]
            path.write_text(path.read_text(encoding="utf-8") + block.text, encoding="utf-8")
        elif "insert" in block.marks:
            name, place = block.marks["insert"].split(" | before: ")
            path, place = self.folder / name, place.replace("\\n", "\n")
            before, found, after = path.read_text(encoding="utf-8").partition(place)
            assert found, f"{name} has no {place!r}"
            path.write_text(before + block.text + found + after, encoding="utf-8")
        elif block.language in ("sh", "python"):
            if "needs" in block.marks and importlib.util.find_spec(block.marks["needs"]) is None:
                return
            self.run(block)
        elif block.language == "text":
            self.compare(block)
        else:
            pytest.fail(f"a block that nothing runs: {block.language} {block.text[:60]}")

    def run(self, block):
        interpreter = {"sh": ["bash", "-eu", "-o", "pipefail", "-c"], "python": [sys.executable, "-c"]}[block.language]
        done = subprocess.run(
            [*interpreter, block.text], cwd=self.folder, env=self.environment, text=True, timeout=900,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        self.output = done.stdout
        assert done.returncode == int(block.marks.get("exit", 0)), f"{block.text}\n{done.stdout}"

    def compare(self, block):
        printed, place = " ".join(self.output.split()), 0
        for line in block.text.splitlines():
            wanted = " ".join(line.split())
            found = printed.find(wanted, place)
            assert found >= 0, f"not printed: {wanted}\n{self.output}"
            place = found + len(wanted)


@pytest.mark.parametrize(("sections", "number"), GUIDES.values(), ids=GUIDES)
def test_guide_does_what_it_says(sections, number, tmp_path):
    """A section's blocks in order, with the files of the sections before it."""
    reader = Reader(tmp_path)
    for _, blocks in sections[:number]:
        for block in blocks:
            if "file" in block.marks:
                reader.write(block)

    for block in sections[number][1]:
        reader.follow(block)


def test_vectors_go_to_another_program_and_back(tmp_path):
    """The page on vectors, from its first block to its last in one directory."""
    reader = Reader(tmp_path)

    for _, blocks in sections_of(DOCS / "vectors.md"):
        for block in blocks:
            reader.follow(block)

    program = (tmp_path / "focal.py").read_text(encoding="utf-8")
    assert len([line for line in program.splitlines() if line]) <= 20
    assert "steelyard" not in program


def test_a_technique_is_added_word_by_word(tmp_path):
    """The page on adding a technique, followed in a copy of the repository."""
    for folder in ("reference", "impl", "conformance", "docs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "build"))
    for file in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / file, tmp_path)
    reader = Reader(tmp_path)
    rooms = os.pathsep.join(str(tmp_path / room) for room in ("reference", "impl", "conformance"))
    reader.environment["PYTHONPATH"] = rooms  # before the installed ones

    for _, blocks in sections_of(DOCS / "add-a-technique.md"):
        for block in blocks:
            reader.follow(block)

    floors = json.loads((tmp_path / "conformance/steelyard/conformance/floor.json").read_text(encoding="utf-8"))
    assert floors["quick"]["saturating_loss"]["SAT-1"] >= 20
    assert set(floors["default"]) > {"saturating_loss"}
    for name in ("docs/mutants", "conformance/tests/requirement-ids", "conformance/tests/vectors-manifest"):
        assert "saturating_loss" in (tmp_path / f"{name}.json").read_text(encoding="utf-8"), name


@pytest.mark.parametrize("page", [*sorted(DOCS.glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
def test_links_of_a_page_lead_somewhere(page):
    """Every relative link names a file of the repository."""
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))  # in code, what looks like a link is a call
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", prose)

    assert [link for link in links if not (page.parent / link).exists()] == []
