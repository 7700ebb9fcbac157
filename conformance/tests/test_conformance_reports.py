"""The reports for CI (JUnit XML, Markdown, the badge) say what the result says, whatever the messages hold."""

import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from steelyard.conformance.badge import AMBER, GREEN, GREY, LABEL_COLOUR, RED, badge, badge_svg
from steelyard.conformance.junit import junit_xml
from steelyard.conformance.markdown import markdown_summary
from steelyard.conformance.registry import TECHNIQUES
from steelyard.conformance.results import RequirementResult, Result, Status, TechniqueResult, Verdict

TECHNIQUE = "sigmoid_focal_loss"
HOSTILE = "\x00</details> | `` ``` <b>&amp; *bold* ]]> \ud800 $x$\n\n# heading\n```\n| a |"

given_often = settings(max_examples=100, derandomize=True, deadline=None, database=None)


def parsed_xml(text):
    return ET.fromstring(text)  # noqa: S314 - our own text


def requirement(status, level="MUST", id_="FL-1", **fields):
    return RequirementResult(id_, level, "value", status, **fields)


def technique(*requirements, verdict=Verdict.CONFORMS, id_=TECHNIQUE, **fields):
    return TechniqueResult(id_, verdict, requirements=tuple(requirements), **fields)


def result(*techniques, **fields):
    return Result("mylib", "1.0", "numpy", "quick", 7, "cpu", tuple(techniques), **fields)


@st.composite
def results(draw):
    """Any result that a run may have."""
    techniques = []
    text = st.text(max_size=40) | st.just(HOSTILE)
    for id_ in draw(st.lists(st.sampled_from(list(TECHNIQUES)), unique=True, max_size=3)):
        found = [
            requirement(
                draw(st.sampled_from(Status)), contract.level.value, contract.id, message=draw(text), reason=draw(text)
            )
            for contract in draw(st.lists(st.sampled_from(TECHNIQUES[id_].requirements), max_size=4, unique_by=id))
        ]
        missed = tuple(f"{one.id}: 3 comparisons, expected at least 9" for one in found if draw(st.booleans()))
        techniques.append(technique(*found, id_=id_, verdict=draw(st.sampled_from(Verdict)), missed_floor=missed))
    return result(*techniques, complete=draw(st.booleans()), unmatched=tuple(draw(st.lists(text, max_size=2))))


# --- JUnit --------------------------------------------------------------------------------------------------------


@given(found=results())
@given_often
def test_junit_is_red_exactly_when_the_run_is(found):
    """A failure or an error stands in the file if and only if the exit status is not 0."""
    root = parsed_xml(junit_xml(found, TECHNIQUES))

    red = root.findall(".//failure") + root.findall(".//error")

    assert bool(red) == (found.exit_status != 0)


@given(found=results())
@given_often
def test_junit_has_a_suite_a_technique_and_a_case_a_requirement(found):
    """In the result's order, under the requirement's id, and no case twice."""
    root = parsed_xml(junit_xml(found, TECHNIQUES))

    suites = {suite.get("name"): suite for suite in root}

    assert [name for name in suites if name in TECHNIQUES] == [judged.id for judged in found.techniques]
    for judged in found.techniques:
        cases = [case.get("name").split()[0] for case in suites[judged.id].iter("testcase")]
        assert cases[: len(judged.requirements)] == [one.id for one in judged.requirements]


@given(found=results())
@given_often
def test_junit_counts_what_it_holds(found):
    """Each suite's and the whole file's numbers are those of the cases inside."""
    root = parsed_xml(junit_xml(found, TECHNIQUES))

    for element in [root, *root.findall("testsuite")]:
        assert int(element.get("tests")) == len(list(element.iter("testcase")))
        assert int(element.get("failures")) == len(list(element.iter("failure")))
        assert int(element.get("errors")) == len(list(element.iter("error")))
        assert int(element.get("skipped")) == len(list(element.iter("skipped")))


