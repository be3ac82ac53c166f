r"""Claims about the two players of a game over images.

What one drawn network happens to do (a dead unit, a saturated pixel) is no finding: a "must" is looked
for over several redraws of the parameters, and only its absence from all of them counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spec_tests import check
from spec_tests.contracts import CONTRACTS
from spec_tests.contracts.images import (
    LARGE,
    OBLONG,
    ODD,
    SQUARE,
    discriminators,
    draw_images,
    draw_latents,
    evaluated,
    generators,
    settle,
    trained,
)
from spec_tests.handle import Built, Handle
from spec_tests.judge import stratified
from spec_tests.numerics import gradients
from spec_tests.registry import claim
from spec_tests.tolerance import rounding

DCGAN = "Radford, Metz, Chintala 2015, 'Unsupervised Representation Learning with DCGANs'"
GAN = "Goodfellow et al. 2014, 'Generative Adversarial Networks'"
CGAN = "Mirza and Osindero 2014, 'Conditional Generative Adversarial Nets'"
PROJECTION = "Miyato and Koyama 2018, 'cGANs with Projection Discriminator'"
PROGRESSIVE = "Karras et al. 2017, 'Progressive Growing of GANs'"
LECTURE = "CS182 2021 L19, 'Generative Adversarial Networks'"
BINDING = "contracts.md, image_generator"
SCORING = "contracts.md, image_discriminator"

GENERATORS = stratified(list(CONTRACTS["image_generator"].strata))
DISCRIMINATORS = stratified(list(CONTRACTS["image_discriminator"].strata))
SIZES = ((SQUARE + OBLONG, (2, 3)), (LARGE, (3,)), (ODD, (2,)))
CONDITIONAL_GENERATORS = stratified([generators(*case) for case in SIZES])
CONDITIONAL_DISCRIMINATORS = stratified([discriminators(*case) for case in SIZES])
ROUNDS = 16
MODES = st.sampled_from([evaluated, trained])


def _redraws(subject: Handle, config: Any, rounds: int = ROUNDS) -> Iterator[Built]:
    """The subject built over and over, its parameters redrawn each time."""
    for _ in range(rounds):
        yield subject.build(config, training=False)


def _latents(subject: Handle, config: Any, n: int, scale: float = 1.0) -> dict[str, Any]:
    inputs = draw_latents(config, n, scale)
    return {
        "z": inputs["z"].to(subject.device, subject.dtype),
        "y": inputs["y"].to(subject.device),
    }


def _images(subject: Handle, config: Any, n: int, scale: float = 1.0) -> dict[str, Any]:
    inputs = draw_images(config, n, scale)
    return {
        "x": inputs["x"].to(subject.device, subject.dtype),
        "y": inputs["y"].to(subject.device),
    }


def _again(call: Any, model: Built, inputs: dict[str, Any]) -> Tensor:
    """A call that meets the same dropout, if there is any, as every other one."""
    torch.manual_seed(5)
    found: Tensor = call(model, inputs)
    return found


def _moved(one: Tensor, other: Tensor) -> Tensor:
    """Where two results differ by more than rounding."""
    size = float(torch.maximum(one.abs(), other.abs()).max().detach())
    return (one - other).abs() > rounding(one.dtype, length=16, scale=max(size, 1.0))


def _parameters(model: Built) -> list[Tensor]:
    return [p for p in model.module.parameters() if p.requires_grad and p.is_floating_point()]


# Generators --------------------------------------------------------------------------------------


@claim(
    "image_generator.range",
    r"-1 \le G(z, y) \le 1, \qquad \text{and both signs occur}",
    sources=[f"{DCGAN}, Section 3 (tanh at the output)", BINDING],
    why=r"""A requirement: the discriminator sees data scaled to [-1, 1]. A pixel outside
    gives every generated image away at once, so that D wins without learning what images look
    like; and a generator that stays within [0, 1] can never draw the dark half, whatever its
    loss. A tanh at the output ensures both,

    .. math::

        |\tanh a| < 1, \qquad \tanh(-a) = -\tanh a,

    and no latent, however far out, makes an exception.

    The bound is tested for latents of the usual size and thirty times that, in train and in eval
    mode. That both signs occur is no matter of one network, which may be bright by chance: pixels
    of either sign are looked for over 16 redraws of the parameters, and only if there are none in
    80 images is it a finding.""",
    assumptions={
        "data are scaled to [-1, 1]": (
            "for data in [0, 1] a sigmoid is the right output, and this contract the wrong one"
        ),
    },
    effort=0.5,
)
@given(config=GENERATORS, call=MODES, scale=st.sampled_from([1.0, 30.0]))
def test_pixels_lie_between_minus_one_and_one_and_use_both_halves(
    subject: Handle, device: str, dtype: torch.dtype, config: Any, call: Any, scale: float
) -> None:
    low, high = 1.0, -1.0
    for model in _redraws(subject, config):
        images = call(model, _latents(subject, config, 5, scale))
        check.finite(images, "the image")
        check.at_most(images.abs(), 1.0, rounding(dtype), "the absolute value of a pixel")
        low, high = min(low, float(images.min())), max(high, float(images.max()))
        if low < 0 < high:
            return
    check.that(
        False,
        f"pixels of {5 * ROUNDS} images, over {ROUNDS} redraws of the parameters, lie between "
        f"{low:.6g} and {high:.6g}: data in [-1, 1] have both signs",
    )


@claim(
    "image_generator.latent_matters",
    r"\forall i\ \exists z, z':\ z_j = z'_j\ (j \ne i),\quad G(z, y) \ne G(z', y)",
    sources=[f"{GAN}, Section 3", LECTURE],
    why=r"""A requirement. The latent z is all that makes one image differ from the next, and
    the images of a smooth G form a surface of at most as many dimensions as coordinates that it
    uses. One that changes nothing, :math:`\partial G / \partial z_i = 0` everywhere, is a
    dimension that the images lack, and a generator that ignores all of them draws one image for
    each class: modes are lost, while every single image may look right.

    Coordinate i is reflected and shifted with all others as they are, and the images before and
    after are compared beyond rounding, with the same dropout if there is any. A dead unit may
    hide a coordinate in one network, so that only what changes no image in 16 redraws of the
    parameters counts.""",
    assumptions={
        "parameters are of the usual size": (
            "with all weights at zero no latent matters, in the best of generators"
        ),
    },
    effort=0.5,
)
@given(config=GENERATORS, call=MODES)
def test_every_coordinate_of_the_latent_changes_the_image(
    subject: Handle, device: str, dtype: torch.dtype, config: Any, call: Any
) -> None:
    idle = set(range(config.latent_dim))
    for model in _redraws(subject, config):
        inputs = _latents(subject, config, 4)
        before = _again(call, model, inputs)
        for i in sorted(idle):
            for change in (lambda v: -v, lambda v: v + 1.5):
                z = inputs["z"].clone()
                z[:, i] = change(z[:, i])
                if _moved(_again(call, model, {**inputs, "z": z}), before).any():
                    idle.discard(i)
        if not idle:
            return
    check.that(
        False,
        f"coordinate {min(idle)} of {config.latent_dim} latent ones changes no pixel of any image, "
        f"over {ROUNDS} redraws of the parameters",
    )


@claim(
    "image_generator.batch_independent",
    r"\frac{\partial G(z, y)_i}{\partial z_j} = 0,\ j \ne i, \qquad "
    r"G(z_{\pi}, y_{\pi}) = G(z, y)_{\pi} \quad \text{(eval mode)}",
    sources=[BINDING, "Ioffe and Szegedy 2015, 'Batch Normalization', Section 3.1"],
    why=r"""In eval mode batch normalisation uses the mean and variance that it learned in
    training, constants to the batch, and noise is nobody's but z. Then every layer acts on each
    item by itself, and so does their composition:

    .. math::

        G(z_1, \dots, z_N)_i = g(z_i), \qquad \frac{\partial G_i}{\partial z_j} = 0 \quad (j \ne i).

    The same holds for labels, and for the order :math:`\pi` of the items. If it fails, an image
    cannot be drawn again alone, and a sheet of samples shows its neighbours' influence, which
    looks like variety.

    Four images are drawn again in another order, behind four others with larger latents and other
    labels, and must be as they were; where there are gradients, that of one image in the other
    items' latents must vanish.""",
    assumptions={
        "the mode is eval": (
            "in train mode batch normalisation subtracts the mean of the batch: of two items it "
            "makes 1 and -1, whatever they were"
        ),
    },
    effort=0.5,
)
@given(config=GENERATORS, scale=st.sampled_from([1.0, 50.0]))
def test_an_image_does_not_depend_on_the_rest_of_the_batch(
    subject: Handle, device: str, dtype: torch.dtype, config: Any, scale: float
) -> None:
    model = subject.build(config, training=False)
    inputs = _latents(subject, config, 4)
    images = evaluated(model, inputs)
    others = _latents(subject, config, 4, scale)
    others["y"] = (inputs["y"] + 1) % max(config.num_classes, 1)
    order = torch.tensor([2, 0, 3, 1], device=inputs["z"].device)
    mixed = {name: torch.cat([others[name], inputs[name][order]]) for name in inputs}
    room = rounding(dtype, length=64)
    check.close(
        evaluated(model, mixed)[4:],
        images[order],
        room,
        "an image drawn in another order among other latents",
    )
    if not subject.carries_gradients:
        return
    z = inputs["z"].requires_grad_()
    (slope,) = gradients(evaluated(model, {**inputs, "z": z})[0].sum(), [z], what="image")
    check.close(slope[1:], 0.0, room, "the gradient of image 0 in the other items' latents")


