"""Builds the site of both languages without the network; a warning is an error.

python docs/site/build.py          into build/site
python docs/site/build.py FOLDER   into another folder
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from contents import CAPTIONS, LANDING, ROOT, twin

REDIRECT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>recurlm</title>
<meta http-equiv="refresh" content="0; url={english}">
</head>
<body><p><a href="{english}">English</a> · <a href="{chinese}">中文</a></p></body>
</html>
"""


def build(language: str, site: Path) -> bool:
    """Builds the site of one language and returns whether that went without a warning."""
    options = ["--fail-on-warning", "--keep-going", "--nitpicky", "--quiet", "--tag", language]
    with tempfile.TemporaryDirectory() as doctrees:
        places = ["--conf-dir", str(ROOT / "docs" / "site"), "--doctree-dir", doctrees]
        command = [sys.executable, "-m", "sphinx", *options, *places, str(ROOT), str(site / language)]
        return not subprocess.run(command, check=False).returncode


def main() -> int:
    """Builds every language, then the page that leads to them."""
    site = Path(sys.argv[1]) if sys.argv[1:] else ROOT / "build" / "site"
    built = [build(language, site) for language in CAPTIONS]
    if not all(built):
        return 1
    english, chinese = (f"{language}/{twin(LANDING, language)}.html" for language in CAPTIONS)
    (site / "index.html").write_text(REDIRECT.format(english=english, chinese=chinese), "utf-8")
    print(f"site: {site / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