@pytest.mark.parametrize(
    ("found", "outcome", "words"),
    [
        (requirement(Status.PASS), None, ""),
        (requirement(Status.WARN, message="accuracy is poor"), None, "accuracy is poor"),
        (requirement(Status.FAIL, message="value: 1 of 2"), "failure", "value: 1 of 2"),
        (requirement(Status.ERROR, message="raised TypeError"), "error", "raised TypeError"),
        (requirement(Status.FIXED, "SHOULD", message="take it off the list"), "failure", "take it off the list"),
        (requirement(Status.SKIP, message="no gradient"), "skipped", "no gradient"),
        (requirement(Status.FAIL, "SHOULD", message="value"), "skipped", "not binding (SHOULD): value"),
        (requirement(Status.ERROR, "MAY", message="raised"), "skipped", "not binding (MAY): raised"),
        (requirement(Status.KNOWN, reason="old", url="https://x"), "skipped", "known failure: old (https://x)"),
    ],
)
def test_junit_outcome_of_each_status(found, outcome, words):
    """What binds and does not hold is a failure or an error; all else passes or is skipped with its reason."""
    root = parsed_xml(junit_xml(result(technique(found)), TECHNIQUES))

    (case,) = root.iter("testcase")
    outcomes = [child for child in case if child.tag in ("failure", "error", "skipped")]

    assert [child.tag for child in outcomes] == ([] if outcome is None else [outcome])
    assert words in (outcomes[0].get("message") if outcomes else "".join(case.itertext()))


def test_junit_keeps_the_report_of_a_failure():
    """Worst element, requirement and replay line stand in the failure's body."""
    found = requirement(Status.FAIL, message="value: 1 of 1\n  worst at [0]", case="cases/FL-1.json")

    root = parsed_xml(junit_xml(result(technique(found)), TECHNIQUES))

    body = root.find(".//failure").text
    assert "worst at [0]" in body
    assert TECHNIQUES[TECHNIQUE].requirement("FL-1").text in body
    assert "replay: steelyard replay cases/FL-1.json" in body


# --- Markdown -----------------------------------------------------------------------------------------------------


def tokens(found):
    return MarkdownIt("commonmark").enable("table").parse(markdown_summary(found, TECHNIQUES))


def shown(token):
    """The text of an inline token as a reader sees it; markup inside it is none of ours."""
    assert {child.type for child in token.children} <= {"text", "text_special", "strong_open", "strong_close"}
    return "".join(child.content for child in token.children)


@given(found=results())
@given_often
def test_markdown_has_one_table_with_a_row_a_technique(found):
    """Nothing in a message or in the target's name adds a row, a column, a heading or a table."""
    parsed = tokens(found)

    assert sum(token.type == "table_open" for token in parsed) == 1
    assert sum(token.type == "tr_open" for token in parsed) == 1 + len(found.techniques)
    assert sum(token.type in ("th_open", "td_open") for token in parsed) == 5 * (1 + len(found.techniques))
    assert sum(token.type == "heading_open" for token in parsed) <= 3


@given(found=results())
@given_often
def test_markdown_folds_each_report_as_it_stands(found):
    """One folded code block for each requirement that failed, known or not, and no text outside of it."""
    parsed = tokens(found)

    opened = [token for token in parsed if token.type == "html_block" and token.content.startswith("<details>")]
    closed = [token for token in parsed if token.type == "html_block" and token.content.strip() == "</details>"]
    fences = [token for token in parsed if token.type == "fence"]
    wanted = (Status.FAIL, Status.ERROR, Status.FIXED, Status.KNOWN)
    count = sum(one.status in wanted for judged in found.techniques for one in judged.requirements)

    assert len(opened) == len(closed) == len(fences) == count
    assert all(token.content.count("<details>") == 1 and "</details>" not in token.content for token in opened)


def test_markdown_shows_hostile_text_verbatim():
    """The target's name, a departure and a message are text, whatever is in them."""
    name = "a|b`c*d<b>_x_[y](z)"
    judged = technique(requirement(Status.FAIL, message=f"raised {name}"), verdict=Verdict.DEVIATES, departures=(name,))
    found = Result(name, "", "numpy", "quick", 0, "cpu", (judged,))

    inline = [shown(token) for token in tokens(found) if token.type == "inline"]

    assert f"Steelyard: {name}" in inline
    assert f"{TECHNIQUE}: {name}" in inline
    (fence,) = (token for token in tokens(found) if token.type == "fence")
    assert fence.content.startswith(f"FL-1 MUST fail: raised {name}\n")


