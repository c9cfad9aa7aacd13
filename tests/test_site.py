"""The site of the documentation: its contents in any run, the whole build with --all."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from site_modules import FOLDER, site_module

ROOT = Path(__file__).parent.parent
LANGUAGES = ("en", "zh")
READER = {
    "en": re.compile(r"Read th|[Ff]or (?:any|read|learn|owners)"),
    "zh": re.compile(r"读这|本页|这一页|的人|读者"),
}
"""How the first sentence of a page names its reader."""


contents = site_module("contents")
SOURCES = {language: [contents.source(page) for page in contents.pages(language)] for language in LANGUAGES}


def documents() -> set[Path]:
    """Every page that the repository has for readers."""
    found = {*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.ipynb")}
    return found | set((ROOT / "records").rglob("*.md"))


def first_sentence(page: Path) -> str:
    """The first sentence below the heading, the line of languages and the note of the generator."""
    paragraphs = page.read_text("utf-8").split("\n\n")
    text = next(text for text in paragraphs if not text.startswith(("# ", "<!--", "English · ", "[English]")))
    return re.split(r"\. |。", text)[0]


def test_every_page_of_the_repository_has_a_place_on_the_site():
    assert set(SOURCES["en"]) | set(SOURCES["zh"]) == documents(), "name new pages in docs/site/contents.py"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_has_one_place_in_its_language(language):
    assert len(set(SOURCES[language])) == len(SOURCES[language])
    assert None not in SOURCES[language]
    assert all((".zh." in page.name) <= (language == "zh") for page in SOURCES[language])


def test_a_page_with_a_chinese_twin_is_on_the_chinese_site_as_the_twin():
    twins = {page for page in documents() if page.name.endswith(".zh.md")}
    assert twins <= set(SOURCES["zh"])
    english = {page.with_name(page.name.replace(".zh.md", ".md")) for page in twins}
    assert english <= set(SOURCES["en"])
    assert not english & set(SOURCES["zh"])


@pytest.mark.parametrize(
    "page",
    sorted(page for page in documents() if page.suffix == ".md" and not page.is_relative_to(ROOT / "records")),
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_a_page_begins_with_its_reader(page):
    if page.name.startswith("README") and page.parent == ROOT:
        pytest.skip("the landing page says what a reader gets")
    if re.match(r"\d", page.name):
        pytest.skip("a decision begins with its question")
    assert READER["zh" if ".zh." in page.name else "en"].search(first_sentence(page))


def test_chinese_text_is_searched_by_pairs_of_characters():
    pytest.importorskip("sphinx")
    terms = site_module("chinese").terms
    assert list(terms("困惑度是exp(loss)，见README。")) == ["困惑", "惑度", "度是", "exp", "loss", "见", "README"]


class Links(HTMLParser):
    """The anchors of a page, the addresses that it links, and those that a browser loads with it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.linked: list[str] = []
        self.loaded: list[str] = []
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value}
        self.ids.add(values.get("id", ""))
        self.linked += [values["href"]] if tag == "a" and "href" in values else []
        self.loaded += [values["href"]] if tag == "link" and "href" in values else []
        self.loaded += [values["src"]] if "src" in values else []


@cache
def links(page: Path) -> Links:
    return Links(page)


def is_foreign(address: str) -> bool:
    return bool(re.match(r"[a-z]+:|//", address))


def dead_links(page: Path) -> Iterator[str]:
    for address in links(page).linked + links(page).loaded:
        path, _, anchor = address.partition("#")
        target = (page.parent / unquote(path.partition("?")[0])).resolve() if path else page
        if is_foreign(address):
            continue
        if not target.is_file() or (anchor and target.suffix == ".html" and unquote(anchor) not in links(target).ids):
            yield f"{page.name}: {address}"


@pytest.mark.thorough
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("sphinx")
    site = tmp_path.resolve() / "site"
    done = subprocess.run([sys.executable, FOLDER / "build.py", site], capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"site: {site / 'index.html'}\n"
    pages = sorted(site.rglob("*.html"))
    built = {page.relative_to(site).with_suffix("").as_posix() for page in pages}
    assert {f"{language}/{page}" for language in LANGUAGES for page in contents.pages(language)} <= built
    assert [dead for page in pages for dead in dead_links(page)] == []
    assert [address for page in pages for address in links(page).loaded if is_foreign(address)] == []
    sheets = [sheet.read_text("utf-8") for sheet in site.rglob("*.css")]
    assert not [text for text in sheets if re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", text)]
    assert "finished: 4 epochs" in (site / "en" / "docs" / "first-hour.html").read_text("utf-8")
    assert "上一页" in (site / "zh" / "docs" / "texts.zh.html").read_text("utf-8")
    assert json.dumps("困惑") in (site / "zh" / "searchindex.js").read_text("utf-8")
    assert "EnglishStemmer;" in (site / "zh" / "_static" / "language_data.js").read_text("utf-8")
