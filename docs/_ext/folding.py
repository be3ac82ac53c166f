r"""Two directives: ``fold`` hides its content behind a line, ``anchor`` gives a section an exact id.

::

    .. anchor:: gaussian_kl.additive_over_dims

    A section
    ---------

    .. fold:: The test

        .. literalinclude:: ...

Docutils writes ids with hyphens only; a claim's anchor is its id as it stands, and it comes first,
so that the permalinks of the page and the table of contents use it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive, directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

__all__ = ["Anchor", "Fold", "setup"]


class details(nodes.General, nodes.Element):
    """Content that a click opens."""


class summary(nodes.General, nodes.TextElement):
    """The line that stays visible."""


class Fold(SphinxDirective):
    """``.. fold:: A line of text``"""

    has_content = True
    required_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar = {"class": directives.class_option}

    def run(self) -> list[nodes.Node]:
        line, messages = self.state.inline_text(self.arguments[0], self.lineno)
        node = details("", summary("", "", *line), classes=["fold", *self.options.get("class", [])])
        self.set_source_info(node)
        self.state.nested_parse(self.content, self.content_offset, node)
        return [node, *messages]


class Anchor(Directive):
    """``.. anchor:: id``"""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        target = nodes.target("", "", ids=[name], names=[nodes.fully_normalize_name(name)])
        self.state.document.note_explicit_target(target, self)  # type: ignore[arg-type]
        return [target]


def exact_ids_first(app: Sphinx, document: nodes.document) -> None:
    """Sections answer to their anchor before the id made of their title."""
    for section in document.findall(nodes.section):
        section["ids"].sort(key=lambda id: not set(id) & set("._"))


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(
        details,
        html=(
            lambda writer, node: writer.body.append(writer.starttag(node, "details")),
            lambda writer, node: writer.body.append("</details>\n"),
        ),
    )
    app.add_node(
        summary,
        html=(
            lambda writer, node: writer.body.append(writer.starttag(node, "summary", "")),
            lambda writer, node: writer.body.append("</summary>\n"),
        ),
    )
    app.add_directive("fold", Fold)
    app.add_directive("anchor", Anchor)
    app.connect("doctree-read", exact_ids_first, priority=100)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