@claim(
    "image_generator.class_matters",
    r"\forall y \ne y'\ \exists z:\ G(z, y) \ne G(z, y')",
    sources=[f"{CGAN}, Section 3.2", BINDING],
    why="""A requirement. Asked for another class, a conditional generator must be able to
    draw another image from the same latent. Else its distributions agree, :math:`q(x | y) = q(x |
    y')`, and the conditional game cannot be won unless the data's do. The label is easily lost on
    the way, multiplied by a weight that stays zero or never concatenated, and the loss does not
    say so: against a discriminator that ignores it as well an unconditional generator does as
    well as any.

    For every pair of classes the first item is drawn under both, from one latent, with the rest
    of the batch unchanged (in train mode it takes part in the statistics). A pair that no latent
    tells apart in 16 redraws of the parameters is a finding; two rows of the table in one are
    found, too.""",
    assumptions={
        "there are two classes at least": (
            "with one class there is nothing to tell apart, and nothing is said"
        ),
        "parameters are drawn, not as they start": (
            "a table of zeros, as some layers start with, gives one image for all classes"
        ),
    },
    effort=0.5,
)
@given(config=CONDITIONAL_GENERATORS, call=MODES)
def test_another_class_gives_another_image(
    subject: Handle, device: str, dtype: torch.dtype, config: Any, call: Any
) -> None:
    alike = set(combinations(range(config.num_classes), 2))
    for model in _redraws(subject, config):
        inputs = _latents(subject, config, 4)
        others = inputs["y"][1:]  # several classes: those of the batch may be centred in training
        images = [
            _again(
                call, model, {**inputs, "y": torch.cat([torch.full_like(others[:1], k), others])}
            )[0]
            for k in range(config.num_classes)
        ]
        alike = {(a, b) for a, b in alike if not _moved(images[a], images[b]).any()}
        if not alike:
            return
    a, b = min(alike)
    check.that(
        False,
        f"classes {a} and {b} give the same images from the same latents, over {ROUNDS} redraws of "
        f"the parameters",
    )


