"""The book. Pages about contracts, claims, mutants and reference code are generated: see _ext/."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

project = "genspec"
author = "the genspec authors"
copyright = "the genspec authors"

extensions = [
    "myst_parser",
    "katex_prerender",
    "accessible",
    "folding",
    "pictures",
    "catalogue_pages",
    "sphinxcontrib.bibtex",
]
bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "alpha"
exclude_patterns = ["_ext", "_katex", "_build", "_generated"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3
myst_update_mathjax = False
highlight_language = "python"
nitpicky = True
smartquotes = False  # names and code stay as they are written

html_theme = "furo"
html_title = "genspec"
html_math_renderer = "katex"
html_static_path = ["_static"]
html_css_files = ["katex/katex.min.css", "book.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
