r"""``genspec train`` with two players: rounds, resumption, files, figures, and what is refused."""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from spec_tests import cli
from spec_tests.train import checkpoint, fidelity, gallery, table
from spec_tests.train import data as images
from spec_tests.train.adversarial import Contest
from spec_tests.train.curves import COLOURS, Panel, svg, thinned
from spec_tests.train.game import Match
from spec_tests.train.models import GAMES
from spec_tests.train.prepare import start
from spec_tests.train.trainer import Recipe
from spec_tests.train.translation import Translation, turned, unturned

SMALL = ("--size=features=2", "--pictures=2", "--every=2", "--batch-size=8")
CYCLE = ("--size=critic_features=2", "--size=blocks=1", *SMALL)
Command = Callable[..., tuple[int, str, str]]


def words(name: str) -> tuple[str, ...]:
    return (name, *(CYCLE if name == "cyclegan" else SMALL))


@pytest.fixture
def genspec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """``genspec train WORDS`` in a folder of its own: exit status, output, errors."""
    monkeypatch.chdir(tmp_path)

    def run(*given: str | Path) -> tuple[int, str, str]:
        status = cli.main(["train", *map(str, given)])
        out, err = capsys.readouterr()
        return status, out, err

    return run


def tensors(folder: str) -> dict[str, Tensor]:
    return checkpoint.read(Path(folder) / "checkpoint.safetensors")[0]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def played(name: str, **recipe: Any) -> Match:
    """A small game on the digits, before its first round."""
    entry = GAMES[name]
    size = {**entry.size, "features": 2}
    device = torch.device("cpu")
    found = start(entry, images.digits(), size, Recipe(**recipe), entry.classes, device)
    assert isinstance(found, Match)
    return found


@pytest.mark.parametrize("name", sorted(GAMES))
def test_a_game_goes_on_where_it_was_and_writes_its_files(genspec: Command, name: str) -> None:
    status, out, err = genspec(*words(name), "--steps=4", "--out=whole")
    assert status == 0, err
    assert "energy distance" in out and re.search(r"held out +drawn +real", out)
    genspec(*words(name), "--steps=2", "--out=parts")
    status, _, err = genspec(
        name, "--steps=4", "--pictures=2", "--resume=parts/checkpoint.safetensors"
    )
    assert status == 0, err
    whole, parts = tensors("whole"), tensors("parts")
    assert same(whole, parts)
    assert whole["beside/curves"].shape == (4, 4) and whole["beside/curves"].isfinite().all()
    for side in ("critic", "generator"):
        assert any(n.startswith(f"adam/exp_avg/{side}.") for n in whole)
    written = ["checkpoint.safetensors", "curves.svg", "model.safetensors", "samples.png"]
    assert sorted(os.listdir("whole")) == written
    for file in ("curves.svg", "samples.png"):
        assert Path("whole", file).read_bytes() == Path("parts", file).read_bytes()
    assert Image.open(io.BytesIO(Path("whole/samples.png").read_bytes())).format == "PNG"
    assert ElementTree.parse("whole/curves.svg").getroot().tag.endswith("svg")


def test_the_seed_decides_the_whole_game(genspec: Command) -> None:
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        genspec(*words("wgan_gp"), "--steps=2", f"--seed={seed}", f"--out={name}")
    assert same(tensors("one"), tensors("again")) and not same(tensors("one"), tensors("other"))


def test_the_written_generator_is_the_references(genspec: Command) -> None:
    from reference.adversarial import CycleGANGenerator, DCGANGenerator

    genspec(*words("dcgan"), "--steps=2", "--out=noise")
    DCGANGenerator(32, (1, 8, 8), 2, features=2).load_state_dict(
        load_file("noise/model.safetensors")
    )
    genspec(*words("cyclegan"), "--steps=2", "--out=cycle")
    kept = load_file("cycle/model.safetensors")
    for way in ("x_to_y", "y_to_x"):
        own = {n.removeprefix(f"{way}."): v for n, v in kept.items() if n.startswith(way)}
        CycleGANGenerator(1, blocks=1, features=2).load_state_dict(own)


# The rounds --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(GAMES))
def test_each_side_moves_its_own_parameters_alone(name: str) -> None:
    match, data = played(name), images.digits()
    match.seed()
    match.model.train()
    moved = []
    for side, loss in match.turns(data.train):
        before = {n: p.detach().clone() for n, p in match.model.named_parameters()}
        match.move(loss, match.optimizers[match.SIDES.index(side)])
        changed = {
            n.partition(".")[0]
            for n, p in match.model.named_parameters()
            if not torch.equal(p, before[n])
        }
        assert changed == {side}
        moved.append(side)
    assert moved == ["critic"] * match.family.critic_steps + ["generator"]


