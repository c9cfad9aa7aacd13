"""What all pictures share: fonts, colors, and the same bytes for the same content."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import matplotlib
import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.textpath import text_to_path

from recurlm.errors import UsageError
from recurlm.files import write_whole
from recurlm.runs.folder import RunFolder
from recurlm.terminal import escaped

PictureFormat = Literal["svg", "png"]

INK = "#1f2933"
QUIET = "#6b7580"
HAIRLINE = "#d9dee3"
# Okabe and Ito's palette, which color-blind readers can tell apart, strongest contrasts first
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
WIDE_SCRIPTS = ("Noto Sans CJK SC", "Source Han Sans SC", "Microsoft YaHei", "PingFang SC", "WenQuanYi Micro Hei")

STYLE: dict[str, Any] = {
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": QUIET,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": HAIRLINE,
    "grid.linewidth": 0.6,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.major.width": 0.6,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "recurlm",
    "savefig.dpi": 200,
}


@contextmanager
def picture_style() -> Iterator[None]:
    """Draws with this program's style inside, not with the user's own settings."""
    with matplotlib.style.context(["default", {**STYLE, "font.family": list(_families())}]):
        yield


def drawable(text: str) -> str:
    """The text with each character that no font here can draw as its code point, such as U+1F600."""
    fonts = [get_font(findfont(FontProperties(family=family))) for family in _families()]
    seen = "".join(
        character if any(font.get_char_index(ord(character)) for font in fonts) else f"U+{ord(character):04X}"
        for character in text
    )
    return escaped(seen)


@cache
def _families() -> tuple[str, ...]:
    installed = set(fontManager.get_font_names())
    return ("DejaVu Sans", *(name for name in WIDE_SCRIPTS if name in installed))


def wrapped(text: str, width: float, size: float, **font: Any) -> list[str]:
    """A text as lines that are at most `width` inches wide in a font of `size` points; call it inside `picture_style`.

    A line breaks after a space or a `|`, or inside a word that is longer than a line. `font` has further properties of
    the font, such as its weight.
    """
    properties = FontProperties(size=size, **font)
    lines = [""]
    for piece in re.findall(r"[^ |]+[ |]?|[ |]", text):
        if lines[-1] and not _fits(lines[-1] + piece, width, properties):
            lines.append("")
        lines[-1] += piece
        while not _fits(lines[-1], width, properties):
            fitting = max(1, sum(_fits(lines[-1][:end], width, properties) for end in range(1, len(lines[-1]))))
            if fitting >= len(lines[-1].rstrip()):
                break
            lines[-1:] = [lines[-1][:fitting], lines[-1][fitting:]]
    return [line.rstrip() for line in lines]


def _fits(line: str, width: float, properties: FontProperties) -> bool:
    points, _, _ = text_to_path.get_text_width_height_descent(line.rstrip() or " ", properties, ismath=False)
    return points <= width * 72


def render(figure: Figure, format: PictureFormat, title: str) -> bytes:
    """Renders a figure to the content of a file, without dates; call it inside `picture_style`."""
    metadata = {"Title": title, "Date": None} if format == "svg" else {"Title": title}
    buffer = io.BytesIO()
    figure.savefig(buffer, format=format, metadata=metadata)
    return buffer.getvalue()


def format_of(path: Path) -> PictureFormat:
    """The picture format of a file's name. Raises UsageError for a name that does not end in .svg or .png."""
    for format in get_args(PictureFormat):
        if path.suffix.lower() == f".{format}":
            return format  # type: ignore[no-any-return]
    raise UsageError(f"--out {path}: pictures are written as .svg or .png; end the name with one of them")


def save(path: Path, content: bytes) -> None:
    """Writes a picture completely or not at all, and lists it in the manifest of a run folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    run = RunFolder(path.parent)
    if run.holds_run():
        run.write({path.name: content})
    else:
        write_whole(path, content)
