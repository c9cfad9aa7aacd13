import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import typer

from recurlm.cli.main import app
from recurlm.recipe_files import recipe_names

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "records").rglob("*.md")]
    if path.is_file()
)
READMES = ("README.md", "README.zh.md")
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
IMAGE = re.compile(r'<img src="([^"]+)"')


def generator() -> ModuleType:
    specification = importlib.util.spec_from_file_location("generate_docs", ROOT / "docs" / "generate.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def text_of(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def anchors(page: Path) -> set[str]:
    """What a heading is called in a link: small letters, hyphens for spaces, no punctuation."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> Iterator[str]:
    text = CODE.sub("", page.read_text("utf-8"))
    for link in LINK.findall(text) + IMAGE.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


def test_the_generated_pages_are_current():
    stale = [name for name, content in generator().pages().items() if text_of(f"docs/{name}") != content]
    assert not stale, "run ./dev docs"


def test_check_fails_where_a_page_is_not_current(monkeypatch, tmp_path, capsys):
    module = generator()
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    assert module.main() == 1
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(sys, "argv", ["generate.py"])
    assert module.main() == 0
    (tmp_path / "commands.md").write_text("old", "utf-8")
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    capsys.readouterr()
    assert module.main() == 1
    assert capsys.readouterr().out == "docs/commands.md: not current; run ./dev docs\n"


def test_the_page_of_commands_does_not_depend_on_the_terminal():
    narrow = {"COLUMNS": "40", "TERM": "dumb", "PATH": "", "HOME": str(ROOT)}
    result = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"], env=narrow, capture_output=True, text=True
    )
    assert (result.returncode, result.stdout) == (0, ""), result.stderr


def test_every_command_is_documented():
    commands = typer.main.get_command(app).commands
    headings = re.findall(r"^## `recurlm (.+)`$", text_of("docs/commands.md"), re.MULTILINE)
    assert headings == list(commands)


@pytest.mark.parametrize("readme", READMES)
def test_every_shipped_recipe_is_in_the_readme(readme):
    rows = re.findall(r"^\| `([\w-]+)` \|", text_of(readme), re.MULTILINE)
    assert set(recipe_names()) <= set(rows)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page):
    assert list(broken_links(page)) == []


def test_every_decision_is_in_the_list():
    folder = ROOT / "docs" / "decisions"
    listed = LINK.findall((folder / "README.md").read_text("utf-8"))
    assert listed == sorted(page.name for page in folder.glob("[0-9]*.md"))


def test_both_readmes_hold_the_same_commands():
    english, chinese = (CODE.findall(text_of(readme)) for readme in READMES)
    assert english
    assert english == chinese


TWINS = [page for page in PAGES if page.name.endswith(".zh.md")]
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def english_twin(page: Path) -> Path:
    return page.with_name(page.name.replace(".zh.md", ".md"))


@pytest.mark.parametrize("page", TWINS, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_chinese_page_and_its_english_twin_name_each_other(page):
    twin = english_twin(page)
    assert f"]({page.name})" in twin.read_text("utf-8")
    assert f"]({twin.name})" in page.read_text("utf-8")


@pytest.mark.parametrize("page", TWINS, ids=lambda page: str(page.relative_to(ROOT)))
def test_twins_show_the_same_commands(page):
    chinese, english = ([commands_of(block) for block in blocks(twin)] for twin in (page, english_twin(page)))
    assert chinese == english


def blocks(page: Path) -> list[str]:
    return SHELL.findall(page.read_text("utf-8"))


def commands_of(block: str) -> str:
    """The lines of a block without comments, which each page writes in its language."""
    return re.sub(r"\s+# .*", "", block)


@pytest.mark.parametrize("page", TWINS, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_chinese_page_leads_to_chinese_pages(page):
    targets = [page.parent / link.partition("#")[0] for link in LINK.findall(page.read_text("utf-8"))]
    english = [path for path in targets if path.suffix == ".md" and not path.name.endswith(".zh.md")]
    assert [path for path in english if path != english_twin(page) and path.with_suffix(".zh.md").is_file()] == []
