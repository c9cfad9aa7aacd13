"""A memory as a page for a browser: heat maps of surprisal above, pictures below; the page needs nothing else."""

import re
from collections.abc import Sequence

from recurlm.markup import markup

STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:1rem/1.6 system-ui,sans-serif;margin:2rem auto;padding:0 1.5rem;max-width:80rem}"
    "h1{font-size:1.3rem}h2{font-size:1rem;margin:2rem 0 .5rem}p{max-width:42rem}small{opacity:.75}"
    "figure{margin:1rem 0;overflow-x:auto;background:#fff;border-radius:6px;padding:.5rem}"
    "figure svg{display:block;max-width:none}"
)
_NOT_FOR_PAGES = re.compile(rb"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>| xmlns(:\w+)?=\"[^\"]*\"", re.DOTALL)
"""What a file of its own needs, and a picture inside of a page does not."""


def memory_page(
    title: str, remarks: Sequence[str], heat_maps: Sequence[tuple[str, str]], pictures: Sequence[bytes]
) -> bytes:
    """The page: title, remarks, heat maps (heading and HTML each), and pictures as SVG."""
    parts = [f"<h1>{markup(title)}</h1>", *(f"<p><small>{markup(remark)}</small></p>" for remark in remarks)]
    parts += [f"<h2>{markup(heading)}</h2>\n{content}" for heading, content in heat_maps]
    parts += [f"<figure>{_NOT_FOR_PAGES.sub(b'', picture).strip().decode()}</figure>" for picture in pictures]
    head = (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{markup(title)}</title>\n<style>{STYLE}</style>\n"
    )
    body = "\n".join(parts)
    return f"{head}<main>\n{body}\n</main>\n</html>\n".encode()