@claim(
    "image_generator.reaches_every_pixel",
    r"\forall c, h, w\ \exists z, z':\ G(z, y)_{chw} \ne G(z', y)_{chw}, \qquad "
    r"\exists z:\ G(z, y) \text{ is not constant over } h, w",
    sources=[DCGAN, BINDING],
    why=r"""A requirement. A transposed convolution of kernel k, stride s and padding p makes

    .. math::

        (n - 1)\, s - 2 p + k + \text{output padding}

    pixels of n, and the layers must add up to the image's size. Where they do not, rows or
    columns at the border are filled with a constant, or cut and padded, which a discriminator
    sees at a glance and the generator cannot mend. An image that is constant over its pixels has
    no spatial structure at all.

    Pixels of six images are compared with the first one's. A single pixel may be saturated in one
    network; so a pixel must vary, and some image must not be constant, in one of 16 redraws of
    the parameters. Odd and oblong sizes are drawn, where the arithmetic goes wrong first.""",
    assumptions={
        "no pixel is fixed by design": (
            "a generator that paints a frame, as some data have one, is rejected though it may "
            "be right"
        ),
    },
    effort=0.5,
)
@given(config=GENERATORS, call=MODES)
def test_every_pixel_of_every_channel_varies_with_the_latent(
    subject: Handle, device: str, dtype: torch.dtype, config: Any, call: Any
) -> None:
    shape = config.channels, config.height, config.width
    varies, differs = torch.zeros(shape, dtype=torch.bool), False
    for model in _redraws(subject, config):
        images = call(model, _latents(subject, config, 6)).detach().cpu()
        varies |= _moved(images, images[:1]).any(0)
        differs |= bool(_moved(images, images[:, :, :1, :1]).any())
        if varies.all() and differs:
            return
    check.that(differs, "every image is constant over its pixels: it has no spatial structure")
    where = tuple(int(i) for i in (~varies).nonzero()[0])
    check.that(
        False,
        f"pixel {where} (channel, row, column) of {shape} is the same in all images, over {ROUNDS} "
        f"redraws of the parameters; {int((~varies).sum())} pixels are",
    )


