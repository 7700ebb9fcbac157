"""The matrix page of `steelyard report`: what it is made of, and that it works in a real browser."""

import json
import re
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from steelyard.conformance.command_line import app
from steelyard.conformance.registry import TECHNIQUES
from steelyard.conformance.results import RequirementResult, Result, Status, TechniqueResult, Verdict

FOCAL, SAMPLING = TECHNIQUES["sigmoid_focal_loss"], TECHNIQUES["random_sampling"]
SETTINGS = {
    "target": "mine.py", "source": None, "as": None, "map": {}, "set": {}, "dtypes": None, "requirements": None,
    "known": [],
}  # fmt: skip
NASTY = 'worst at [0]: got </script><script>alert(1)</script> & "nan"'


def judged(contract, **statuses):
    found = tuple(
        RequirementResult(r.id, r.level.value, r.kind.value, statuses.get(r.id, Status.PASS), checks=5)
        for r in contract.requirements
    )
    red = any(r.is_red for r in found)
    return TechniqueResult(contract.id, Verdict.DEVIATES if red else Verdict.CONFORMS, requirements=found)


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Files of two candidates: one is right, one fails FL-7 with a case beside it."""
    monkeypatch.chdir(tmp_path)
    good = Result("good", "1.0", "numpy", "quick", 0, "cpu", (judged(FOCAL), judged(SAMPLING)), settings=SETTINGS)
    bad = judged(FOCAL, **{"FL-7": Status.FAIL})
    requirements = [
        replace(r, message=NASTY, explanation="no known mistake matches", case="cases/one.json")
        if r.id == "FL-7"
        else r
        for r in bad.requirements
    ]
    bad = Result(
        "bad", "2.0", "torch", "quick", 0, "cpu", (replace(bad, requirements=tuple(requirements)),), settings=SETTINGS
    )
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "one.py").write_text("print('the script')\n", encoding="utf-8")
    for result in (good, bad):
        (tmp_path / f"{result.target}.json").write_text(json.dumps(result.to_json()), encoding="utf-8")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


@pytest.fixture
def page(results):
    found = run(
        "good.json", "bad.json", "--html", "page.html", "--docs", "https://docs.invalid", "--date", "2026-01-02"
    )
    assert found.exit_code == 0, found.output
    return results / "page.html"


def test_a_script_too_large_for_a_page_is_left_out(results):
    """Its failure is told all the same, with the command that replays the case file."""
    (results / "cases" / "one.py").write_text("print('the script')\n" + "#" * 20_000, encoding="utf-8")

    assert run("good.json", "bad.json", "--html", "page.html").exit_code == 0

    text = (results / "page.html").read_text(encoding="utf-8")
    assert "the script')" not in text
    assert "steelyard replay cases/one.json" in text


def test_the_page_stands_alone(page):
    """No address of a script, style, picture or font; what a candidate says cannot end a script element."""
    text = page.read_text(encoding="utf-8")

    assert not re.search(r'(src|srcset)=|@import|url\(|<link (?!rel="icon" href="data:,")', text)
    assert "alert(1)</script>" not in text
    assert "2026-01-02" in text


def test_what_is_not_a_result_is_refused(results):
    """Each with the file's name and the reason, status 3."""
    (results / "list.json").write_text("[]", encoding="utf-8")
    (results / "torn.json").write_text('{"schema": ', encoding="utf-8")
    (results / "lacking.json").write_text('{"schema": "steelyard-result-1"}', encoding="utf-8")
    strange = json.loads((results / "good.json").read_text(encoding="utf-8"))
    strange["techniques"][0]["id"] = "phlogiston"
    (results / "strange.json").write_text(json.dumps(strange), encoding="utf-8")

    for name, reason in (
        ("list.json", "expected a result of `steelyard check --json`"),
        ("torn.json", "not JSON"),
        ("lacking.json", "not a result of this version: $: 'steelyard' is a required property"),
        ("absent.json", "No such file"),
        ("strange.json", "technique 'phlogiston'"),
    ):
        found = run(name, "--html", "page.html")
        assert found.exit_code == 3
        assert reason in found.stderr.replace("\n", " ")
    assert run("good.json", "--html", "absent/page.html").exit_code == 2
    assert not (results / "page.html").exists()


@pytest.fixture
def browser(open_browser, tmp_path):
    """Debian's Chromium without a window."""
    with open_browser(tmp_path / "profile") as made:
        yield made


def cells(browser):
    """Row heading -> texts of its cells."""
    rows = browser.find_elements("css selector", "#matrix tbody tr")
    return {
        row.find_element("css selector", "th a").text: [cell.text for cell in row.find_elements("css selector", "td")]
        for row in rows
    }


def choose(browser, name, value):
    field = browser.find_element("id", name)
    if field.tag_name == "select":
        field.find_element("xpath", f"./option[. = '{value}']").click()
    else:
        field.send_keys(value)


