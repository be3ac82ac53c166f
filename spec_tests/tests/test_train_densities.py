r"""``genspec train`` of latent variable models, flows, energy models and autoencoders."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from spec_tests import cli
from spec_tests.tolerance import rounding
from spec_tests.train import (
    autoencoders,
    checkpoint,
    densities,
    energy,
    flows,
    latent,
    pictures,
    rows,
    table,
    views,
)
from spec_tests.train import data as images
from spec_tests.train.autoregressive import MODELS
from spec_tests.train.loop import Recipe, Training, bits_per_dim, nats
from spec_tests.train.models import TRAINABLES
from spec_tests.train.prepare import start

SHAPE, LEVELS = (1, 4, 4), 3
SMALL: dict[str, dict[str, Any]] = {
    "bernoulli_vae": {"latent_dim": 2, "hidden_dim": 5},
    "bottleneck": {"hidden_dim": 6, "code_dim": 2},
    "convolutional_autoencoder": {"hidden": 3, "code_channels": 2},
    "convolutional_vae": {"latent_dim": 2, "hidden": 3},
    "denoising_autoencoder": {"hidden_dim": 6, "code_dim": 3, "sigma": 0.3},
    "diffusion": {"steps": 3, "hidden": 5},
    "glow": {"scales": 2, "steps": 1, "hidden": 4},
    "iaf": {"layers": 2, "hidden": 17},
    "linear_bottleneck": {"code_dim": 2},
    "maf": {"layers": 2, "hidden": 17},
    "nice": {"layers": 2, "hidden": 5},
    "realnvp": {"scales": 2, "hidden": 4},
    "rbm": {"hidden": 3, "sweeps": 2},
    "sparse_autoencoder": {"code_dim": 20, "price": 0.1},
    "vae": {"latent_dim": 2, "hidden_dim": 5},
}


@lru_cache
def tiny() -> images.Data:
    """A dozen images of 4 x 4 pixels and three levels."""
    x = torch.randint(LEVELS, (12, *SHAPE), generator=torch.Generator().manual_seed(0))
    part = images.Part(x.to(torch.uint8), torch.arange(12) % 2)
    return images.Data("tiny", "images", LEVELS, 2, part, part, part)


def begun(name: str, **recipe: Any) -> Training:
    """A small model on those images, not yet trained."""
    return start(
        TRAINABLES[name], tiny(), SMALL[name], Recipe(**recipe), False, torch.device("cpu")
    )


def test_every_kind_of_density_is_tried_here() -> None:
    ours = {name for name, entry in TRAINABLES.items() if entry.place.split(":")[0] in KINDS}
    assert set(SMALL) == ours and not ours & set(MODELS)


KINDS = {module.__name__ for module in (autoencoders, energy, flows, latent)}


@pytest.mark.parametrize("name", sorted(SMALL))
def test_it_trains_goes_on_bit_for_bit_and_fills_its_rows(name: str, tmp_path: Path) -> None:
    whole, part = begun(name, batch_size=6), begun(name, batch_size=6)
    for training in (whole, part):
        training.advance(tiny().train)
        training.advance(tiny().train)
    part.evaluate(tiny())
    path = tmp_path / "checkpoint.safetensors"
    about = {"step": 2, "seconds": 0.0, "score": {"validation": part.kept_score}}
    checkpoint.save(path, checkpoint.state(part), about)
    again = begun(name, batch_size=6)
    checkpoint.restore(again, *checkpoint.read(path))
    for training in (whole, again):
        training.advance(tiny().train)
    one, other = whole.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)
    score, _ = bits_per_dim(nats(again, tiny().held_out, final=True), SHAPE, again.family.unit)
    assert math.isfinite(score) and math.isfinite(again.kept_score)
    sheet = Image.open(io.BytesIO(pictures.portrait(again, tiny(), 3)))
    count = (sheet.height - 4) // (48 + 4)
    assert count >= 4 and sheet.width == 74 + 3 * (48 + 4)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_rows_are_of_levels_and_as_long_as_the_images(name: str) -> None:
    training, generator = begun(name), torch.Generator().manual_seed(0)
    model, family, x = training.model.eval(), training.family, tiny().held_out.x[:5].long()
    with torch.no_grad():
        found = [
            row for draw in (family.reconstruct, family.traverse) if draw
            for row in draw(model, x, generator)
        ]  # fmt: skip
        if family.sample:
            found.append(("samples", family.sample(model, 5, None, generator)))
    for said, row in found:
        assert row.shape == x.shape and row.dtype == torch.long, said
        assert row.min() >= 0 and row.max() < LEVELS, said


@pytest.mark.parametrize("name", sorted(set(SMALL) - {"rbm", "linear_bottleneck"}))
def test_sizes_are_near_sixty_thousand(name: str) -> None:
    model = TRAINABLES[name].build((1, 8, 8), 17, 0, TRAINABLES[name].size)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert abs(count / 60_000 - 1) <= 0.1, f"{name} has {count} parameters"


def silenced(model: nn.Module) -> nn.Module:
    """With all weights zero."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model.eval()


