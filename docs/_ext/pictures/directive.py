r"""The directive that puts a picture on a page, with its caption and the code that computed it.

::

    .. picture:: elbo

       A caption, in the language of the page. Without one, the function's docstring is taken.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from folding import details, summary
from source_code import names_used
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from pictures.registry import Picture, pictures
from pictures.svg import inline_svg

__all__ = ["PictureDirective", "setup"]


class PictureDirective(SphinxDirective):
    """``.. picture:: NAME``"""

    has_content = True
    required_arguments = 1
    option_spec: ClassVar = {"caption": directives.unchanged, "class": directives.class_option}

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        found = pictures().get(name)
        if found is None:
            raise self.error(f"there is no picture {name!r}; there are {sorted(pictures())}")
        self.env.note_dependency(inspect.getsourcefile(found.draw) or "")
        prefix = f"picture-{self.env.new_serialno('picture')}-"
        frame = nodes.container(classes=["picture", *self.options.get("class", [])])
        frame += nodes.raw("", inline_svg(name, prefix), format="html")
        frame += self._caption(found)
        frame += _computed(found, self.env.docname)
        self.set_source_info(frame)
        return [frame]

    def _caption(self, found: Picture) -> nodes.Node:
        caption = nodes.container(classes=["picture-caption"])
        if self.content:
            self.state.nested_parse(self.content, self.content_offset, caption)
        elif "caption" in self.options:
            words, messages = self.state.inline_text(self.options["caption"], self.lineno)
            caption += [nodes.paragraph("", "", *words), *messages]
        else:
            caption += nodes.paragraph("", " ".join((found.draw.__doc__ or "").split()))
        return caption


def _computed(found: Picture, page: str) -> nodes.Node:
    """The code of the drawing function, and links to the reference code that it calls."""
    fold = details("", summary("", "How this was computed"), classes=["fold"])
    functions = [*_helpers(found.draw), found.draw]
    links = [link for pair in _references(functions, page) for link in (nodes.Text(", "), pair)][1:]
    if links:
        fold += nodes.paragraph("", "", nodes.Text("From the reference: "), *links)
    code = "\n\n".join(map(_code, functions))
    fold += nodes.literal_block(code, code, language="python")
    return fold


def _helpers(draw: Callable[[], Any]) -> list[Callable[..., Any]]:
    """The private functions of the same module that a drawing uses, in the order of the file."""
    module = sys.modules[draw.__module__]
    seen: set[str] = set()
    waiting: list[Callable[..., Any]] = [draw]
    while waiting:
        for name in names_used(waiting.pop()) - seen:
            thing = getattr(module, name, None)
            if name.startswith("_") and getattr(thing, "__module__", "") == module.__name__:
                seen.add(name)
                waiting.append(thing)  # type: ignore[arg-type]
    return sorted((getattr(module, name) for name in seen), key=lambda f: f.__code__.co_firstlineno)


def _code(function: Callable[..., Any]) -> str:
    """A function as written, without the decorator and the docstring that the page shows."""
    lines = textwrap.dedent(inspect.getsource(function)).splitlines()
    node = ast.parse("\n".join(lines)).body[0]
    assert isinstance(node, ast.FunctionDef)
    kept = lines[node.lineno - 1 :]
    if node.decorator_list and ast.get_docstring(node):
        first = node.body[0]
        del kept[first.lineno - node.lineno : (first.end_lineno or 0) - node.lineno + 1]
    return "\n".join(kept)


def _references(functions: list[Callable[..., Any]], page: str) -> Iterator[nodes.Node]:
    """A link for every public name of the reference that the functions use."""
    module = sys.modules[functions[-1].__module__]
    for name in sorted(set().union(*map(names_used, functions))):
        home = getattr(getattr(module, name, None), "__module__", None) or ""
        root, _, rest = home.partition(".")
        family = rest.partition(".")[0]
        public = getattr(sys.modules.get(f"reference.{family}"), "__all__", ())
        if root == "reference" and name in public:
            target = f"reference.{family}.{name}"
            link = addnodes.pending_xref(
                "", nodes.literal(name, name), refdomain="std", reftype="ref", refexplicit=True,
                reftarget=target.lower(), refwarn=True, refdoc=page,
            )  # fmt: skip
            yield link


def setup(app: Sphinx) -> dict[str, Any]:
    """Adds the directive and its stylesheet."""
    app.add_directive("picture", PictureDirective)
    app.add_css_file("pictures.css")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
