"""A Sphinx extension: what the site adds to the Markdown pages that a code host shows.

The pages themselves hold no directives. The extension gives each page its place in the sidebar, leads links to pages of
the other language there, and shows the notebook.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from contents import CAPTIONS, FOLDED, LANDING, folder, language_of, pages, section, short_title, source, title, twin
from docutils import nodes
from myst_parser.parsers.sphinx_ import MystParser
from notebook import markdown_with_outputs
from sphinx import addnodes
from sphinx.application import Sphinx

NAMES = {"en": "English", "zh": "中文"}
BEFORE_USUAL = 400
"""The order of a handler that runs before those of Sphinx itself, at 500."""


class NotebookParser(MystParser):
    """Reads a notebook as Markdown with the outputs of its cells."""

    supported = ("notebook",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        """Adds the cells and their outputs to the document."""
        super().parse(markdown_with_outputs(Path(document["source"])), document)


def add_places(app: Sphinx, page: str, text: list[str]) -> None:
    """Appends to a page the list of the pages below it, which the sidebar shows."""
    language = app.config.language[:2]
    text[0] += "".join(_toctree(*listed) for listed in _lists(page, language) if listed[1])


def _lists(page: str, language: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """The lists below a page: each a caption with the titles and names of pages."""
    if page == twin(LANDING, language):
        return [(caption, _unfolded(name, language)) for name, caption in CAPTIONS[language].items()]
    below = folder(page, language) if page in FOLDED else []
    return [("", [(title(each), each) for each in below])]


def _unfolded(name: str, language: str) -> list[tuple[str, str]]:
    """Short titles and names of the pages of a section, without those that stand below another."""
    inside = section(name, language)
    below = {page for each in FOLDED if each in inside for page in folder(each, language)}
    return [(short_title(page, language), page) for page in inside if page not in below]


def _english(page: str) -> str:
    return page.removesuffix(".zh")


def _toctree(caption: str, entries: list[tuple[str, str]]) -> str:
    options = [":hidden:", *([f":caption: {caption}"] if caption else [])]
    lines = [f"{heading} </{page}>" for heading, page in entries]
    return "\n".join(["", "```{toctree}", *options, "", *lines, "```", ""])


def lead_to_the_other_language(app: Sphinx, document: nodes.document) -> None:
    """Turns links to pages that this site lacks into links to the site of the language that has them."""
    here = app.config.language[:2]
    for link in list(document.findall(addnodes.pending_xref)):
        page = link["reftarget"]
        there = language_of(page) if link["refdomain"] == "doc" and page not in app.env.found_docs else None
        if there is not None:
            anchor = f"#{link['reftargetid']}" if link.get("reftargetid") else ""
            address = _address(there, page, here, app.env.docname) + anchor
            link.replace_self(nodes.reference("", "", *link.children, refuri=address, internal=True))


def _address(there: str, page: str, here: str, document: str) -> str:
    """The address of a page in a language, as seen from a document in this language."""
    return posixpath.relpath(f"{there}/{page}.html", f"{here}/{Path(document).parent}")


def add_languages(app: Sphinx, page: str, template: str, context: dict[str, Any], document: nodes.document) -> None:
    """Gives the sidebar each language's name and the address of the page in it; none for the language itself."""
    here = app.config.language[:2]
    context["languages"] = [
        (name, "" if language == here else _switched(page, here, language)) for language, name in NAMES.items()
    ]


def _switched(page: str, here: str, language: str) -> str:
    """The address of a page's twin, or of the landing page where the other language has none."""
    there = twin(_english(page), language) if source(page) else ""
    if there not in pages(language):
        there = twin(LANDING, language)
    return _address(language, there, here, page)


def list_fields(app: Sphinx, kind: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Makes a list of a paragraph of a docstring that describes fields: `first: text · second: text`."""
    paragraphs = "\n".join(lines).split("\n\n")
    lines[:] = "\n\n".join(map(_as_list, paragraphs)).split("\n")


def _as_list(paragraph: str) -> str:
    fields = [re.fullmatch(r"(\w+): (.*)", field) for field in " ".join(paragraph.split()).split(" · ")]
    if not all(fields):
        return paragraph
    return "\n".join(f"- `{field[1]}`: {field[2]}" for field in fields if field)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connects the parts; Sphinx calls it."""
    app.add_source_suffix(".ipynb", "notebook")
    app.add_source_parser(NotebookParser)
    app.connect("source-read", add_places)
    app.connect("doctree-read", lead_to_the_other_language, priority=BEFORE_USUAL)
    app.connect("autodoc-process-docstring", list_fields)
    app.connect("html-page-context", add_languages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