# Figures that are known ---------------------------------------------------------------------------


def test_a_silent_machine_tosses_fair_coins() -> None:
    training = begun("rbm")
    silenced(training.model)
    bits, error = bits_per_dim(nats(training, tiny().held_out), SHAPE)
    assert bits == pytest.approx(1, abs=1e-6) and error < 1e-6


def test_the_machines_constant_is_that_of_all_visible_states() -> None:
    from reference.energy import all_states, exact_log_likelihood

    torch.manual_seed(0)
    model = energy.BinaryRBM((1, 2, 3), 2, hidden=4, sweeps=1)
    nn.init.normal_(model.model.weight)
    nn.init.normal_(model.model.visible_bias)
    nn.init.normal_(model.model.hidden_bias)
    every = all_states(6).long().view(-1, 1, 2, 3)
    model.double()
    exact = exact_log_likelihood(model.model, model.seen(every).double()).detach()
    room = rounding(torch.float64, length=2**4, scale=float(exact.abs().max()))
    assert exact.dtype == torch.float64
    assert torch.allclose(-model.nats(every), exact, rtol=0, atol=room)
    drawn = model.sample(20_000, torch.Generator().manual_seed(0)).flatten(1)
    place = (drawn * 2 ** torch.arange(5, -1, -1)).sum(1)
    counted = torch.bincount(place, minlength=64) / len(place)
    assert (counted - exact.exp()).abs().sum() < 0.1


@pytest.mark.parametrize("name", ["vae", "bernoulli_vae"])
def test_an_importance_weighted_bound_is_never_below_the_exact_figure(name: str) -> None:
    torch.manual_seed(0)
    model = TRAINABLES[name].build((1, 1, 2), 3, 0, {"latent_dim": 1, "hidden_dim": 4})
    assert isinstance(model, latent.LevelsVAE)
    every = torch.tensor(list(product(range(3), repeat=2))).view(-1, 1, 1, 2)
    z = torch.linspace(-8, 8, 2001)[:, None]  # the trapezoidal rule, exact here to float32
    density = (-z.square() / 2).exp()[:, 0] / math.sqrt(2 * math.pi) * (z[1] - z[0])
    with torch.no_grad():
        each = [model.log_likelihood(x[None].expand(len(z), -1, -1, -1), z) for x in every]
        exact = torch.stack([-(log.exp() * density).sum().log() for log in each])
        one, many = (
            torch.stack([model.nats(every, s) for _ in range(99)]).mean(0) for s in (1, 50)
        )
    assert (one >= exact - 1e-2).all() and (many <= one + 1e-2).all()
    assert torch.allclose(many, exact, atol=2e-2)
    if name == "vae":
        assert float((-exact).exp().sum()) == pytest.approx(1, abs=1e-4)


def test_a_silent_vae_is_exact_and_its_bound_has_no_gap() -> None:
    training = begun("bernoulli_vae")
    silenced(training.model)
    for final in (False, True):
        bits, error = bits_per_dim(nats(training, tiny().held_out, final=final), SHAPE)
        assert bits == pytest.approx(1, abs=1e-5) and error < 1e-5


@pytest.mark.parametrize("name", ["nice", "realnvp", "glow", "maf", "iaf"])
def test_a_silent_flow_is_a_gaussian_whose_cells_cost_less_than_the_bound(name: str) -> None:
    training = begun(name)
    flow = silenced(training.model)
    flow.flow = nn.Identity() if name == "glow" else flow.flow  # its mixing is no identity at 0
    if name == "glow":
        flow.flow = flows.Composition(SHAPE, [])
    x = tiny().held_out.x.long()
    with torch.no_grad():
        bound = torch.stack([training.family.nats(flow, x, None) for _ in range(200)]).mean(0)
    edges = torch.distributions.Normal(0, 1).cdf(torch.arange(LEVELS + 1) / LEVELS)
    exact = -edges.diff().log()[x].flatten(1).sum(1)
    assert (bound > exact - 1e-2).all() and torch.allclose(bound, exact, atol=0.2)


def test_the_noise_of_a_flow_gives_its_image_back() -> None:
    for name in ("nice", "realnvp", "glow", "maf", "iaf"):
        training, x = begun(name), tiny().held_out.x.long()
        training.advance(tiny().train)
        with torch.no_grad():
            model: Any = training.model.eval()
            z, _ = model((x + 0.5) / LEVELS)
            assert torch.equal(model.decode(z), x), name