def test_the_critic_of_spectral_norms_has_them_everywhere() -> None:
    match = played("sn_gan")
    match.advance(images.digits().train)
    match.model.eval()
    layers = [m for m in match.model.critic.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(layers) == 3
    for layer in layers:
        top = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
        assert float(top) == pytest.approx(1, abs=0.1)
    assert not any("parametrizations" in n for n, _ in match.model.generator.named_parameters())


@pytest.mark.parametrize("name", ["sn_gan", "wgan_gp"])
def test_no_item_influences_anothers_score_where_slopes_are_bounded(name: str) -> None:
    match = played(name)
    match.model.train()
    x = torch.randn(3, 1, 8, 8)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in match.model.critic.modules())
    with torch.no_grad():
        scores = match.model.critic(x)
        assert scores.std() > 0 and scores[:1].shape == match.model.critic(x[:1]).shape


def test_the_average_takes_the_batch_statistics_along() -> None:
    match, data = played("dcgan", average=0.5), images.digits()
    for _ in range(2):
        match.advance(data.train)
    running = [n for n in match.average if "running" in n]
    state = match.model.generator.state_dict()
    assert running and all(not torch.equal(match.average[n], state[n]) for n in running)
    match.evaluate(data)
    assert all(torch.equal(match.kept[n], match.average[n]) for n in running)


def test_domains_share_no_image_and_a_pool_keeps_old_translations() -> None:
    match, part = played("cyclegan"), images.digits().train
    assert isinstance(match, Translation)
    half = len(part) // 2
    x, y = match._unpaired(images.Part(torch.arange(len(part)).view(-1, 1, 1, 1), part.y))
    places = [((v + 1) * 8).round().long().flatten() for v in (x, unturned(y))]
    assert (places[0] < half).all() and (places[1] >= half).all()
    for _ in range(2):
        match.advance(part)
    assert {len(pool) for pool in match.pools.values()} == {min(50, 2 * 32)}


def test_turning_can_be_undone() -> None:
    x = torch.randn(2, 1, 3, 3)
    assert torch.equal(unturned(turned(x)), x) and not torch.equal(turned(x), -x)
    assert turned(x)[0, 0, 0, 0] == -x[0, 0, 0, 2]  # a quarter to the left: right becomes top


# The figures -------------------------------------------------------------------------------------


def test_the_energy_distance_of_points_is_known() -> None:
    a, b = torch.tensor([0, 16, 0, 16]).view(4, 1, 1, 1), torch.tensor([16, 16]).view(2, 1, 1, 1)
    # In [-1, 1]: between 1 on average, within a 4/3, within b 0.
    assert fidelity.energy_distance(a, b, 17) == pytest.approx(2 * 1 - 4 / 3)
    assert fidelity.ink_distance(a, b, 17) == pytest.approx(1.0)
    assert fidelity.nearest_distance(b, a, 17) == 0
    assert fidelity.covered(torch.tensor([0] * 99 + [1]), 2) == 1
    assert fidelity.share_distance(torch.tensor([0, 0]), torch.tensor([0, 1]), 2) == 0.5


def test_real_digits_get_the_figures_of_real_digits() -> None:
    data = images.digits()
    found = fidelity.compared(data.train.x[: len(data.held_out)], data)
    assert [f.drawn for f in found[:-1]] == [f.real for f in found[:-1]]
    assert found[-1].drawn < 0.01 < found[-1].real  # copies are seen
    read = fidelity.reader(data)
    assert (read(data.held_out.x) == data.held_out.y).double().mean() > 0.95


def test_a_perfect_translator_finds_the_true_partners(monkeypatch: pytest.MonkeyPatch) -> None:
    ways = {"x_to_y": turned, "y_to_x": unturned}
    monkeypatch.setattr(Translation, "translate", lambda self, way, x: ways[way](x))
    match = played("cyclegan")
    figures = {f.name: f for f in match.figures(images.digits())}
    for name, figure in figures.items():
        if name.startswith("label"):
            assert figure.drawn == figure.real > 0.95
        elif name.startswith("energy"):
            assert figure.drawn < 0 < 0.02 + figure.real
        else:
            assert figure.drawn < 1e-6 and figure.real > 0.4


# Curves ------------------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_curves_stand_out_from_white_and_from_black_paper() -> None:
    drawn = svg([Panel("loss & more", [("critic", torch.tensor([1.0, -2.0]))])]).decode()
    assert "loss &amp; more" in drawn and "<rect" not in drawn
    used = set(re.findall(r"#[0-9a-f]{6}", drawn))
    assert used & set(COLOURS)
    for colour in used:
        for paper in (1.0, luminance("#131416")):
            light, dark = sorted((luminance(colour), paper), reverse=True)
            assert (light + 0.05) / (dark + 0.05) > 3.5, colour