def test_the_page_in_a_browser(page, browser):
    """Open, filter, sort, open a failure, copy its script, close by keyboard; nothing on the console or the net."""
    from selenium.webdriver.common.keys import Keys

    browser.get(page.as_uri())
    total = len(FOCAL.requirements)
    assert cells(browser) == {
        "random_sampling": [f"✓ conforms\n{len(SAMPLING.requirements)} of {len(SAMPLING.requirements)} hold", "–"],
        "sigmoid_focal_loss": [f"✓ conforms\n{total} of {total} hold", f"✗ deviates\n{total - 1} of {total} hold"],
    }

    choose(browser, "family", "soft_sampling")
    assert list(cells(browser)) == ["sigmoid_focal_loss"]
    choose(browser, "level", "MAY")
    assert cells(browser)["sigmoid_focal_loss"][1].startswith("✓ conforms")
    browser.find_element("css selector", "button[type=reset]").click()
    choose(browser, "outcome", "all conform")
    assert list(cells(browser)) == ["random_sampling"]
    browser.find_element("css selector", "button[type=reset]").click()
    choose(browser, "search", "focal")
    assert list(cells(browser)) == ["sigmoid_focal_loss"]
    assert browser.find_element("id", "shown").text == "1 of 2 techniques"
    browser.find_element("css selector", "button[type=reset]").click()

    browser.find_elements("css selector", "#matrix thead button")[2].click()
    assert list(cells(browser)) == ["sigmoid_focal_loss", "random_sampling"]
    assert browser.switch_to.active_element.text.startswith("bad")

    cell = browser.find_element("css selector", "#matrix td button.deviates")
    assert cell.accessible_name == f"sigmoid_focal_loss, bad: deviates, {total - 1} of {total} hold"
    cell.send_keys(Keys.ENTER)
    dialog = browser.find_element("id", "detail")
    assert dialog.is_displayed()
    first = dialog.find_element("css selector", "details")
    assert first.text.startswith("fail FL-7 MUST")
    assert NASTY in first.text
    assert "print('the script')" in first.text
    script = first.find_elements("css selector", "button.copy")[1]
    script.click()
    assert (
        browser.execute_async_script(
            "const done = arguments[0], end = Date.now() + 3000;"
            "(function look() { const said = document.querySelectorAll('.copy')[1].textContent;"
            "  said === 'Copied' || Date.now() > end ? done(said) : setTimeout(look, 20); })();"
        )
        == "Copied"
    )
    assert browser.current_url.endswith("#bad/sigmoid_focal_loss")
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not dialog.is_displayed()

    links = {a.get_attribute("href") for a in browser.find_elements("css selector", "#matrix a")}
    assert links == {f"https://docs.invalid/techniques/{name}.html" for name in cells(browser)}
    assert browser.get_log("browser") == []
    asked = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    addresses = [m["params"]["request"]["url"] for m in asked if m["method"] == "Network.requestWillBeSent"]
    assert [a for a in addresses if not a.startswith(("file:", "data:", "chrome:"))] == []  # chrome: its start page


def test_a_link_opens_its_failure(page, browser):
    """The address with a fragment shows one cell's detail; without it, none."""
    browser.get(f"{page.as_uri()}#bad/sigmoid_focal_loss")

    assert browser.find_element("id", "detail-title").text == "bad 2.0: Sigmoid focal loss"


def test_heads_and_names_stay_in_sight(page, browser):
    """On a screen smaller than the table, scrolled to its end: candidates above, techniques at the left."""
    size = {"width": 250, "height": 150, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())

    moved, head, name = browser.execute_script(
        """
        const box = document.querySelector(".scroll"), from = box.getBoundingClientRect();
        box.scrollTo(1e4, 1e4);
        const place = (selector) => [...box.querySelectorAll(selector)].at(-1).getBoundingClientRect();
        return [[box.scrollLeft, box.scrollTop], place("thead th").top - from.top, place("tbody th").left - from.left];
        """
    )

    assert min(moved) > 0
    assert (head, name) == (0, 0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_words_can_be_read_in_light_and_dark(page, browser, scheme, width):
    """Text stands out from its ground by 4.5 : 1 (WCAG AA) in every cell, and the page is no wider than the screen."""
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())

    ratios = browser.execute_script(
        """
        const channels = (text) => text.match(/[0-9.]+/g).slice(0, 3).map(Number);
        const light = (text) => channels(text).map((c) => c / 255)
            .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
            .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
        return [...document.querySelectorAll("td > button, .legend dt:not(.none)")].map((cell) => {
            const style = getComputedStyle(cell);
            const [one, other] = [light(style.color), light(style.backgroundColor)];
            return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        });
        """
    )
    assert len(ratios) == 7
    assert min(ratios) > 4.5
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