@claim(
    "image_generator.gradient_reaches_latent_and_parameters",
    r"\nabla_\theta \langle c, G_\theta(z, y) \rangle \ne 0, \qquad "
    r"\nabla_z \langle c, G_\theta(z, y) \rangle \ne 0",
    sources=[f"{GAN}, Algorithm 1", LECTURE],
    why=r"""The generator never sees data: all it learns comes through the gradient c of the
    discriminator's score at its images, which the chain rule carries on,

    .. math::

        \nabla_\theta \langle c, G_\theta(z) \rangle = \Bigl(\frac{\partial G}{\partial
        \theta}\Bigr)^{\!\top} c, \qquad \nabla_z \langle c, G_\theta(z) \rangle = \Bigl(\frac{\partial
        G}{\partial z}\Bigr)^{\!\top} c,

    to its parameters, and to the latent of every item, by which images are edited and inverted. A
    detach in between makes both zero, and nothing else complains.

    In training mode a normal c is drawn, for which a Jacobian that is not zero gives zero with
    probability zero. Every item's latent, and some parameter, must have a gradient in one of 16
    redraws.""",
    assumptions={
        "the latent has more than one coordinate": (
            "one number that is put on the sphere becomes its sign, which has slope zero; then "
            "only the parameters are judged"
        ),
    },
    effort=0.5,
)
@given(config=GENERATORS)
def test_the_gradient_at_the_image_reaches_latent_and_parameters(
    subject: Handle, device: str, dtype: torch.dtype, config: Any
) -> None:
    subject.needs_gradients()
    latent, weights = torch.zeros(4, dtype=torch.bool), False
    for model in _redraws(subject, config):
        inputs = _latents(subject, config, 4)
        z = inputs["z"].requires_grad_()
        images = trained(model, inputs)
        parameters = _parameters(model) if model.is_module else []
        total = (torch.randn_like(images) * images).sum()
        at_z, *at_parameters = gradients(total, [z, *parameters], what="image")
        check.finite(at_z, "the gradient in the latent")
        latent |= (at_z != 0).any(1).cpu() | (config.latent_dim == 1)
        weights |= not parameters or any(bool((g != 0).any()) for g in at_parameters)
        if latent.all() and weights:
            return
    check.that(weights, "the gradient at the images reaches none of the parameters")
    check.that(
        False, f"the gradient at image {int((~latent).nonzero()[0])} never reaches its latent"
    )


# Discriminators ----------------------------------------------------------------------------------


@claim(
    "image_discriminator.raw_scores",
    r"\inf s < 0 < \sup s, \qquad \sup |s| > 1",
    sources=[SCORING, "contracts.md, gan_losses: scores are raw outputs"],
    why=r"""A requirement: the losses apply the sigmoid themselves, and some of them none.
    Squashed twice, the best score is

    .. math::

        \sigma(1) = 0.73, \qquad \text{and the worst } \sigma(0) = 0.5,

    so that no fake is ever rejected; the best possible loss is then :math:`-\log 0.73 - \log 0.5
    = 1.01` in place of 0. A Wasserstein critic confined to (-1, 1) has no slope far out.

    A bound cannot be seen from a few scores, but its absence can: scores of both signs, one of
    them beyond 1, must turn up over 16 redraws, images up to 1000 times too large, and from the
    fourth redraw on parameters thirty times their size. In either mode, for a sigmoid in eval
    mode alone makes two functions under one name.""",
    assumptions={
        "parameters and images may grow": (
            "a right network with small weights has scores near 0 on usual images, and shows no "
            "sign of having no bound"
        ),
    },
    effort=0.5,
)
@given(config=DISCRIMINATORS, call=MODES)
def test_scores_take_either_sign_and_are_not_squashed(
    subject: Handle, device: str, dtype: torch.dtype, config: Any, call: Any
) -> None:
    low, high = 0.0, 0.0
    for round_, model in enumerate(_redraws(subject, config)):
        if round_ >= 4 and model.is_module:
            with torch.no_grad():
                for parameter in _parameters(model):
                    parameter.mul_(30)
            settle(model)
            model.module.eval()
        for scale in (1.0, 1e3):
            scores = call(model, _images(subject, config, 5, scale))
            low, high = min(low, float(scores.min())), max(high, float(scores.max()))
        if low < 0 < high and max(high, -low) > 1 + 1e-3:
            return
    check.that(
        False,
        f"scores stay between {low:.6g} and {high:.6g}, over {ROUNDS} redraws of the parameters and "
        f"images up to 1000 times too large: raw scores have both signs and exceed 1",
    )


