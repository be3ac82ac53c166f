r"""Bad input gets exit status 2 and a message that names what and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from spec_tests.tests.running import genspec, verdicts_in

GOOD = """\
from spec_tests import subject

@subject("kl_divergence")
def my_kl(p, q):
    return (p * (p / q).log()).sum()
"""


def written(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere.py",), "nowhere.py: no such file"),
        (("no_such_module",), "neither a file, nor an importable module, nor a built-in bundle"),
        (("syntax.py",), "syntax error at"),
        (("syntax.py",), "def my_kl(p, q:"),
        (("raises.py",), "raises.py:2: ZeroDivisionError: division by zero"),
        (("leaves.py",), "sys.exit(5) while being imported"),
        (("dies.py",), "importing it killed the process (exit status 9)"),
        (("empty.py",), "registers no subject"),
        (("unknown.py",), "unknown contract 'gausian_kl'; did you mean 'gaussian_kl'"),
        (("unknown.py",), "unknown.py:3"),
        (("twice.py",), "twice.py:3, the second at twice.py:6"),
        (("mine.py", "same.py"), "the first at mine.py:3, the second at same.py:3"),
        (("arrays.py",), "arrays='jax' is neither 'torch' nor 'numpy'"),
        (("mine.py", "--claims", "gausian_kl.*"), "matches no claim"),
        (("mine.py", "--claims", "kl_divergence.nonnegativ"), "did you mean"),
        (("mine.py", "--device", "cudda"), "'cudda' is no torch device"),
        (("mine.py", "--dtype", "float8"), "'float8' is none of float64, float32, all"),
        (("mine.py", "--subject", "other"), "nothing to judge"),
        (("mine.py", "--report", "mine.py/report"), "cannot be written to"),
        (("mine.py", "--resume"), "--resume needs --report DIR"),
        (("mine.py", "--expect", "nowhere.toml"), "nowhere.toml: No such file"),
        (("mine.py", "--time-limit", "-1"), "-1 is not positive"),
        (("mine.py", "--shard", "3/2"), "is not I/N"),
    ],
)
def test_bad_input_is_named(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    written(tmp_path, GOOD)
    written(tmp_path, GOOD.replace("q)", "q:", 1), "syntax.py")
    written(tmp_path, "import math\nmath.floor(1 / 0)\n", "raises.py")
    written(tmp_path, "import sys\nsys.exit(5)\n", "leaves.py")
    written(tmp_path, "import os\nos._exit(9)\n", "dies.py")
    written(tmp_path, "x = 1\n", "empty.py")
    written(tmp_path, GOOD.replace("kl_divergence", "gausian_kl"), "unknown.py")
    written(tmp_path, GOOD + GOOD.partition("\n\n")[2], "twice.py")
    written(tmp_path, GOOD, "same.py")
    written(tmp_path, GOOD.replace('ce")', 'ce", arrays="jax")'), "arrays.py")
    outcome = genspec("verify", *words, cwd=tmp_path)
    assert outcome.status == 2, outcome.out
    assert message in outcome.err, outcome.err
    assert "Traceback" not in outcome.err


def test_a_bundle_whose_library_is_absent_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, "raise ImportError('not installed')\n", "sklearn.py")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    outcome = genspec("verify", "sklearn", cwd=tmp_path)
    assert outcome.status == 2, outcome.out
    assert "sklearn: this needs scikit-learn (not installed)" in outcome.err
    assert "pip install 'genspec[data]'" in outcome.err


def test_one_bad_file_loses_nothing_else(tmp_path: Path) -> None:
    written(tmp_path, GOOD)
    written(tmp_path, "import os\nos._exit(9)\n", "dies.py")
    bad = written(tmp_path, GOOD.replace("kl_divergence", "gausian_kl") + GOOD, "half.py")
    bad.write_text(bad.read_text().replace("def my_kl", "def other_kl"))
    outcome = genspec(
        "verify",
        "dies.py",
        "half.py",
        "mine.py",
        "--claims",
        "kl_divergence.leaves_inputs_alone",
        "--report",
        "report",
        cwd=tmp_path,
    )
    assert outcome.status == 2
    judged = {subject for subject, _ in verdicts_in(tmp_path / "report")}
    assert judged == {"my_kl", "other_kl"}


def test_an_adapter_may_import_what_lies_beside_it(tmp_path: Path) -> None:
    written(tmp_path, "def kl(p, q):\n    return (p * (p / q).log()).sum()\n", "beside.py")
    written(
        tmp_path,
        GOOD.replace("return (p * (p / q).log()).sum()", "return beside.kl(p, q)").replace(
            "from", "import beside\nfrom", 1
        ),
    )
    outcome = genspec("verify", "mine.py", "--claims", "kl_divergence.repeats_itself", cwd=tmp_path)
    assert "error" not in outcome.out.splitlines()[1]


def test_a_module_beside_a_foreign_reference_folder_is_judged(tmp_path: Path) -> None:
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "__init__.py").write_text("raise RuntimeError('not yours')\n")
    written(tmp_path, GOOD)
    outcome = genspec("verify", "mine", "--claims", "kl_divergence.repeats_itself", cwd=tmp_path)
    assert outcome.status == 0, outcome.err


def test_an_unknown_claim_is_explained_with_the_nearest(tmp_path: Path) -> None:
    outcome = genspec("explain", "kl_divergence.nonegative", cwd=tmp_path)
    assert outcome.status == 2 and "kl_divergence.nonnegative" in outcome.err
    outcome = genspec("claims", "--contract", "kl_div", cwd=tmp_path)
    assert outcome.status == 2 and "'kl_divergence'" in outcome.err
