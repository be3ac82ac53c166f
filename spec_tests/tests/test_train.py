r"""``genspec train``: it learns, repeats itself, goes on where it was, and says what is wrong."""

from __future__ import annotations

import errno
import io
import math
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from spec_tests import cli
from spec_tests.registry import UsageError
from spec_tests.train import checkpoint, models, pictures, table
from spec_tests.train import data as images
from spec_tests.train.autoregressive import MODELS
from spec_tests.train.baseline import gaussian
from spec_tests.train.loop import Recipe, Training, batch, bits_per_dim, nats
from spec_tests.train.models import AUTOREGRESSIVE, TRAINABLES, Trainable
from spec_tests.train.prepare import start

TINY = ("--size=hidden=4", "--size=head=8", "--size=blocks=1", "--pictures=0", "--every=10")
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def genspec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """``genspec train WORDS`` in a folder of its own: exit status, output, errors."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str | Path) -> tuple[int, str, str]:
        status = cli.main(["train", *map(str, words)])
        out, err = capsys.readouterr()
        return status, out, err

    return run


def trained(folder: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    return checkpoint.read(Path(folder) / "checkpoint.safetensors")


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def stopping_at(step: int, stop: Callable[[Tensor], Tensor]) -> models.Family:
    """A family whose loss meets ``stop`` at that step."""
    count = 0

    def loss(model: Any, x: Tensor, y: Tensor | None) -> Tensor:
        nonlocal count
        count += 1
        found = AUTOREGRESSIVE.loss(model, x, y)
        return stop(found) if count == step else found

    return replace(AUTOREGRESSIVE, loss=loss)


def interrupt(loss: Tensor) -> Tensor:
    raise KeyboardInterrupt


def test_a_few_steps_beat_the_uniform_distribution(genspec: Command, tmp_path: Path) -> None:
    status, out, _ = genspec("nade", "--steps=60", "--lr=0.02", "--pictures=2", "--out=run")
    assert status == 0
    assert "uniform   4.087 = log2 17" in out and "exactly; ±" in out
    _, about = trained(tmp_path / "run")
    assert about["score"]["held_out"] < 3.5 < math.log2(17)
    assert about["step"] == 60 and about["recipe"]["seed"] == 0 and about["versions"]["torch"]
    assert sorted(os.listdir(tmp_path / "run")) == [
        "checkpoint.safetensors",
        "model.safetensors",
        "samples.png",
    ]


def test_the_written_weights_give_the_written_figure(genspec: Command, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from reference.autoregressive import PixelCNN

    genspec("pixelcnn", "--steps=10", *TINY, "--classes")
    model = PixelCNN((1, 8, 8), 17, 10, hidden=4, head=8, blocks=1)
    folder = tmp_path / "trained" / "pixelcnn-digits"
    model.load_state_dict(load_file(folder / "model.safetensors"))
    part = images.digits().held_out
    exact = -model.eval().log_prob(part.x.long(), part.y).double().mean() / (64 * math.log(2))
    exact = exact.detach()
    _, about = trained(folder)
    assert about["score"]["held_out"] == pytest.approx(float(exact), abs=1e-6)


def test_equal_logits_cost_what_the_uniform_distribution_costs() -> None:
    data = images.digits()
    size = {"hidden": 4, "head": 8, "blocks": 1}
    training = start(TRAINABLES["pixelcnn"], data, size, Recipe(), False, torch.device("cpu"))
    with torch.no_grad():
        for parameter in training.model.parameters():
            parameter.zero_()
    bits, error = bits_per_dim(nats(training, data.held_out), data.event_shape)
    assert bits == pytest.approx(math.log2(17), abs=1e-6) and error < 1e-6


def test_the_seed_decides_all(genspec: Command) -> None:
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        genspec("pixelcnn", "--steps=5", f"--seed={seed}", *TINY, f"--out={name}")
    one, again, other = (trained(name)[0] for name in ("one", "again", "other"))
    assert same(one, again) and not same(one, other)


def test_going_on_is_the_run_that_was_never_interrupted(
    genspec: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("pixelcnn_pp", "--size=hidden=4", "--size=dropout=0.5", "--pictures=0", "--every=4")
    genspec(*words, "--steps=10", "--out=whole")
    entry = TRAINABLES["pixelcnn_pp"]
    broken = replace(entry, family=stopping_at(7, interrupt))
    monkeypatch.setitem(TRAINABLES, "pixelcnn_pp", broken)
    status, _, err = genspec(*words, "--steps=10", "--out=parts")
    assert status == 130
    assert "interrupted at step 6; the checkpoint of step 4 is kept" in err
    monkeypatch.setitem(TRAINABLES, "pixelcnn_pp", entry)
    held = Path("parts", "checkpoint.safetensors")
    status, _, err = genspec("pixelcnn_pp", "--steps=10", "--pictures=0", f"--resume={held}")
    assert status == 0, err
    assert same(trained("whole")[0], trained("parts")[0])
    whole, parts = trained("whole")[1], trained("parts")[1]
    assert whole["score"] == parts["score"]


def test_a_finished_run_can_be_lengthened(genspec: Command) -> None:
    genspec("pixelcnn", *TINY, "--every=2", "--steps=4", "--out=whole")
    genspec("pixelcnn", *TINY, "--every=2", "--steps=2", "--out=parts")
    held = Path("parts", "checkpoint.safetensors")
    status, _, err = genspec("pixelcnn", "--steps=4", "--pictures=0", f"--resume={held}")
    assert status == 0, err
    assert same(trained("whole")[0], trained("parts")[0])


def test_an_interrupt_before_the_first_checkpoint_says_so(
    genspec: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = replace(TRAINABLES["pixelcnn"], family=stopping_at(3, interrupt))
    monkeypatch.setitem(TRAINABLES, "pixelcnn", entry)
    status, _, err = genspec("pixelcnn", *TINY)
    assert status == 130 and "at step 2, before the first checkpoint" in err


def test_a_loss_that_is_no_number_names_the_step(
    genspec: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = replace(TRAINABLES["pixelcnn"], family=stopping_at(12, lambda loss: loss * math.nan))
    monkeypatch.setitem(TRAINABLES, "pixelcnn", entry)
    status, _, err = genspec("pixelcnn", *TINY)
    assert status == 1 and "at step 12 the loss is nan" in err
    assert "checkpoint of step 10 is kept" in err
    assert all(value.isfinite().all() for value in trained("trained/pixelcnn-digits")[0].values())


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept"
    checkpoint.write_atomically(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match=r"kept: cannot be written \(No space left"):
        checkpoint.write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["kept"]


def test_batches_go_through_every_image_in_each_epoch() -> None:
    part = images.Part(torch.arange(12)[:, None, None, None], torch.arange(12))
    epochs = [[batch(part, 4, 0, e * 3 + s).y for s in range(3)] for e in range(2)]
    first, second = (torch.cat(epoch) for epoch in epochs)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(12))
    assert first.tolist() != second.tolist()
    assert len(batch(part, 99, 0, 5)) == 12


def test_best_keeps_the_best_and_last_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter((3.0, 2.0, 2.5, 3.0, 2.0, 2.5))
    monkeypatch.setattr("spec_tests.train.loop.bits_per_dim", lambda *_: (next(found), 0.0))
    data = images.digits()
    for keep, bits in (("best", 2.0), ("last", 2.5)):
        training = Training(torch.nn.Linear(1, 1), AUTOREGRESSIVE, Recipe(keep=keep), False)
        monkeypatch.setattr("spec_tests.train.loop.nats", lambda *_: torch.zeros(1))
        for _ in range(3):
            training.evaluate(data)
        assert training.kept_score == bits


# The models --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_autoregressive_model_trains_and_draws(name: str) -> None:
    entry = TRAINABLES[name]
    x = torch.randint(3, (4, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    part = images.Part(x.to(torch.uint8), torch.tensor([0, 1, 1, 0]))
    data = images.Data("tiny", "images", 3, 2, part, part, part)
    training = start(entry, data, dict(entry.size), Recipe(), entry.classes, torch.device("cpu"))
    training.advance(data.train)
    training.evaluate(data)
    assert math.isfinite(training.kept_score)
    generator = torch.Generator().manual_seed(0)
    label = part.y if entry.classes else None
    assert entry.family.sample is not None
    drawn = entry.family.sample(training.model, 4, label, generator)
    assert drawn.shape == x.shape and drawn.min() >= 0 and drawn.max() < 3
    assert entry.family.complete is not None
    known = pictures.top_half((1, 4, 4))
    completed = entry.family.complete(training.model, x, known, label, generator)
    assert torch.equal(completed[:, known], x[:, known])


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"fvbn"}))
def test_the_tables_sizes_are_near_sixty_thousand(name: str) -> None:
    entry = TRAINABLES[name]
    model = entry.build((1, 8, 8), 17, 10 if entry.classes else 0, entry.size)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert abs(count / table.PARAMETERS - 1) <= table.LATITUDE, f"{name} has {count} parameters"


# What is said of bad input -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("pixlcnn",), "unknown model 'pixlcnn'; did you mean 'pixelcnn'"),
        (("no_such",), "known: bernoulli_vae, bottleneck"),
        (("pixelcnn", "--data=digit"), "--data digit: unknown data; did you mean 'digits'?"),
        (("pixelcnn", "--data=cifar10"), "--data cifar10:PATH"),
        (("pixelcnn", "--data=cifar10:nowhere"), "cifar10:nowhere: no such folder"),
        (("pixelcnn", "--data=digits:here"), "take no path"),
        (("pixelcnn", "--size=hidn=3"), "--size hidn: reference.autoregressive.pixelcnn:Pix"),
        (("pixelcnn", "--size=first_kernel=4"), "refuses its sizes: kernel_size must be odd"),
        (("gated_pixelcnn", "--classes"), "cannot be conditioned on a label"),
        (("pixelcnn", "--device=cudda"), "--device 'cudda': not on this machine"),
        (("pixelcnn", "--out=file/run"), "--out file/run: cannot be written to"),
        (("pixelcnn", "--resume=nowhere"), "nowhere: no such file"),
        (("pixelcnn", "--resume=."), ".: cannot be read"),
        (("pixelcnn", "--resume=file"), "file: no checkpoint, or a damaged one"),
        (("pixelcnn", "--resume=cut"), "cut: no checkpoint, or a damaged one"),
        (("pixelcnn", "--resume=flipped"), "flipped: damaged: its tensors are not those"),
        (("pixelcnn", "--resume=foreign"), "but no checkpoint of `genspec train`"),
        (("pixelcnn", "--resume=run/model.safetensors"), "holds the weights alone"),
        (("nade", "--resume=run/checkpoint.safetensors"), "a checkpoint of pixelcnn, not of nade"),
        (
            ("pixelcnn", "--resume=run/checkpoint.safetensors", "--lr=1"),
            "trained with lr 0.002, which --resume keeps; lr 1.0 is another run",
        ),
        (
            ("pixelcnn", "--resume=run/checkpoint.safetensors", "--data=cifar10:cifar"),
            "trained on digits, not on cifar10",
        ),
        (("pixelcnn", "--out=run"), "run/checkpoint.safetensors: there already; go on with"),
    ],
)
def test_bad_input_to_training_is_named(
    genspec: Command, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    from safetensors.torch import save_file

    if "run" in " ".join(words) or "cut" in words[-1] or "flipped" in words[-1]:
        genspec("pixelcnn", "--steps=1", *TINY, "--out=run")
        whole = (tmp_path / "run" / "checkpoint.safetensors").read_bytes()
        (tmp_path / "cut").write_bytes(whole[:-100])
        (tmp_path / "flipped").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    (tmp_path / "file").write_bytes(b"not a checkpoint")
    save_file({"w": torch.zeros(1)}, tmp_path / "foreign")
    status, _, err = genspec(*words)
    assert status == 2
    assert message in err, err


@pytest.mark.parametrize(
    "words", [("--steps=0",), ("--minutes=-1",), ("--lr=nan",), ("--average=1",), ("--size=x",)]
)
def test_numbers_that_make_no_sense_are_refused(
    genspec: Command, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        genspec("pixelcnn", *words)
    assert words[0].partition("=")[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "package"), [("sklearn", "scikit-learn"), ("tqdm", "tqdm"), ("PIL", "pillow")]
)
def test_a_missing_package_is_named_with_its_extra(
    genspec: Command, monkeypatch: pytest.MonkeyPatch, module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    status, _, err = genspec("pixelcnn")
    assert status == 2
    assert f"this needs {package}" in err and "pip install 'genspec[data]'" in err


# The data ----------------------------------------------------------------------------------------


def test_the_parts_of_the_digits_never_change() -> None:
    data = images.digits()
    assert (len(data.train), len(data.validation), len(data.held_out)) == (1257, 180, 360)
    assert data.event_shape == (1, 8, 8) and data.levels == 17
    assert data.train.x.min() == 0 and data.train.x.max() == 16
    assert data.held_out.y[:12].tolist() == [7, 9, 4, 7, 0, 2, 6, 1, 3, 1, 3, 7]
    assert data.fingerprint == "3790814611da4d1e"


def cifar_folder(folder: Path, records: int = 2) -> Path:
    """Files of CIFAR-10's binary format whose pixels tell where they are."""
    folder.mkdir()
    plane = torch.arange(1024) % 251
    for number, name in enumerate(
        [*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"]
    ):
        content = bytearray()
        for record in range(records):
            content.append((number + record) % 10)
            for channel in range(3):
                content += bytes(((plane + channel + 7 * number) % 256).tolist())
        (folder / name).write_bytes(bytes(content))
    return folder


def test_cifar_is_read_plane_by_plane(tmp_path: Path) -> None:
    data = images.load(f"cifar10:{cifar_folder(tmp_path / 'cifar')}")
    assert (len(data.train), len(data.validation), len(data.held_out)) == (9, 1, 2)
    assert data.event_shape == (3, 32, 32) and data.levels == 256 and data.num_classes == 10
    image = data.held_out.x[1].long()
    assert data.held_out.y.tolist() == [5, 6]
    for c, h, w in ((0, 0, 0), (1, 2, 3), (2, 31, 30)):
        assert image[c, h, w] == ((32 * h + w) % 251 + c + 35) % 256
    seen = sorted(data.train.y.tolist() + data.validation.y.tolist())
    assert seen == sorted(n + r for n in range(5) for r in range(2))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data_batch_3.bin", None, "data_batch_3.bin: no such file"),
        ("test_batch.bin", b"", "test_batch.bin: 0 bytes"),
        ("data_batch_2.bin", bytes(3072), "data_batch_2.bin: 3072 bytes, which is no whole number"),
        ("data_batch_5.bin", bytes(3073) + b"\x0a" + bytes(3072), "record 1 has the label 10"),
    ],
)
def test_a_wrong_file_of_cifar_is_named(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    folder = cifar_folder(tmp_path / "cifar")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(UsageError, match=message):
        images.cifar10(folder)


def test_the_python_version_of_cifar_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").touch()
    with pytest.raises(UsageError, match="data_batch_1 is of the Python version"):
        images.cifar10(tmp_path)


def test_cifar_trains(genspec: Command, tmp_path: Path) -> None:
    cifar_folder(tmp_path / "cifar")
    words = ("--data=cifar10:cifar", "--steps=2", "--size=hidden=3", "--size=head=6")
    status, out, err = genspec("pixelcnn", *words, "--pictures=0")
    assert status == 0, err
    assert "3 x 32 x 32 of 256 levels" in out and "uniform   8.000 = log2 256" in out


# Pictures, baseline and table --------------------------------------------------------------------


def test_a_picture_shows_levels_and_what_is_unknown() -> None:
    shown = torch.tensor([[[[0, 16], [8, -1]]]])
    sheet = Image.open(io.BytesIO(pictures.png([("row", shown)], 17)))
    zoom, left, top = 24, 74, 4  # 48 pixels for an image, after the margin and the gap
    colours = [
        sheet.getpixel((left + zoom * w + 5, top + zoom * h + 5)) for h in (0, 1) for w in (0, 1)
    ]
    assert colours == [(0, 0, 0), (255, 255, 255), (128, 128, 128), (150, 170, 200)]


def test_the_gaussian_lies_between_the_uniform_and_a_trained_model() -> None:
    bits, error, count, picture = gaussian(images.digits(), seed=0, columns=2)
    assert 2.5 < bits < math.log2(17) and error < 0.1 and count == 64 + 64 * 65 // 2
    assert Image.open(io.BytesIO(picture)).format == "PNG"


def test_the_table_writes_its_page_and_keeps_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(table, "ROWS", (table.Row("nade", "NADE", "nade", cifar10="3.00"),))
    words = ["--page=digits", "--minutes=0.001", "--docs=book", "--work=kept"]
    assert table.main(words) == 0
    page = (tmp_path / "book" / "digits.md").read_text()
    assert "| uniform | 0 |  | 4.087 | 8.00 |" in page and "| NADE | 59 867 |" in page
    for name in ("gaussian", "nade"):
        assert f"_static/digits/{name}.png" in page
        assert (tmp_path / "book" / "_static" / "digits" / f"{name}.png").stat().st_size > 0
    capsys.readouterr()
    assert table.main(words) == 0
    assert "NADE: kept" in capsys.readouterr().out


def test_every_row_of_the_table_is_within_its_budget() -> None:
    for row in table.ROWS:
        entry: Trainable = TRAINABLES[row.model]
        model = entry.build((1, 8, 8), 17, 0, entry.sizes(row.size))
        count = sum(parameter.numel() for parameter in model.parameters())
        assert abs(count / table.PARAMETERS - 1) <= table.LATITUDE, f"{row.title}: {count}"
