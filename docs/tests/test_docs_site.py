"""The site, built once: complete, without a network, and readable in a browser on narrow and wide screens."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from steelyard.conformance.registry import TECHNIQUES

DOCS = Path(__file__).parents[1]
PAGE = "techniques/sigmoid_focal_loss.html"

pytest.importorskip("sphinx", reason="needs the extra: docs")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Where the command put it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, DOCS / "build.py", "--out", folder], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def checking():
    """The checks of the build, on pages of our own."""
    sys.path[:0] = [str(DOCS)]
    from generator import checking

    sys.path.remove(str(DOCS))
    return checking


def text_of(file):
    return re.sub(r"<[^>]+>", "", file.read_text(encoding="utf-8"))


def test_each_technique_has_its_page(site):
    """Formula, requirements, mistakes and code of every contract."""
    for id_, technique in TECHNIQUES.items():
        html = (site / "techniques" / f"{id_}.html").read_text(encoding="utf-8")
        missing = [r.id for r in technique.requirements if f'id="{id_}-{r.id}"'.lower().replace("_", "-") not in html]

        assert not missing, id_
        for section in ("what-it-is-for", "definition", "requirements", "known-mistakes", "reference-code"):
            assert f'id="{section}"' in html, f"{id_}: {section}"


def test_the_page_says_what_is_known(site):
    """Numbers, mutants by requirement, libraries and both codes on the focal loss's page."""
    said = text_of(site / PAGE)

    assert "array([0.043322, 0.129965])" in said
    assert "Alone catches" in said
    assert "torchvision" in said
    assert "def sigmoid_focal_loss(" in said
    assert "<math" in (site / PAGE).read_text(encoding="utf-8")


def test_nothing_is_loaded_from_elsewhere(site):
    """No page, style or script names a file of another host to load."""
    loads = re.compile(
        r"""(?:<(?:script|img|iframe)[^>]*\ssrc|<link[^>]*\shref)="(https?:)?//|@import|url\(["']?https?:"""
    )

    assert [f.name for f in site.rglob("*.html") if loads.search(f.read_text(encoding="utf-8"))] == []
    assert [f.name for f in site.rglob("*.css") if loads.search(f.read_text(encoding="utf-8"))] == []


def test_broken_links_are_found(checking, tmp_path):
    """A page that is not there, an anchor that is not there, a script from elsewhere; and nothing that is right."""
    (tmp_path / "a.html").write_text(
        '<p id="here"><a href="#here">1</a><a href="#gone">2</a><a href="b.html">3</a><a href="https://a.invalid">4</a>'
        '<a href="a.html#here">5</a><script src="https://b.invalid/x.js"></script></p>',
        encoding="utf-8",
    )

    assert checking.broken_links(tmp_path) == [
        "a.html: #gone",
        "a.html: b.html",
        "a.html: loads https://b.invalid/x.js",
    ]


def test_a_public_name_without_entry_is_found(checking, site, monkeypatch):
    """A name that is exported and not in the reference."""
    names = checking.public_names
    monkeypatch.setattr(checking, "public_names", lambda room: {**names(room), "phlogiston": None})

    assert checking.names_without_entry(site) == [
        f"steelyard.{room}.phlogiston" for room in ("reference", "impl", "conformance")
    ]


# --- in a browser ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(open_browser, tmp_path_factory):
    """Debian's Chromium without a window."""
    with open_browser(tmp_path_factory.mktemp("profile")) as made:
        yield made


def look(browser, address, *, width=1400, scheme="light"):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    browser.get(address)


def quiet(browser):
    """Nothing on the console, nothing asked from a network."""
    assert browser.get_log("browser") == []
    asked = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    addresses = [m["params"]["request"]["url"] for m in asked if m["method"] == "Network.requestWillBeSent"]
    assert [a for a in addresses if not a.startswith(("file:", "data:", "chrome:"))] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_maths_and_pictures_are_visible(site, browser, scheme, width):
    """Formulas have a size and stand out from their ground, pictures are drawn, the page fits the screen."""
    look(browser, (site / PAGE).as_uri(), width=width, scheme=scheme)

    seen = browser.execute_script(
        """
        const light = c => c.match(/[\\d.]+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0) / 765;
        const ground = light(getComputedStyle(document.body).backgroundColor);
        const formulas = [...document.querySelectorAll("article math")];
        return {
            ground,
            formulas: formulas.length,
            flat: formulas.filter(m => m.getBoundingClientRect().height < 8).length,
            pale: formulas.filter(m => Math.abs(light(getComputedStyle(m).color) - ground) < 0.5).length,
            drawn: [...document.querySelectorAll("article img")].map(i => i.complete && i.naturalWidth > 100
                && i.getBoundingClientRect().width <= innerWidth),
            wide: document.documentElement.scrollWidth - innerWidth,
        };
        """
    )

    assert (seen["ground"] > 0.9) == (scheme == "light")
    assert seen["formulas"] >= 20
    assert (seen["flat"], seen["pale"]) == (0, 0)
    assert seen["drawn"]
    assert all(seen["drawn"])
    assert seen["wide"] <= 0
    quiet(browser)


def test_search_finds_a_technique(site, browser):
    """The words of a title lead to its page, from a file, without a server."""
    from selenium.webdriver.support.ui import WebDriverWait

    look(browser, f"{(site / 'search.html').as_uri()}?q=varifocal")
    found = WebDriverWait(browser, 20).until(
        lambda b: [a.get_attribute("href") for a in b.find_elements("css selector", "#search-results li a")]
    )

    assert any("varifocal_loss.html" in address for address in found)
    quiet(browser)


def test_every_guide_opens_quietly(site, browser):
    """No message on the console, on any page that the first page lists."""
    look(browser, (site / "index.html").as_uri())
    links = browser.find_elements("css selector", "article a.reference.internal")
    pages = sorted({link.get_attribute("href").partition("#")[0] for link in links})
    guides = [page for page in pages if "/techniques/" not in page and "/deviations/" not in page]

    assert len(guides) > 10
    for guide in guides:
        look(browser, guide, width=400)
        assert browser.execute_script("return document.documentElement.scrollWidth - innerWidth") <= 0, guide
    quiet(browser)
