"""Sphinx's settings for one language of the site; `-t zh` builds the Chinese one. `./dev site` builds both."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from contents import LANDING, ROOT, pages, source, twin

from recurlm.version import VERSION

here = "zh" if "zh" in tags else "en"  # noqa: F821 (Sphinx gives `tags`)
language = {"en": "en", "zh": "zh_CN"}[here]
project, release = "recurlm", VERSION
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton", "site_pages", "chinese"]
root_doc = twin(LANDING, here)
include_patterns = [str(source(page).relative_to(ROOT)) for page in pages(here)]
exclude_patterns = [".*", "build", "runs", "src", "tests", "benchmarks", "**/__pycache__"]
templates_path = ["templates"]

myst_heading_anchors = 4
myst_enable_extensions = ["html_image"]
highlight_language = "text"
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
nitpick_ignore_regex = [("py:.*", ".*")]  # signatures name types of other projects, whose pages are elsewhere

html_search_language = here

html_theme = "furo"
html_title = f"recurlm {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_last_updated_fmt = None
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/languages.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
