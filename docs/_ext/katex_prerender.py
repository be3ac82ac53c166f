r"""Formulas become HTML while the book is built: a page needs no JavaScript and no network for them.

KaTeX's own ``katex.min.js``, as `sphinxcontrib-katex` ships it, runs in-process in QuickJS. The
stylesheet and fonts of the same version lie in ``docs/_katex``. A formula that KaTeX refuses is a
warning, so ``sphinx-build -W`` fails on it.
"""

from __future__ import annotations

import functools
import json
import re
import shutil
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import quickjs
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util import logging

__all__ = ["FormulaError", "render", "setup"]

_LOG = logging.getLogger(__name__)
_FILES = Path(__file__).parents[1] / "_katex"
_OTHER_FONTS = re.compile(r',url\([^)]*\.(?:woff|ttf)\) format\("[a-z]+"\)')


class FormulaError(ValueError):
    """KaTeX cannot parse a formula; the message is KaTeX's."""


@functools.cache
def _katex() -> quickjs.Context:
    """KaTeX in a JavaScript engine of its own."""
    wheel = distribution("sphinxcontrib-katex")
    script = Path(str(wheel.locate_file("sphinxcontrib/katex.min.js"))).read_text(encoding="utf-8")
    context = quickjs.Context()
    context.eval("globalThis.console = {warn() {}, error() {}, log() {}};")
    context.eval(script)
    context.eval("""
        globalThis.rendered = (tex, displayMode) => {
            try { return JSON.stringify({html: katex.renderToString(
                tex, {displayMode, throwOnError: true, strict: "ignore"})}); }
            catch (failure) { return JSON.stringify({problem: String(failure.message)}); }
        };""")
    return context


def _lines(tex: str) -> str:
    r"""Display math as Sphinx means it: blank lines separate equations, ``&`` aligns them."""
    parts = [part.strip() for part in re.split(r"\n\s*\n", tex.strip())]
    joined = r" \\ ".join(parts)
    if r"\begin" not in joined and (len(parts) > 1 or re.search(r"(?<!\\)&|\\\\", joined)):
        return rf"\begin{{aligned}} {joined} \end{{aligned}}"
    return joined


@functools.cache
def render(tex: str, display: bool) -> str:
    """HTML, with MathML for screen readers, of a formula in LaTeX."""
    source = _lines(tex) if display else tex.strip()
    answer = json.loads(_katex().eval(f"rendered({json.dumps(source)}, {json.dumps(display)})"))
    if "problem" in answer:
        raise FormulaError(answer["problem"])
    html: str = answer["html"]
    return html


def _html(node: nodes.Element, display: bool) -> str:
    try:
        return render(node.astext(), display)
    except FormulaError as problem:
        _LOG.warning("%s", problem, location=node, type="katex")
        return ""


def _visit_inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(f'<span class="math">{_html(node, display=False)}</span>')
    raise nodes.SkipNode


def _visit_block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(writer.starttag(node, "div", CLASS="math"))
    writer.body.append(_html(node, display=True) + "</div>\n")
    raise nodes.SkipNode


def copy_assets(app: Sphinx) -> None:
    """The stylesheet, reduced to the one font format that every current browser reads, and fonts."""
    css = (_FILES / "katex.min.css").read_text(encoding="utf-8")
    version = _katex().eval("katex.version")
    if f'content:"{version}"' not in css:
        raise ExtensionError(
            f"docs/_katex is not of KaTeX {version}, which sphinxcontrib-katex ships"
        )
    target = Path(app.srcdir) / "_static" / "katex"
    shutil.copytree(_FILES / "fonts", target / "fonts", dirs_exist_ok=True)
    shutil.copy(_FILES / "LICENSE", target / "LICENSE")
    (target / "katex.min.css").write_text(_OTHER_FONTS.sub("", css), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_html_math_renderer(
        "katex", inline_renderers=(_visit_inline, None), block_renderers=(_visit_block, None)
    )
    app.connect("builder-inited", copy_assets)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
