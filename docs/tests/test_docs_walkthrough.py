"""The walkthrough runs from its first cell to its last, prints what it shows, and shows what its text says."""

import re
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1]
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


@pytest.fixture(scope="module")
def walkthrough():
    """Cells, and the names they leave."""
    sys.path[:0] = [str(DOCS)]
    import cells

    sys.path.remove(str(DOCS))
    return cells.run("walkthrough")


def same_but_for_rounding(printed, shown):
    """The same words, and numbers that differ by at most two in their last digit: machines round sums differently."""
    if NUMBER.sub("#", printed).split() != NUMBER.sub("#", shown).split():
        return False
    for one, other in zip(NUMBER.findall(printed), NUMBER.findall(shown), strict=True):
        last = 10.0 ** -len(other.partition(".")[2])
        if abs(float(one.replace(",", "")) - float(other.replace(",", ""))) > 2.5 * last * ("." in other):
            return False
    return True


def test_cells_print_what_the_page_shows(walkthrough):
    """Counts exactly, shares and scores to the rounding of another machine."""
    shown = [(cell.printed, cell.shown) for cell in walkthrough[0] if cell.printed or cell.shown]

    assert len(shown) == 4
    for printed, page in shown:
        assert same_but_for_rounding(printed, page), f"{printed}\nthe page says\n{page}"


def test_another_number_and_another_word_are_seen():
    """The comparison can fail."""
    assert same_but_for_rounding("focal 0.39 of 6300", "focal 0.40  of 6300")
    assert not same_but_for_rounding("focal 0.36 of 6300", "focal 0.40 of 6300")
    assert not same_but_for_rounding("focal 0.40 of 6301", "focal 0.40 of 6300")
    assert not same_but_for_rounding("GHM 0.40 of 6300", "focal 0.40 of 6300")


def test_the_text_tells_what_happened(walkthrough):
    """Cross entropy is taught by easy background throughout, the others by foreground and hard background."""
    _, names = walkthrough
    last = {loss: splits[0][0][-1] for loss, splits in names["runs"].items()}
    rows = names["rows"]

    assert all(step[2] > 0.8 for step in names["runs"]["CE"][0][0])
    for loss in ("focal", "GHM", "QFL"):
        foreground, hard, easy = last[loss]
        assert 0.35 < foreground < 0.65
        assert 0.35 < hard < 0.65
        assert easy < 0.15
        assert rows["CE"]["easy background"] < 0.7 * rows[loss]["easy background"]
    assert max(rows, key=lambda loss: rows[loss]["foreground"]) == "GHM"
    assert max(rows, key=lambda loss: rows[loss]["hardest background"]) == "GHM"
    between_splits = max(abs(row["ranks"][0] - row["ranks"][1]) for row in rows.values())
    between_losses = max(row["ranks"][0] for row in rows.values()) - min(row["ranks"][0] for row in rows.values())
    assert 0.5 < between_splits / between_losses < 2.0
