"""The documentation as a site: it builds without a warning and loads no foreign resource; links and pictures exist."""

from __future__ import annotations

import html.parser
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from inpaint_server.wire.schema import InvocationRequest
from scripts.make_docs import page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


class ParsedPage(html.parser.HTMLParser):
    """A page's resources, links, and anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given["id"]} if "id" in given else set()
        if tag in {"script", "img", "iframe"}:
            self.loads.append(given.get("src", ""))
        elif tag == "link" and given.get("rel") in {"stylesheet", "icon", "preconnect"}:
            self.loads.append(given["href"])
        elif tag == "a":
            self.links.append(given.get("href", ""))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, ParsedPage]:
    """The built pages, parsed."""
    folder = tmp_path_factory.mktemp("site")
    command = [str(Path(sys.executable).with_name("mkdocs")), "build", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stderr) == (0, "")
    pages: dict[Path, ParsedPage] = {}
    for path in folder.rglob("*.html"):
        pages[path] = ParsedPage()
        pages[path].feed(path.read_text())
    return pages


def test_site_loads_no_foreign_resource(site: dict[Path, ParsedPage]):
    assert [url for parsed in site.values() for url in parsed.loads if re.match("(https?:)?//", url)] == []


def test_site_links_resolve(site: dict[Path, ParsedPage]):
    broken: list[str] = []
    for path, parsed in site.items():
        for link in parsed.links:
            target, _, anchor = link.partition("#")
            if re.match("[a-z]+:|/", link) or path.name == "404.html":
                continue
            page_file = (path.parent / target).resolve() if target else path
            known = site.get(page_file)
            if (DOCS / target).exists() and target.startswith("../"):
                continue  # a file of the repository, which the site does not hold
            if not page_file.exists() or (known is not None and anchor and anchor not in known.anchors):
                broken.append(f"{path.name}: {link}")
    assert broken == []


def test_navigation_lists_existing_pages(site: dict[Path, ParsedPage]):
    order = re.findall(r"^ +- [^:]+: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert order[:4] == ["index.md", "quick-start.md", "concepts.md", "fields.md"]
    assert [name for name in order if not (DOCS / name).exists()] == []
    assert len(site) > len(order)


def test_fields_page_is_current():
    assert (DOCS / "fields.md").read_text() == page(), "run `make docs-pictures`"


def test_every_field_has_picture():
    missing = [name for name in InvocationRequest.model_fields if not (DOCS / f"images/fields/{name}.jpg").exists()]
    assert missing == [], "run `make docs-pictures`"
