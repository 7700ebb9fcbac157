"""What must hold of a built site: every public name has an entry, every link leads somewhere or is an address."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

from generator.api_pages import ROOMS, public_names
from sphinx.util.inventory import InventoryFile

TAG = re.compile(r"<([a-z]\w*)\b([^>]*)>")
ATTRIBUTE = re.compile(r'\b(id|href|src)="([^"]*)"')

ADDRESS = re.compile(
    r"https://[a-z0-9-]+(\.[a-z0-9-]+)+(/[\w.~!$&'*+,;=:@%/-]*)?(\?[\w.~!$&'*+,;=:@%/?-]*)?(#[\w.~%-]+)?"
)
"""Of another site: not followed, for there is no network, but spelt like an address."""


class Page:
    """The anchors, links and loaded files of a page."""

    def __init__(self, text: str) -> None:
        self.anchors: set[str] = {"", "top"}
        self.links: set[str] = set()
        self.loads: set[str] = set()
        for tag, attributes in TAG.findall(text):
            for name, value in ATTRIBUTE.findall(attributes):
                if name == "id":
                    self.anchors.add(value)
                elif value:
                    (self.links if tag == "a" else self.loads).add(unescape(value))


def names_without_entry(site: Path) -> list[str]:
    """Public names that the API reference lacks."""
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    entries = {name for kind, found in inventory.data.items() if kind.startswith("py:") for name in found}
    wanted = [f"steelyard.{room}.{name}" for room in ROOMS for name in public_names(room)]
    return [name for name in wanted if name not in entries]


def broken_links(site: Path) -> list[str]:
    """Links to pages, anchors and files of the site that are not there; what a page loads must be there too."""
    pages = {file: Page(file.read_text(encoding="utf-8")) for file in sorted(site.rglob("*.html"))}
    broken = []
    for file, page in pages.items():
        for link in sorted(page.links | page.loads):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.loads and parts.scheme != "data":
                    broken.append(f"{file.relative_to(site)}: loads {link}")
                elif link in page.links and not ADDRESS.fullmatch(link):
                    broken.append(f"{file.relative_to(site)}: {link}")
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            missing = not target.exists()
            if missing or (target in pages and unquote(parts.fragment) not in pages[target].anchors):
                broken.append(f"{file.relative_to(site)}: {link}")
    return broken
