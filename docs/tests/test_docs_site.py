"""The site, built once: complete, without a network, and readable in a browser on narrow and wide screens."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from steelyard.conformance.registry import TECHNIQUES

DOCS = Path(__file__).parents[1]
PAGE = "techniques/sigmoid_focal_loss.html"

pytest.importorskip("sphinx", reason="needs the extra: docs")
built = pytest.mark.slow  # the build takes a minute: .ci/run runs these in a step of their own
SECTIONS = (
    "what-it-is-for", "definition", "reference-code", "the-fast-twin", "worked-numbers", "pictures", "requirements",
    "rulings", "dialects", "known-mistakes", "real-libraries",
)  # fmt: skip
"""Of each technique's page, in this order."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Where the command put it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, DOCS / "build.py", "--out", folder], capture_output=True, text=True, check=False, timeout=1800
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def generator():
    """The modules that make the site, by name."""
    sys.path[:0] = [str(DOCS), str(DOCS / "generator")]
    yield importlib.import_module
    sys.path.remove(str(DOCS))
    sys.path.remove(str(DOCS / "generator"))


@pytest.fixture(scope="module")
def checking(generator):
    """The checks of the build, on pages of our own."""
    return generator("generator.checking")


def text_of(file):
    return re.sub(r"<[^>]+>", "", file.read_text(encoding="utf-8"))


@built
def test_each_technique_has_its_page(site):
    """Every part, in the same order; requirements with level and source, mistakes with what catches them."""
    for id_, technique in TECHNIQUES.items():
        html = (site / "techniques" / f"{id_}.html").read_text(encoding="utf-8")
        said = " ".join(text_of(site / "techniques" / f"{id_}.html").split())
        missing = [r.id for r in technique.requirements if f'id="{id_}-{r.id}"'.lower().replace("_", "-") not in html]

        assert not missing, id_
        assert [found for found in re.findall(r'<section id="([a-z-]+)"', html) if found in SECTIONS] == [*SECTIONS], (
            id_
        )
        for requirement in technique.requirements:
            assert f"{requirement.id} · {requirement.level.value} · {requirement.kind.value}" in said, requirement.id
        assert said.count("Source: ") >= len(technique.requirements), id_
        assert said.count("Caught by") + said.count("Rare: ") == len(technique.mutants), id_
        assert f"def {technique.oracle.__name__}(" in said
        assert f"/{id_}.svg" in html
        assert all(f"# {output.name} # " in said for output in technique.outputs), id_
        if technique.gradients:
            assert "# derivative of the sum of" in said, id_


@built
def test_the_page_says_what_is_known(site):
    """Numbers, mutants by requirement, libraries and both codes on the focal loss's page."""
    said = text_of(site / PAGE)

    assert "array([0.043322, 0.129965])" in said
    assert "Alone catches" in said
    assert "torchvision" in said
    assert "def sigmoid_focal_loss(" in said
    assert "<math" in (site / PAGE).read_text(encoding="utf-8")


@built
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


@pytest.mark.parametrize(
    "address",
    ["https:/a.invalid", "https://", "https://a b.invalid/", "http://a.invalid", "https://a.invalid/(x", "htps://a"],
)
def test_a_misspelt_address_is_found(checking, tmp_path, address):
    """Links to elsewhere are not followed, but must be addresses, of https."""
    (tmp_path / "a.html").write_text(
        f'<a href="{address}">1</a><a href="https://b.invalid/c?d=e#f">2</a>', encoding="utf-8"
    )

    assert checking.broken_links(tmp_path) == [f"a.html: {address}"]


@built
def test_a_public_name_without_entry_is_found(checking, site, monkeypatch):
    """A name that is exported and not in the reference."""
    names = checking.public_names
    monkeypatch.setattr(checking, "public_names", lambda room: {**names(room), "phlogiston": None})

    assert checking.names_without_entry(site) == [
        f"steelyard.{room}.phlogiston" for room in ("reference", "impl", "conformance")
    ]


@built
def test_the_build_fails_where_a_public_name_has_no_entry(site, generator, monkeypatch, capsys):
    """The command itself: status 1 and the name. Nothing is built anew, the pages are those of `site`."""
    spec = importlib.util.spec_from_file_location("steelyard_docs_build", DOCS / "build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    names = build.checking.public_names
    monkeypatch.setattr(build.checking, "public_names", lambda room: {**names(room), "phlogiston": None})
    monkeypatch.setattr(build, "Sphinx", lambda *_, **__: SimpleNamespace(build=lambda: None, _warncount=0))
    monkeypatch.setattr(build, "gather", lambda _: None)

    with pytest.raises(SystemExit) as ended:
        build.main(["--out", str(site)])

    assert ended.value.code == 1
    assert "not in the API reference: steelyard.impl.phlogiston" in capsys.readouterr().err


@built
def test_the_api_reference_has_what_is_exported_and_what_is_returned(site):
    """Not only a check that could pass on nothing: names of each room, and the fields and methods of classes."""
    for page, names in {
        "reference-soft_sampling": (
            "steelyard.reference.sigmoid_focal_loss",
            "steelyard.reference.soft_sampling.ghm.GHMLoss",
        ),
        "impl-soft_sampling": (
            "steelyard.impl.sigmoid_focal_loss",
            "steelyard.impl.soft_sampling.ghm.GHMClassificationLoss",
        ),
        "conformance-general": (
            "steelyard.conformance.check",
            "steelyard.conformance.conformance_tests",
            "steelyard.conformance.Result",
            "steelyard.conformance.contract.Technique",
            "steelyard.conformance.isolation.Limits",
        ),
    }.items():
        html = (site / "api" / f"{page}.html").read_text(encoding="utf-8")
        assert [name for name in names if f'id="{name}"' not in html] == []
    said = text_of(site / "api" / "conformance-general.html")
    assert "Known failures that name no requirement of the run." in said
    assert "to_json" in said


def test_every_field_of_an_entry_is_told(generator):
    """Fields with what is said below them, methods with their arguments."""
    api_pages = generator("generator.api_pages")
    from steelyard.conformance.contract import Argument

    entry = api_pages._entry("conformance", "contract.Argument", Argument, {})

    assert "- **shape** : `tuple[str, ...]`: Symbols such as" in entry
    assert "- **is\\_key** : `bool`: Uniform random numbers." in entry


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


@built
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


@built
def test_the_code_stands_beside_its_explanation(site, browser):
    """On a wide screen, two columns; on others one below the other."""
    beside = """
        const place = id => document.getElementById(id).getBoundingClientRect();
        const left = place("definition"), right = place("reference-code");
        return [right.left >= left.right, Math.abs(right.top - left.top) < 2,
            document.documentElement.scrollWidth <= innerWidth];
    """
    look(browser, (site / PAGE).as_uri(), width=1920)
    assert browser.execute_script(beside) == [True, True, True]
    look(browser, (site / PAGE).as_uri(), width=1400)
    assert browser.execute_script(beside) == [False, False, True]


@built
def test_search_finds_a_technique(site, browser):
    """The words of a title lead to its page, from a file, without a server."""
    from selenium.webdriver.support.ui import WebDriverWait

    look(browser, f"{(site / 'search.html').as_uri()}?q=varifocal")
    found = WebDriverWait(browser, 20).until(
        lambda b: [a.get_attribute("href") for a in b.find_elements("css selector", "#search-results li a")]
    )

    assert any("varifocal_loss.html" in address for address in found)
    quiet(browser)


@built
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