def test_the_costs_of_a_diffusion_leave_room_for_all_images() -> None:
    torch.manual_seed(0)
    model = energy.Diffusion((1, 1, 1), 2, steps=2, hidden=3).eval()
    every = torch.tensor([0, 1]).view(2, 1, 1, 1)
    with torch.no_grad():
        cost = model.nats(every.repeat(4000, 1, 1, 1)).view(-1, 2).mean(0)
    assert float((-cost).exp().sum()) < 1  # masses under a bound sum to less than one


def test_an_autoencoder_that_says_nothing_costs_the_mean_square() -> None:
    training = begun("linear_bottleneck")
    silenced(training.model)
    found, _ = bits_per_dim(nats(training, tiny().held_out), SHAPE, training.family.unit)
    square = views.pixels(tiny().held_out.x, LEVELS).double().square().mean()
    assert found == pytest.approx(float(square), abs=1e-6)


def test_the_best_affine_code_beats_what_descent_finds() -> None:
    training = begun("linear_bottleneck", lr=0.02, warmup=1, keep="last", average=0.0)
    for _ in range(400):
        training.advance(tiny().train)
    found, _ = bits_per_dim(nats(training, tiny().held_out), SHAPE, 1.0)
    figures = {
        name: float(said[:6]) for name, said in training.family.beside(training.model, tiny())
    }
    assert figures["PCA"] <= found + 1e-4 < figures["mean"]
    assert found == pytest.approx(figures["PCA"], abs=0.02)


def test_lines_run_from_one_code_to_the_other() -> None:
    codes = torch.tensor([[0.0], [4.0], [8.0], [0.0], [1.0]])
    found = views.lines(codes, lambda code: code, 2)
    assert [row.flatten().tolist() for _, row in found] == [[0, 1, 2, 3, 4], [8, 6, 4, 2, 0]]


def test_ink_is_the_upper_half_of_the_levels() -> None:
    assert views.binary(torch.arange(17), 17).tolist() == [0.0] * 8 + [1.0] * 9
    assert views.binary(torch.arange(2), 2).tolist() == [0, 1]


# The page ------------------------------------------------------------------------------------------


def test_the_page_tells_bounds_from_exact_figures_and_keeps_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind, name in (("DENSITIES", "vae"), ("BINARY", "rbm"), ("REBUILDERS", "bottleneck")):
        row = table.Row(name, name.upper(), name, SMALL[name], small=True)
        monkeypatch.setattr(densities, kind, (row,))
    book = tmp_path / "book"
    words = [
        "--page=digits-latent",
        "--minutes=0.0003",
        f"--docs={book}",
        f"--work={tmp_path}/kept",
    ]
    assert table.main(words) == 0
    text = (book / "digits-latent.md").read_text()
    assert "| uniform | 0 | | 4.087 | log₂ 17, exactly |" in text
    assert "| a coin for each pixel | 64 | | 0.565 | exactly |" in text
    assert "at most, importance weighted, 200 draws |" in text and "mean 0.0740; PCA" in text
    for name in ("vae", "rbm", "bottleneck"):
        assert f"_static/digits/{name}.png" in text
        assert (book / "_static" / "digits" / f"{name}.png").stat().st_size > 0
    capsys.readouterr()
    assert table.main(words) == 0
    assert capsys.readouterr().out.count(": kept") == 3


def test_a_row_is_kept_while_its_own_kind_does_not_change() -> None:
    prints = {
        name: rows.fingerprint(name)
        for name in ("made", "nade", "vae", "convolutional_vae", "nice")
    }
    assert prints["made"] == prints["nade"] and prints["vae"] == prints["convolutional_vae"]
    assert len(set(prints.values())) == 3


# The command --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("vae", "bits per dimension, at most, importance weighted, 200 draws; ±"),
        ("rbm", "bits per dimension of ink or paper, exactly; ±"),
        ("denoising_autoencoder", "affine    0.0232, the best affine denoiser"),
        ("nice", "bits per dimension, at most, dequantised, 8 draws of the noise; ±"),
    ],
)
def test_the_report_says_what_the_figure_is(
    name: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = [f"--size={key}={value}" for key, value in SMALL[name].items()]
    status = cli.main(["train", name, "--steps=2", f"--out={tmp_path}", "--pictures=2", *sizes])
    out = capsys.readouterr().out
    assert status == 0 and said in out, out
    assert (tmp_path / "samples.png").stat().st_size > 0
    _, about = checkpoint.read(tmp_path / "checkpoint.safetensors")
    assert about["score"]["name"] in out


def test_a_machine_too_wide_to_list_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "rbm", "--size=hidden=30"]) == 2
    assert "the states of 30 hidden units cannot be listed" in capsys.readouterr().err


def test_a_family_may_do_without_any_row() -> None:
    training = begun("vae")
    bare = replace(training.family, sample=None, reconstruct=None, traverse=None)
    training.family = bare
    assert Image.open(io.BytesIO(pictures.portrait(training, tiny(), 2))).height == 4 + 52