@claim(
    "image_discriminator.tells_images_apart",
    r"x_i \ne x_j:\quad s(x)_i \ne s(x)_j",
    sources=[f"{GAN}, Section 3", SCORING],
    why=r"""A requirement: a score belongs to an image. The batch may have a say, as with a
    channel that tells how much it varies, but a score that all items share, :math:`s_i = \bar s`,
    has one gradient for the good and the bad,

    .. math::

        \frac{\partial \ell(s_i)}{\partial x_j} = \ell'(\bar s)\, \frac{\partial \bar s}{\partial x_j},

    whose factor :math:`\ell'(\bar s)` is the same for all, and the generator is no longer told
    which image was which.

    Four images with one label are scored together, in either mode. Every pair must get different
    scores, beyond rounding, in one of 16 redraws of images and parameters; two images that happen
    to share a score in one network are no finding.""",
    assumptions={
        "the images differ": (
            "two copies of one image must share their score, if the batch does not number its items"
        ),
    },
    effort=0.5,
)
@given(config=DISCRIMINATORS, call=MODES)
def test_different_images_of_a_batch_get_different_scores(
    subject: Handle, device: str, dtype: torch.dtype, config: Any, call: Any
) -> None:
    alike = set(combinations(range(4), 2))
    for model in _redraws(subject, config):
        inputs = _images(subject, config, 4)
        scores = call(model, {**inputs, "y": torch.zeros_like(inputs["y"])})
        alike = {(i, j) for i, j in alike if not _moved(scores[i], scores[j])}
        if not alike:
            return
    check.that(
        False,
        f"images {min(alike)} of a batch of 4 get the same score, over {ROUNDS} redraws of images and "
        f"parameters",
    )


@claim(
    "image_discriminator.class_matters",
    r"\forall y_i \ne y_i'\ \exists x:\ s(x, y)_i \ne s(x, y')_i",
    sources=[f"{CGAN}, Equation 2", f"{PROJECTION}, Equation 3", SCORING],
    why=r"""The conditional game has one optimal discriminator for each class,

    .. math::

        D(x, y) = \frac{p(x | y)}{p(x | y) + q(x | y)},

    which depends on y unless all classes look alike. One that ignores the label plays against the
    mixtures over classes: it cannot tell a good image of the wrong class from a right one, so
    nothing makes the generator heed its label. And the label that counts is the item's own;
    rolled along the batch, it still changes scores, and teaches nonsense.

    For each pair of classes and each of three items, the label of that item alone is exchanged,
    and its own score must change in one of 16 redraws of images and parameters.""",
    assumptions={
        "there are two classes at least": (
            "with one class no label can be exchanged, and nothing is said"
        ),
        "classes look different in the data": (
            "if p(x | y) and q(x | y) are the same for all y the best D ignores y, though one "
            "that is built for the game must be able not to"
        ),
    },
    effort=0.5,
)
@given(config=CONDITIONAL_DISCRIMINATORS, call=MODES)
def test_another_label_of_an_image_gives_another_score(
    subject: Handle, device: str, dtype: torch.dtype, config: Any, call: Any
) -> None:
    alike = {(a, b, i) for a, b in combinations(range(config.num_classes), 2) for i in range(3)}
    for model in _redraws(subject, config):
        inputs = _images(subject, config, 4)
        for a, b, i in sorted(alike):
            y, other = inputs["y"].clone(), inputs["y"].clone()
            y[i], other[i] = a, b
            one = _again(call, model, {**inputs, "y": y})[i]
            if _moved(one, _again(call, model, {**inputs, "y": other})[i]):
                alike.discard((a, b, i))
        if not alike:
            return
    a, b, i = min(alike)
    check.that(
        False,
        f"the score of item {i} is the same under the labels {a} and {b}, over {ROUNDS} redraws of "
        f"images and parameters",
    )