def test_lines_keep_their_means_and_stay_within_their_panel() -> None:
    at, values = thinned(torch.arange(1000.0))
    assert len(at) <= 300 and float(values[0]) == 1.5 and float(at[0]) == 2.5
    lines = [("a", torch.tensor([1e-9, 1e5])), ("b", torch.zeros(2))]
    for logarithmic in (False, True):
        drawn = ElementTree.fromstring(svg([Panel("norm", lines, logarithmic)]))
        for line in drawn.iter("{http://www.w3.org/2000/svg}polyline"):
            for point in line.attrib["points"].split():
                across, down = map(float, point.split(","))
                assert 0 <= across <= 380 and 0 <= down <= 240
    for few in (torch.zeros(0), torch.ones(1)):
        assert svg([Panel("short", [("a", few)])])


# What is said of bad input -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("dcgn",), "unknown model 'dcgn'; did you mean 'dcgan'"),
        (("dcgan", "--classes"), "--classes: spec_tests.train.players:dcgan cannot be conditioned"),
        (("cyclegan", "--classes"), "players:cyclegan cannot be conditioned on a label"),
        (("dcgan", "--size=hidden=3"), "--size hidden: spec_tests.train.players:dcgan has none"),
        (("dcgan", "--size=doublings=4"), "refuses its sizes: 8 by 8 cannot be halved 4 times"),
        (("sn_gan", "--size=features=0"), "features must be a whole number above 0, not 0"),
        (("wgan_gp", "--size=latent_dim=few"), "latent_dim must be a whole number above 0"),
        (("wgan_gp", "--resume=run/checkpoint.safetensors"), "a checkpoint of dcgan, not of wgan"),
        (
            ("dcgan", "--resume=run/checkpoint.safetensors", "--clip=1"),
            "trained with clip 0.0, which --resume keeps; clip 1.0 is another run",
        ),
        (("dcgan", "--resume=run/model.safetensors"), "holds the weights alone"),
    ],
)
def test_bad_input_to_a_game_is_named(
    genspec: Command, given: tuple[str, ...], message: str
) -> None:
    if "run/" in " ".join(given):
        genspec(*words("dcgan"), "--steps=1", "--pictures=0", "--out=run")
    status, _, err = genspec(*given)
    assert status == 2 and message in err, err


def test_a_game_that_diverges_names_the_step(
    genspec: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = GAMES["wgan_gp"]
    bad = replace(entry, family=replace(entry.family, penalty=math.inf))
    monkeypatch.setitem(GAMES, "wgan_gp", bad)
    status, _, err = genspec(*words("wgan_gp"), "--steps=2")
    assert status == 1 and "at step 1 the loss is" in err


# The page ----------------------------------------------------------------------------------------


def test_every_game_has_sixty_thousand_parameters() -> None:
    for name, entry in GAMES.items():
        assert isinstance(entry, Contest)
        model = entry.build((1, 8, 8), 17, 10 if entry.classes else 0, entry.size)
        count = sum(parameter.numel() for parameter in model.parameters())
        assert abs(count / table.PARAMETERS - 1) <= table.LATITUDE, f"{name}: {count}"


def test_the_page_of_games_shows_figures_pictures_and_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gallery, "FROM_NOISE", gallery.FROM_NOISE[-1:])
    given = ["--page=digits-games", "--minutes=0.001", "--docs=book", "--work=kept"]
    assert table.main(given) == 0
    page = (tmp_path / "book" / "digits-games.md").read_text()
    assert "| energy distance |" in page and "read as the label asked for" in page
    for name in re.findall(r"\((_static/[^)]+)\)", page):
        assert (tmp_path / "book" / name).stat().st_size > 0
    assert "cyclegan-curves.svg" in page and "conditional_gan.png" in page
    capsys.readouterr()
    assert table.main(given) == 0
    assert "CycleGAN: kept" in capsys.readouterr().out


def test_a_picture_of_a_game_has_a_column_for_each_label() -> None:
    data = images.digits()
    match = played("conditional_gan")
    names = [name for name, _ in match.rows(data, 3)]
    assert names == ["held out", *["samples"] * 4, *["one latent"] * 5]
    assert all(x.shape == (3, 1, 8, 8) and x.min() >= 0 for _, x in match.rows(data, 3))
    walks = played("dcgan").rows(data, 3)[-3:]
    assert [name for name, _ in walks] == ["between"] * 3
    assert not torch.equal(walks[0][1], walks[1][1])
