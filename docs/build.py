"""The site, from the project's own files: `python docs/build.py [--out DIR]`; the first page is DIR/index.html.

Pages of techniques and of the API are generated from the contracts and docstrings, figures are drawn, doctests are run
and numbers computed; the guides are taken as they are. The build ends with an error where Sphinx warns, a public name
has no entry, a link leads nowhere, or a docstring's number is wrong. It needs `pip install 'steelyard[docs]'`.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(DOCS), str(DOCS / "generator")]

import measure_automatic_mutants  # noqa: E402
from generator import api_pages, checking, mutant_scores, technique_pages  # noqa: E402 - found by the path above
from generator.pictures import picture  # noqa: E402
from measure_mutants import kept  # noqa: E402
from plots import FIGURES  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402

from steelyard.conformance.registry import TECHNIQUES  # noqa: E402

GUIDES = (
    "class-imbalance", "which-technique", "walkthrough", "verify-your-implementation", "data-set-balance", "generative",
    "bootstrapping", "distributed", "speed", "gpu", "judge", "result", "protocol", "vectors", "versioning",
    "add-a-technique", "glossary",
)  # fmt: skip
"""In the order in which they are listed; those of docs/ that are not named here come after."""
OF_THE_REPOSITORY = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "README.md")
LINK = re.compile(r"(!?\[[^\]]*\])\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")

TECHNIQUE_OF_ROW = re.compile(r"^\| ([a-z_]+_[a-z_]+) \|", re.MULTILINE)
"""Of the table of libraries."""


def gather(staging: Path) -> None:
    """Write the sources of all pages into a folder."""
    public = api_pages.links()
    figures = draw(staging / "figures")
    generated = {
        **api_pages.pages(public),
        **technique_pages.pages(public, figures, draw_techniques(staging / "figures" / "techniques"), kept()),
        "index.md": index(),
    }
    for name, text in generated.items():
        write(staging / name, text)
    scores = mutant_scores.tables(measure_automatic_mutants.kept())
    taken = {file: file.relative_to(DOCS) for file in DOCS.glob("*.md")}
    taken |= {file: file.relative_to(DOCS) for file in (DOCS / "deviations").glob("*.md")}
    taken |= {ROOT / name: Path(name.lower()) for name in OF_THE_REPOSITORY}
    taken[ROOT / "examples" / "README.md"] = Path("examples.md")
    for file, page in taken.items():
        write(staging / page, relinked(file, page, taken, staging).replace(mutant_scores.MARK, scores))
    matrix = staging / "matrix.md"
    write(matrix, TECHNIQUE_OF_ROW.sub(r"| [\1](techniques/\1.md) |", matrix.read_text(encoding="utf-8")))
    with (staging / "deviations" / "README.md").open("a", encoding="utf-8") as of_all:
        reports = sorted(page.stem for page in taken.values() if page.parent.name == "deviations")
        of_all.write("\n".join(["\n```{toctree}", ":hidden:", *(r for r in reports if r != "README"), "```\n"]))
    for extension in ("conf.py", "mathml.py"):
        shutil.copy(DOCS / "generator" / extension, staging)
    write(staging / "_static" / "site.css", (DOCS / "generator" / "site.css").read_text(encoding="utf-8"))


def draw(folder: Path) -> dict[str, str]:
    """Draw the figures; name -> what each shows."""
    folder.mkdir(parents=True)
    shown = {}
    for name, figure in FIGURES.items():
        figure().savefig(folder / f"{name}.svg", metadata={"Date": None})
        shown[name] = (figure.__doc__ or name).partition("\n")[0]
    return shown


def draw_techniques(folder: Path) -> dict[str, str]:
    """Draw the picture of each technique; id -> its caption."""
    folder.mkdir(parents=True)
    captions = {}
    for id_, technique in TECHNIQUES.items():
        figure, captions[id_] = picture(technique)
        figure.savefig(folder / f"{id_}.svg", metadata={"Date": None})
    return captions


def index() -> str:
    """The first page, with the guides."""
    there = {file.stem for file in DOCS.glob("*.md")} - {"matrix"}
    guides = "\n".join([*(guide for guide in GUIDES if guide in there), *sorted(there - set(GUIDES))])
    text = (DOCS / "generator" / "index.md").read_text(encoding="utf-8")
    return text.replace("GUIDES", guides).replace(
        "FAMILIES", "\n".join(f"techniques/{f}" for f in technique_pages.FAMILIES)
    )


def relinked(file: Path, page: Path, taken: dict[Path, Path], staging: Path) -> str:
    """The text of a page; its links to other files of the repository lead to copies, those to folders become words."""

    def link(found: re.Match[str]) -> str:
        target = (file.parent / found[2]).resolve()
        if target in taken:
            return f"{found[1]}({os.path.relpath(taken[target], page.parent)}{found[3] or ''})"
        if target.is_relative_to(DOCS / "figures") and (staging / "figures" / target.name).exists():
            return f"{found[1]}({os.path.relpath(Path('figures') / target.name, page.parent)})"
        if not target.is_file():
            return found[1].strip("[]")
        copy = Path("_repository") / target.relative_to(ROOT)
        (staging / copy).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(target, staging / copy)
        return f"{found[1]}({os.path.relpath(copy, page.parent)})"

    return LINK.sub(link, file.read_text(encoding="utf-8"))


def write(file: Path, text: str) -> None:
    """Write a file and the folders above it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def build(out: Path) -> list[str]:
    """Build the site; what is wrong with it."""
    undocumented = [f"no docstring: {name}" for name in api_pages.undocumented()]
    with tempfile.TemporaryDirectory() as staging:
        source = Path(staging) / "source"
        gather(source)
        application = Sphinx(
            str(source), str(source), str(out), str(Path(staging) / "doctrees"), "html",
            freshenv=True, warningiserror=False, status=None,
        )  # fmt: skip
        application.build()
        warned = [f"{application._warncount} warnings of Sphinx, above"] if application._warncount else []  # noqa: SLF001
    (out / ".nojekyll").touch()
    return [
        *undocumented,
        *warned,
        *(f"not in the API reference: {name}" for name in checking.names_without_entry(out)),
        *(f"leads nowhere: {link}" for link in checking.broken_links(out)),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Build, and say what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DOCS / "build", help="folder of the site; default: docs/build")
    chosen = parser.parse_args(arguments)
    problems = build(chosen.out.resolve())
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    if problems:
        sys.exit(1)
    sys.stdout.write(f"{chosen.out / 'index.html'}\n")


if __name__ == "__main__":
    main()