@claim(
    "image_discriminator.sees_every_pixel",
    r"\forall c, h, w:\quad \frac{\partial s}{\partial x_{chw}} \not\equiv 0",
    sources=[f"{DCGAN}, Section 3", SCORING],
    why=r"""What the discriminator does not look at, the generator need not get right: where
    :math:`\partial s / \partial x_{chw} = 0` throughout, no gradient ever reaches that pixel. A
    channel that is dropped comes out as noise, and so does a border that strides step over. A
    convolution of kernel k, stride s and padding p has

    .. math::

        \Bigl\lfloor \frac{n + 2 p - k}{s} \Bigr\rfloor + 1

    outputs, and leaves out the remainder of the division at the end of a row.

    The gradient of the scores in the images is the oracle; it finds any influence, whatever the
    layers. A pooled pixel may lose against its neighbours and a unit may be dead, so it must be
    above rounding in one of 64 redraws of images and parameters.""",
    assumptions={
        "the stride covers the image": (
            "kernel 2 and stride 2 on 5 pixels without padding never see the last one"
        ),
    },
    effort=0.5,
)
@given(config=DISCRIMINATORS)
def test_every_pixel_of_every_channel_has_a_say(
    subject: Handle, device: str, dtype: torch.dtype, config: Any
) -> None:
    subject.needs_gradients()
    shape = config.channels, config.height, config.width
    seen = torch.zeros(shape, dtype=torch.bool)
    rounds = 4 * ROUNDS  # the largest of four pixels alone may count, here one and there another
    for model in _redraws(subject, config, rounds):
        inputs = _images(subject, config, 6)
        x = inputs["x"].requires_grad_()
        (slope,) = gradients(evaluated(model, inputs).sum(), [x], what="score")
        size = slope.abs().amax()
        seen |= (slope.abs() > 1e3 * torch.finfo(dtype).eps * size).any(0).cpu()
        if seen.all():
            return
    where = tuple(int(i) for i in (~seen).nonzero()[0])
    check.that(
        False,
        f"pixel {where} (channel, row, column) of {shape} has no influence on any score, over "
        f"{rounds} redraws of images and parameters; {int((~seen).sum())} pixels have none",
    )


@claim(
    "image_discriminator.gradient_reaches_image_and_parameters",
    r"\nabla_{x_i} s(x, y)_i \ne 0, \qquad \nabla_\theta \textstyle\sum_i s(x, y)_i \ne 0",
    sources=[f"{GAN}, Algorithm 1", LECTURE],
    why=r"""The discriminator learns by the gradient of the scores in its parameters, and
    teaches by that in the images: the generator's step is, by the chain rule,

    .. math::

        \nabla_\theta\, \ell(s(G_\theta(z))) = \Bigl(\frac{\partial G}{\partial \theta}\Bigr)^{\!\top}
        \nabla_x s\; \ell'(s),

    and is zero if the middle factor is. Every image of the batch has to be told how to score
    higher. Features computed under ``no_grad`` still give good scores, and a generator that
    stands still.

    In training mode, where both steps happen, every :math:`s_i` must have a finite gradient in
    its own image that is not zero, and some parameter one from the sum, in one of 16 redraws: an
    image all of whose units are dead in one network is no finding.""",
    assumptions={
        "scores are not saturated": (
            "far out a tanh within the network has slope 0 in floating point, and cuts off what "
            "comes before it"
        ),
    },
    effort=0.5,
)
@given(config=DISCRIMINATORS)
def test_the_gradient_of_the_score_reaches_image_and_parameters(
    subject: Handle, device: str, dtype: torch.dtype, config: Any
) -> None:
    subject.needs_gradients()
    taught, weights = torch.zeros(4, dtype=torch.bool), False
    for model in _redraws(subject, config):
        inputs = _images(subject, config, 4)
        x = inputs["x"].requires_grad_()
        scores = trained(model, inputs)
        parameters = _parameters(model) if model.is_module else []
        at_parameters = gradients(scores.sum(), parameters, what="score") if parameters else []
        weights |= not parameters or any(bool((g != 0).any()) for g in at_parameters)
        for i in range(4):
            (slope,) = gradients(scores[i], [x], what="score")
            check.finite(slope, f"the gradient of score {i} in the images")
            taught[i] |= bool((slope[i] != 0).any())
        if taught.all() and weights:
            return
    check.that(weights, "the gradient of the scores reaches none of the parameters")
    check.that(
        False, f"the gradient of score {int((~taught).nonzero()[0])} never reaches its image"
    )
