r"""``junit.xml``: a test case per verdict, for CI systems that read JUnit."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from spec_tests.plan import REJECTIONS, Verdict

__all__ = ["render"]

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(verdicts: list[Verdict]) -> str:
    """The verdicts as one JUnit document; characters that XML forbids are replaced."""
    suites = ElementTree.Element("testsuites", name="genspec")
    for name in dict.fromkeys(verdict.subject for verdict in verdicts):
        own = [verdict for verdict in verdicts if verdict.subject == name]
        failed = [v for v in own if v.verdict in REJECTIONS and not v.expected]
        skipped = [v for v in own if v.verdict == "unsupported" or v.expected]
        suite = ElementTree.SubElement(
            suites,
            "testsuite",
            name=_clean(name),
            tests=str(len(own)),
            failures=str(len(failed)),
            skipped=str(len(skipped)),
            time=f"{sum(v.seconds for v in own):.3f}",
        )
        for verdict in own:
            suite.append(_case(verdict))
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _case(verdict: Verdict) -> ElementTree.Element:
    case = ElementTree.Element(
        "testcase",
        name=f"{verdict.claim}[{verdict.device}-{verdict.dtype}]",
        classname=_clean(verdict.subject),
        time=f"{verdict.seconds:.3f}",
    )
    if verdict.verdict == "unsupported" or verdict.expected:
        reason = verdict.expected or verdict.message
        ElementTree.SubElement(case, "skipped", message=_clean(reason))
    elif verdict.verdict in REJECTIONS:
        failure = ElementTree.SubElement(
            case, "failure", type=verdict.verdict, message=_clean(verdict.message)
        )
        failure.text = _clean(f"{verdict.counterexample}\n\n{verdict.reproduce}")
    return case


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
