"""The field's terms are spelt in one way: in the guides, in every docstring, and in the sentences of the contracts.

Names in code, quoted titles and addresses are left alone: they are spelt as their authors spell them.
"""

import ast
import re
from pathlib import Path

import pytest

from steelyard.conformance.registry import TECHNIQUES

ROOT = Path(__file__).parents[2]
ROOMS = ("reference", "impl", "conformance")
SPELT = {
    "class imbalance": r"class-imbalance(?! (?:technique|method))|imbalance of classes",
    "cross entropy": r"cross-entropy|crossentropy",
    "data set": r"dataset|data-set(?!-balance)",
    "detector outputs of one stage: one-stage": r"one stage (?:detector|head)|single-stage|single stage",
    "effective number of samples": r"effective sample number",
    "easy example, hard example": r"easy-example|hard sample\b|easy sample\b",
    "foreground": r"fore-ground",
    "generalized (the papers' spelling)": r"generalised (?:focal|iou|intersection)",
    "gradient density": r"density of gradients|gradient's density",
    "ground truth": r"ground-truth(?! (?:box|index))|groundtruth",
    "hard-negative mining": r"hard negative mining|negative-mining",
    "harmonizing (the paper's spelling)": r"harmonising",
    "heat map": r"heatmap|heat-map",
    "IoU": r"\bIOUs?\b(?!-\d)|\bIous?\b",
    "IoU-balanced": r"IoU balanced",
    "key point": r"keypoint|key-point",
    "long tail": r"longtail",
    "low-quality match": r"low quality match",
    "mini-batch": r"minibatch|mini batch",
    "moving average": r"running average|moving-average",
    "non-maximum suppression": r"non maximum suppression|non-max\b|nonmaximum",
    "normalise, optimise (British, as in the code)": r"normaliz|optimizer",
    "positive RoI": r"\bROIs?\b(?!-\d)",
    "prior probability": r"prior-probability(?! (?:bias|initialisation))",
    "two-stage": r"two stage (?:detector|head)",
    "varifocal loss": r"vari-focal",
}
"""Term of the glossary -> spellings that are not used."""
LEFT_ALONE = re.compile(
    r"```.*?^```|`[^`]*`|\$[^$]*\$|\"[^\"]*\"|<!--.*?-->|\]\([^)]*\)|https?://\S+|<[^>]*>|arXiv \S+"
    r"|\bClassBalancedDataset\b",
    re.DOTALL | re.MULTILINE,
)


def misspelt(text):
    """Spellings that are not used, each with the term that it should be."""
    prose = LEFT_ALONE.sub(" ", text)
    return [
        f"{found[0]!r} for {term!r} in {' '.join(prose[max(found.start() - 30, 0) : found.end() + 30].split())!r}"
        for term, wrong in SPELT.items()
        for found in re.finditer(
            wrong, prose, 0 if "[A-Z]" in wrong or "IOU" in wrong or "ROI" in wrong else re.IGNORECASE
        )
    ]


def docstrings_of(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    said = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, documented)]
    return [re.sub(r"^\s*(>>>|\.\.\.).*$", "", text, flags=re.MULTILINE) for text in said]


PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md")), ROOT / "examples" / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_use_the_terms(page):
    """Guides, reports and what stands beside the code."""
    assert misspelt(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("room", ROOMS)
def test_docstrings_use_the_terms(room):
    """Every docstring of a room."""
    files = sorted((ROOT / room / "steelyard").rglob("*.py"))
    wrong = {str(file.relative_to(ROOT)): [m for text in docstrings_of(file) for m in misspelt(text)] for file in files}

    assert len(files) > 20
    assert {file: found for file, found in wrong.items() if found} == {}


def test_contracts_use_the_terms():
    """Titles, summaries, requirements, rulings, dialects and mutants."""
    said = [
        text
        for contract in TECHNIQUES.values()
        for text in (
            contract.title, contract.summary,
            *(r.text for r in (*contract.requirements, *contract.rulings)),
            *(one.summary for one in (*contract.dialects, *contract.mutants)),
        )
    ]  # fmt: skip

    assert [m for text in said for m in misspelt(text)] == []


@pytest.mark.parametrize("term", SPELT)
def test_each_term_stands_in_the_glossary_and_a_wrong_one_is_seen(term):
    """The list is the glossary's; the comparison can fail, and does not look into code."""
    glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").lower()
    words = re.split(r" \(|, | \(", term.partition(": ")[2] or term)

    assert words[0].lower() in glossary or words[0] in ("normalise", "generalized", "harmonizing")
    assert misspelt("the dataset and its minibatch")
    assert not misspelt('the data set, `dataset`, "A dataset" and its mini-batch\n```python\ndataset\n```\n')
