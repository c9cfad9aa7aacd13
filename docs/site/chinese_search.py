"""The search of the Chinese site: Chinese text by pairs of characters, all other words as in English.

Pairs need no dictionary, and a query finds what it says wherever the words are cut. The page in the browser cuts the
query by the same rule.
"""

import itertools
import re
from collections.abc import Iterator

from sphinx.application import Sphinx
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


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the search; Sphinx calls it."""
    app.add_search_language(ChineseSearch)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
