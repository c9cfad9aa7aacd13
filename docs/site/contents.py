"""What stands where on the site: the pages of each language, in the order of the sidebar.

A page is named by its path in the repository without its suffix, such as `docs/texts`. Its Chinese twin is
`docs/texts.zh`. A folder is named by its `README`; the other pages of the folder follow it.
"""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LANDING = "README"
SUFFIXES = (".md", ".ipynb")
SECTIONS = {
    "tutorials": ("docs/walkthrough", "docs/first-hour", "docs/stories/README"),
    "how-to": (
        "docs/how-to/README",
        "docs/studio",
        "docs/surprisal",
        "docs/inspecting",
        "docs/search",
        "docs/leaving-mxnet",
    ),
    "reference": (
        "docs/commands",
        "docs/recipe-keys",
        "docs/python",
        "docs/site/api",
        "docs/run-folder",
        "docs/limits",
        "docs/notation",
    ),
    "explanation": (
        "docs/texts",
        "docs/protocols",
        "docs/scoring",
        "docs/comparing",
        "docs/rescoring",
        "docs/serving",
        "docs/sessions",
        "docs/sampling",
        "docs/adaptation",
        "docs/cells",
        "docs/parts",
        "docs/performance",
        "docs/scaling",
        "docs/tour",
    ),
    "project": (
        "CHANGELOG",
        "CONTRIBUTING",
        "SECURITY",
        "docs/decisions/README",
        "docs/lab-notes",
        "records/README",
    ),
}
CAPTIONS = {
    "en": {
        "tutorials": "Tutorials",
        "how-to": "How-to guides",
        "reference": "Reference",
        "explanation": "Explanation",
        "project": "Project",
    },
    "zh": {"tutorials": "教程", "how-to": "操作指南", "reference": "参考", "explanation": "说明"},
}
"""The sections of each language. The project's own notes are in English only."""
FOLDED = ("docs/decisions/README", "records/README")
"""Folders whose pages the sidebar shows below their README."""
TITLES = {
    "zh": {
        "docs/first-hour": "笔记本：第一个小时（英文）",
        "docs/commands": "命令（英文）",
        "docs/recipe-keys": "配方键（英文）",
        "docs/site/api": "Python API（英文）",
    },
}
"""Names in the sidebar of pages that are not in its language."""


def twin(page: str, language: str) -> str:
    """The page itself in this language, or the English page where there is no other."""
    translated = f"{page}.{language}"
    return translated if source(translated) else page


def source(page: str) -> Path | None:
    """The file of a page."""
    files = (ROOT / f"{page}{suffix}" for suffix in SUFFIXES)
    return next((file for file in files if file.is_file()), None)


def pages(language: str) -> list[str]:
    """Every page of the site in this language, the landing page first."""
    return [twin(LANDING, language), *(page for caption in CAPTIONS[language] for page in section(caption, language))]


def section(name: str, language: str) -> list[str]:
    """The pages of a section, those of its folders included."""
    found = []
    for page in SECTIONS[name]:
        found += [twin(page, language), *folder(page, language)]
    return found


def folder(page: str, language: str) -> list[str]:
    """The pages that stand in a folder beside its README, in the order of its links; none for another page."""
    path = Path(page)
    if path.name != LANDING or page == LANDING:
        return []
    readme = (ROOT / path.parent / "README.md").read_text("utf-8")
    files = [*(ROOT / path.parent).glob("*.md"), *(ROOT / path.parent).glob("*/README.md")]
    files = [file for file in files if not file.name.endswith(".zh.md") and name_of(file) != page]
    order = re.findall(r"\]\(([\w./-]+)\)", readme)
    files.sort(key=lambda file: (order.index(file.name) if file.name in order else len(order), file))
    return [twin(name_of(file), language) for file in files]


def name_of(file: Path) -> str:
    """The name of the page in a file."""
    return file.relative_to(ROOT).with_suffix("").as_posix()


def language_of(page: str) -> str | None:
    """The language whose site has a page, English where both have it; None where neither has it."""
    return next((language for language in CAPTIONS if page in pages(language)), None)


def short_title(page: str, language: str) -> str:
    """The name of a page in the sidebar: its heading up to a colon."""
    return TITLES.get(language, {}).get(page) or re.split("[:：]", title(page))[0]


def title(page: str) -> str:
    """The heading of a page."""
    file = source(page)
    assert file is not None, f"no page {page}"
    text = file.read_text("utf-8")
    if file.suffix == ".ipynb":
        text = "".join(json.loads(text)["cells"][0]["source"])
    return next(line.removeprefix("# ") for line in text.splitlines() if line.startswith("# "))