def test_markdown_puts_what_is_red_first():
    """What has to be mended, then what is known or not binding."""
    found = [
        requirement(Status.FAIL, "SHOULD", "FL-8", message="half"),
        requirement(Status.KNOWN, "MUST", "FL-7", message="old"),
        requirement(Status.FAIL, "MUST", "FL-1", message="wrong"),
    ]

    text = markdown_summary(result(technique(*found, verdict=Verdict.DEVIATES)), TECHNIQUES)

    places = [text.index(part) for part in ("to be mended", "<b>FL-1</b>", "Known, or", "<b>FL-8</b>", "<b>FL-7</b>")]
    assert places == sorted(places)


def test_markdown_stays_below_what_ci_shows():
    """However long the messages: the rest is counted."""
    contract = TECHNIQUES[TECHNIQUE]
    long = "\n".join(["\u20ac" * 5000] * 40)
    found = [requirement(Status.FAIL, r.level.value, r.id, message=long) for r in contract.requirements]

    text = markdown_summary(result(technique(*found, verdict=Verdict.DEVIATES)), TECHNIQUES)

    assert len(text.encode()) < 2**20
    assert "further results do not fit here" in text


# --- badge --------------------------------------------------------------------------------------------------------

CONFORMING = technique(requirement(Status.PASS))
DEVIATING = technique(requirement(Status.FAIL), verdict=Verdict.DEVIATES)
BADGES = [
    (result(CONFORMING), "conforms", GREEN),
    (result(DEVIATING), "deviates", RED),
    (result(DEVIATING, complete=False), "deviates", RED),
    (result(technique(requirement(Status.KNOWN), verdict=Verdict.DEVIATES)), "deviates (1 known)", AMBER),
    (result(technique(requirement(Status.FIXED))), "known failures out of date", AMBER),
    (result(CONFORMING, unmatched=("x",)), "known failures out of date", AMBER),
    (result(technique(requirement(Status.PASS), missed_floor=("x",))), "too few checks", AMBER),
    (result(CONFORMING, complete=False), "unfinished", GREY),
    (result(), "not implemented", GREY),
    (result(CONFORMING, settings={"requirements": ["FL-1"]}), "conforms in part", GREY),
]


@pytest.mark.parametrize(("found", "message", "colour"), BADGES, ids=[f"{b[1]} {n}" for n, b in enumerate(BADGES)])
def test_badge_says_the_worst_that_is_true(found, message, colour):
    """One message and colour for each way a run may end."""
    made = badge(found)

    assert (made.message, made.colour) == (message, colour)


@given(found=results())
@given_often
def test_badge_is_green_only_for_a_whole_run_without_deviation(found):
    """Green asks for exit status 0 and for no technique that deviates as known."""
    if badge(found).colour == GREEN:
        assert found.exit_status == 0
        assert all(
            one.status != Status.KNOWN or one.level != "MUST" for t in found.techniques for one in t.requirements
        )


@pytest.mark.parametrize("found", [b[0] for b in BADGES])
def test_badge_stands_alone_and_is_read_aloud(found):
    """An SVG with a name and a title, that loads nothing."""
    text = badge_svg(found)
    root = parsed_xml(text)

    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.get("role") == "img"
    assert root.get("aria-label") == f"steelyard: {badge(found).message}"
    assert root[0].tag.endswith("title")
    assert root[0].text == badge(found).title
    assert not re.search("href|url\\(|<style|<script|@import|<image", text)


def test_badge_texts_lie_inside_their_halves():
    """The length of each text is given, so that no font makes it run over."""
    for found, message, _ in BADGES:
        root = parsed_xml(badge_svg(found))
        label, right = root.iter("{http://www.w3.org/2000/svg}text")

        assert (label.text, right.text) == ("steelyard", message)
        assert int(label.get("x")) + int(label.get("textLength")) < int(right.get("x"))
        assert int(right.get("x")) + int(right.get("textLength")) < int(root.get("width"))


@pytest.mark.parametrize("colour", [GREEN, RED, AMBER, GREY, LABEL_COLOUR])
def test_badge_colours_can_be_read(colour):
    """White on each has a contrast of at least 4.5, as WCAG 2 level AA asks of small text."""

    def linear(channel):
        return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4

    r, g, b = (linear(int(colour[i : i + 2], 16) / 255) for i in (1, 3, 5))
    luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b

    assert 1.05 / (luminance + 0.05) >= 4.5


def test_badge_survives_any_name():
    """The target's name is text in the title."""
    found = Result('a<b>&"\x07', "", "numpy", "quick", 0, "cpu", (CONFORMING,))

    assert 'a<b>&" ' in parsed_xml(badge_svg(found))[0].text
