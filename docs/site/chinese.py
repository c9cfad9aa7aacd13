"""What the Chinese site needs beside Sphinx's own Chinese: a search, and the words of the theme.

The search cuts Chinese text into pairs of characters and all other text into words, as in English. Pairs need no
dictionary, and a query finds what it says wherever the words are cut. The page in the browser cuts the query by the
same rule.
"""

import itertools
import re
from collections.abc import Iterator
from typing import Any

from sphinx.application import Sphinx
from sphinx.locale import _
from sphinx.search.en import SearchEnglish

HAN = "[\u4e00-\u9fff]"
RUNS = re.compile(rf"({HAN}+)|(?:(?!{HAN})\w)+")
SPLIT_QUERY = """
function splitQuery(query) {
  const runs = query.matchAll(/([\\u4e00-\\u9fff]+)|(?:(?![\\u4e00-\\u9fff])[\\p{L}\\p{N}_])+/gu);
  return [...runs].flatMap(([run, han]) =>
    han && han.length > 1 ? [...han].slice(1).map((second, before) => han[before] + second) : [run],
  );
}
"""
WORDS = {"Home": "首页", "Next": "下一页", "On this page": "本页内容", "Previous": "上一页"}
"""What the theme says and has no Chinese for."""


class ChineseSearch(SearchEnglish):
    """Cuts Chinese text for the index."""

    lang = "zh"
    js_splitter_code = SPLIT_QUERY

    def split(self, text: str) -> list[str]:
        """Words, and every two neighbors of a run of Chinese characters."""
        return list(terms(text))


def terms(text: str) -> Iterator[str]:
    """The words and pairs of a text in order."""
    for run in RUNS.finditer(text):
        han = run.group(1) or ""
        yield from map("".join, itertools.pairwise(han)) if len(han) > 1 else [run.group()]


def add_words(app: Sphinx, page: str, template: str, context: dict[str, Any], document: Any) -> None:
    """Gives the templates of a Chinese page the words of the theme."""
    if app.config.language.startswith("zh"):
        context["_"] = lambda text: WORDS.get(text) or _(text)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connects the parts; Sphinx calls it."""
    app.add_search_language(ChineseSearch)
    app.connect("html-page-context", add_words)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
