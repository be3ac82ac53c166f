r"""From matplotlib's SVG to one that belongs to a page: small, in the page's font and colours.

Colours become properties of the page (``pictures.css``), black becomes ``currentColor``, fonts are
inherited, ids that nothing refers to go, and those that remain get a prefix of their own wherever
the picture is put.
"""

from __future__ import annotations

import functools
import io
import re
from typing import NamedTuple
from xml.etree import ElementTree

import torch

from pictures import style
from pictures.registry import Picture, pictures

__all__ = ["Rendered", "drawn", "inline_svg"]

SVG = "http://www.w3.org/2000/svg"
HREF = "{http://www.w3.org/1999/xlink}href"
SCALE = 25 / 18  # pixels on the page for a point of the figure: 518.4 pt are 720 px

COLOURS = {
    style.INK: "currentColor",
    style.PAPER: "var(--color-background-primary)",
    **{
        getattr(style, name.upper()): f"var(--picture-{name})"
        for name in ("blue", "orange", "green", "purple", "grey")
    },
}
DEFAULTS = {
    "stroke-linejoin": "miter",
    "stroke-dashoffset": "0",
    "fill": style.INK,
}
_NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
_REFERENCE = re.compile(r"#([\w-]+)")


class Rendered(NamedTuple):
    """An SVG, whose ids all begin with ``@``, and the sentence that says what it shows."""

    svg: str
    alt: str


@functools.cache
def drawn(name: str) -> Rendered:
    """A picture by its name, drawn once a build and always the same."""
    import matplotlib

    found = pictures()[name]
    with matplotlib.rc_context(style.SETTINGS), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        figure, alt = found.draw()
        file = io.StringIO()
        none = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=none)
    return Rendered(_adapted(file.getvalue(), found, alt), alt)


def inline_svg(name: str, prefix: str) -> str:
    """The picture for one place on a page; ``prefix`` is used for nothing else there."""
    return drawn(name).svg.replace("@", prefix)


def _adapted(text: str, found: Picture, alt: str) -> str:
    root = ElementTree.fromstring(text)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    wanted = set(_REFERENCE.findall(" ".join(v for e in root.iter() for v in e.attrib.values())))
    wanted -= {colour[1:] for colour in COLOURS}
    for element in root.iter():
        _simplify(element, wanted)
    _hoist(root)
    _unwrap(root)
    _name(root, found, alt)
    ElementTree.register_namespace("", SVG)
    return ElementTree.tostring(root, encoding="unicode")


def _name(root: ElementTree.Element, found: Picture, alt: str) -> None:
    """What a screen reader says, and the size."""
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "width": f"{width * SCALE:.0f}",
        "height": f"{height * SCALE:.0f}",
        "fill": "currentColor",
        "role": "img",
        "aria-label": alt,
    }
    title = ElementTree.Element(f"{{{SVG}}}title")
    title.text = found.title
    root.insert(0, title)


def _simplify(element: ElementTree.Element, wanted: set[str]) -> None:
    """The attributes of one element, as short as they can be said."""
    element.text = (element.text or "").strip() or None
    element.tail = None
    found = dict(element.attrib)
    if found.get("id") not in wanted:
        found.pop("id", None)
    if HREF in found:
        found["href"] = found.pop(HREF)
    for name in set(found) & {"d", "transform", "x", "y", "width", "height", "points", "viewBox"}:
        found[name] = _NUMBER.sub(_rounded, found[name]).replace("\n", " ").strip()
    for name, value in found.items():
        if name == "id":
            found[name] = f"@{value}"
        elif name in ("href", "clip-path"):
            found[name] = value.replace("#", "#@")
    if "d" in found:
        found["d"] = _joined(found["d"])
    if re.fullmatch(r"rotate\(-?0\b[^)]*\)", found.get("transform", "")):
        del found["transform"]
    if "style" in found:
        found["style"] = _style(found["style"])
    element.attrib = {name: value for name, value in found.items() if value}


def _joined(path: str) -> str:
    """A path without the letters that say once more that a line goes on."""
    parts, last = [], ""
    for command, numbers in re.findall(r"([A-Za-z])([^A-Za-z]*)", path):
        goes_on = command == "L" and last in ("M", "L")
        parts.append((" " if goes_on else command) + numbers.strip())
        last = command
    return "".join(parts)


def _rounded(match: re.Match[str]) -> str:
    return f"{round(float(match[0]), 1) + 0:g}"  # + 0 turns -0 into 0


def _style(text: str) -> str:
    """A style attribute in the page's colours and font."""
    pairs = (part.split(":", 1) for part in text.split(";") if ":" in part)
    kept = {name.strip(): value.strip() for name, value in pairs}
    kept.pop("font-family", None)
    if "font" in kept:
        font = re.search(r"(?:(\w+)\s+)?([\d.]+)px", kept.pop("font"))
        if font:
            kept["font-size"] = f"{font[2]}px"
            kept |= {"font-weight": font[1]} if font[1] else {}
    return ";".join(
        f"{name}:{COLOURS.get(value, value)}"
        for name, value in kept.items()
        if DEFAULTS.get(name) != value
    )


def _hoist(root: ElementTree.Element) -> None:
    """What all children of a group say is said once, by the group."""
    for group in root.iter(f"{{{SVG}}}g"):
        styles = {child.get("style", "") for child in group}
        if len(group) > 1 and len(styles) == 1 and "style" not in group.attrib:
            (shared,) = styles
            if shared and not re.search(r"(^|;)opacity", shared):
                group.set("style", shared)
                for child in group:
                    child.attrib.pop("style")


def _unwrap(parent: ElementTree.Element) -> None:
    """Groups that say nothing give way to what is in them; what nobody sees goes."""
    for child in list(parent):
        _unwrap(child)
        unseen = child.tag == f"{{{SVG}}}path" and child.get("style") == "fill:none"
        if unseen or (child.tag == f"{{{SVG}}}defs" and not len(child)):
            parent.remove(child)
        if child.tag == f"{{{SVG}}}g" and not child.attrib:
            place = list(parent).index(child)
            parent.remove(child)
            for grandchild in reversed(list(child)):
                parent.insert(place, grandchild)
