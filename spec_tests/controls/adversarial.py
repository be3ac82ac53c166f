r"""Right though unusual: losses, penalties and norms that every claim must accept."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, linear, logsigmoid, softplus

from spec_tests.registry import Unsupported, control

# The losses of the game --------------------------------------------------------------------------


class _LossModule(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.register_buffer("one", torch.ones(()))

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        one = self.one
        if self.kind == "wasserstein":
            return -(real.mean() - fake.mean())
        if self.kind == "least_squares":
            return 0.5 * (real.sub(one).pow(2).mean() + fake.pow(2).mean())
        if self.kind == "hinge":
            return (one - real).clamp(min=0).mean() + (one + fake).clamp(min=0).mean()
        return -(logsigmoid(real).mean() + (logsigmoid(fake) - fake).mean())

    def generator_loss(self, fake: Tensor) -> Tensor:
        if self.kind == "minimax":
            return (logsigmoid(fake) - fake).mean()
        if self.kind == "non_saturating":
            return -logsigmoid(fake).mean()
        if self.kind == "least_squares":
            return 0.5 * (self.one - fake).pow(2).mean()
        return fake.mean().neg()


@control("gan_losses")
def a_module_with_a_buffer(config: Any) -> nn.Module:
    """A loss may be a module; its label is a buffer that moves with it, and log(1 - sigmoid(s)) is
    written log sigmoid(s) - s."""
    return _LossModule(config.kind)


@control("gan_losses")
def a_namespace_of_functions(config: Any) -> Any:
    """No class at all: two functions in a namespace, with logaddexp for the logarithms."""
    plain = _LossModule(config.kind)
    if config.kind not in ("minimax", "non_saturating"):
        return types.SimpleNamespace(
            discriminator_loss=lambda real_scores, fake_scores: _python(
                config.kind, real_scores, fake_scores
            ),
            generator_loss=lambda fake_scores: plain.to(fake_scores).generator_loss(fake_scores),
        )

    def pay(scores: Tensor) -> Tensor:
        return torch.logaddexp(scores, torch.zeros_like(scores)).mean()

    sign = 1 if config.kind == "minimax" else -1
    return types.SimpleNamespace(
        discriminator_loss=lambda real_scores, fake_scores: pay(-real_scores) + pay(fake_scores),
        generator_loss=lambda fake_scores: -sign * pay(sign * fake_scores),
    )


def _python(kind: str, real: Tensor, fake: Tensor) -> Tensor:
    """Item by item, in a Python loop."""
    terms = {
        "least_squares": (lambda r: (r - 1) ** 2 / 2, lambda f: f**2 / 2),
        "wasserstein": (lambda r: -r, lambda f: f),
        "hinge": (lambda r: (1 - r).relu(), lambda f: (1 + f).relu()),
    }[kind]
    on_real = sum(terms[0](r) for r in real) / len(real)
    return on_real + sum(terms[1](f) for f in fake) / len(fake)  # type: ignore[no-any-return]


@control("gan_losses", arrays="numpy")
def losses_in_numpy(config: Any) -> Any:
    """NumPy arrays, Python floats for results: right in value, and no gradient to judge."""

    def pay(scores: Any) -> Any:
        return np.logaddexp(0, scores).mean()

    kind = config.kind

    def discriminator_loss(real: Any, fake: Any) -> float:
        return float(
            {
                "least_squares": lambda: ((real - 1) ** 2).mean() / 2 + (fake**2).mean() / 2,
                "wasserstein": lambda: fake.mean() - real.mean(),
                "hinge": lambda: np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean(),
            }.get(kind, lambda: pay(-real) + pay(fake))()
        )

    def generator_loss(fake: Any) -> float:
        return float(
            {
                "minimax": lambda: -pay(fake),
                "non_saturating": lambda: pay(-fake),
                "least_squares": lambda: ((fake - 1) ** 2).mean() / 2,
            }.get(kind, lambda: -fake.mean())()
        )

    return types.SimpleNamespace(
        discriminator_loss=discriminator_loss, generator_loss=generator_loss
    )


@control("gan_losses")
def only_the_original_game(config: Any) -> Any:
    """Offers one kind and declares the others unsupported: judged on what it offers."""
    if config.kind != "minimax":
        raise Unsupported("only the minimax game")
    return types.SimpleNamespace(
        discriminator_loss=lambda real, fake: softplus(-real).mean() + softplus(fake).mean(),
        generator_loss=lambda fake: -softplus(fake).mean(),
    )


# Penalties on a critic's gradient ----------------------------------------------------------------


def _fractions(real: Tensor) -> Tensor:
    return torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device).to(real)


def _scores_slope(critic: Any, points: Tensor) -> Tensor:
    scores = critic(points)
    (found,) = torch.autograd.grad(
        scores, points, grad_outputs=torch.ones_like(scores), create_graph=True
    )
    return found.reshape(len(points), -1)


@control("gradient_penalty")
def as_in_the_papers_code(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
    """The fraction counts from the fake end, the points are detached, and a guard of 1e-12 stands
    under the root."""
    t = _fractions(real)
    points = (t * real + (1 - t) * fake).detach().requires_grad_(True)
    slopes = (_scores_slope(critic, points).square().sum(1) + 1e-12).sqrt()
    return ((slopes - 1) ** 2).mean()


@control("gradient_penalty")
def points_that_keep_the_fakes_graph(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
    """The points stay attached to the inputs' graph, as some libraries leave them: the critic's
    gradient is the same."""
    points = torch.lerp(real, fake, _fractions(real))
    if not points.requires_grad:
        points = points.requires_grad_(True)
    return (torch.linalg.vector_norm(_scores_slope(critic, points), dim=1) - 1).square().mean()


@control("gradient_penalty")
def one_item_at_a_time(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
    """Called item by item with batches of one, and a Python loop for the mean."""
    total = real.new_zeros(())
    for one, other in zip(real, fake, strict=True):
        t = torch.rand((), dtype=real.dtype, device=real.device)
        point = (one + t * (other - one)).detach()[None].requires_grad_(True)
        total = total + (torch.linalg.vector_norm(_scores_slope(critic, point)) - 1) ** 2
    return total / len(real)


@control("gradient_penalty")
def fractions_from_numpy(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
    """Another global generator draws the fractions; the contract names none. The norm's subgradient
    at zero is set by hand."""
    t = torch.as_tensor(np.random.rand(len(real))).to(real).reshape(-1, *[1] * (real.ndim - 1))
    points = (real + t * (fake - real)).detach().requires_grad_(True)
    squares = _scores_slope(critic, points).square().sum(1)
    flat = squares == 0
    slopes = torch.where(flat, 0.0, torch.where(flat, 1.0, squares).sqrt())
    return (squares - 2 * slopes + 1).mean()


@control("gradient_penalty")
def mapped_over_the_items(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
    """``torch.func``: the gradient of one item's score, mapped over pairs and fractions."""

    def slope(one: Tensor, other: Tensor, t: Tensor) -> Tensor:
        point = one + t * (other - one)
        return torch.func.grad(lambda x: critic(x[None]).squeeze(0))(point).flatten()

    t = torch.rand(len(real), dtype=real.dtype, device=real.device)
    slopes = torch.func.vmap(slope)(real.detach(), fake.detach(), t)
    return (torch.linalg.vector_norm(slopes, dim=1) - 1).square().mean()


@control("r1_penalty")
def r1_item_by_item(discriminator: Any, real: Tensor) -> Tensor:
    """One item at a time, and the half on every item."""
    total = real.new_zeros(())
    for one in real:
        point = one.detach()[None].clone().requires_grad_(True)
        total = total + 0.5 * _scores_slope(discriminator, point).square().sum()
    return total / len(real)


@control("r1_penalty")
def r1_by_guarded_norms(discriminator: Any, real: Tensor) -> Tensor:
    """Norms with a guard of 1e-12 under the root, then squared: a detour, moved by 1e-12."""
    slopes = _scores_slope(discriminator, real.detach().requires_grad_(True))
    return ((slopes.square().sum(1) + 1e-12).sqrt() ** 2).mean() / 2


@control("r1_penalty")
def r1_through_the_callers_graph(discriminator: Any, real: Tensor) -> Tensor:
    """A clone that stays attached to the data's graph, inner product by einsum."""
    points = real.clone().requires_grad_(True)
    slopes = _scores_slope(discriminator, points)
    return torch.einsum("nd,nd->n", slopes, slopes).mean().mul(0.5)


# Spectral normalisation --------------------------------------------------------------------------


def _rows(layer: nn.Module, weight: Tensor) -> Tensor:
    swap = isinstance(layer, nn.ConvTranspose2d)
    return (weight.transpose(0, 1) if swap else weight).flatten(1)


@control("spectral_norm")
def exact_singular_values(layer: nn.Module) -> nn.Module:
    """No power iteration: the largest singular value by decomposition at every use."""

    class Exact(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return weight / torch.linalg.svdvals(_rows(layer, weight))[0]

        def right_inverse(self, weight: Tensor) -> Tensor:
            return weight

    nn.utils.parametrize.register_parametrization(layer, "weight", Exact())
    return layer


class _Wrapper(nn.Module):
    """A new module around the layer, with functional forwards and a power iteration of its own."""

    u: Tensor

    def __init__(self, layer: nn.Module, steps: int = 1) -> None:
        super().__init__()
        self.inner, self.steps = layer, steps
        matrix = _rows(layer, layer.weight.detach())  # type: ignore[arg-type, operator, union-attr]
        start = torch.randn(len(matrix), dtype=matrix.dtype, device=matrix.device)
        self.register_buffer("u", start / start.norm())

    @property
    def weight(self) -> Tensor:
        raw: Tensor = self.inner.weight  # type: ignore[assignment]
        matrix = _rows(self.inner, raw)
        v = (matrix.mT @ self.u).detach()
        v = v / v.norm()
        u = (matrix @ v).detach()
        return raw / (u / u.norm() @ matrix @ v)

    def forward(self, x: Tensor) -> Tensor:
        layer: Any = self.inner
        if self.training:
            with torch.no_grad():
                matrix, u = _rows(layer, layer.weight), self.u
                for _ in range(self.steps):
                    u = matrix @ (matrix.mT @ u)
                    u = u / u.norm()
                self.u = u
        if isinstance(layer, nn.Linear):
            return linear(x, self.weight, layer.bias)
        if isinstance(layer, nn.ConvTranspose2d):
            return conv_transpose2d(
                x,
                self.weight,
                layer.bias,
                layer.stride,
                layer.padding,
                layer.output_padding,
                layer.groups,
                layer.dilation,
            )
        return conv2d(
            x, self.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups
        )


@control("spectral_norm")
def a_wrapper_with_a_weight(layer: nn.Module) -> nn.Module:
    """Returns a new module that holds the layer; the effective weight is a property."""
    return _Wrapper(layer)


@control("spectral_norm")
def five_iterations_at_once(layer: nn.Module) -> nn.Module:
    """Several power iterations in every forward, none when the layer is wrapped."""
    return _Wrapper(layer, steps=5)


@control("spectral_norm")
def root_of_the_gram_matrix(layer: nn.Module) -> nn.Module:
    """The largest eigenvalue of the smaller Gram matrix, rooted."""

    class Gram(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            matrix = _rows(layer, weight)
            small = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
            return weight / torch.linalg.eigvalsh(small @ small.mT)[-1].sqrt()

        def right_inverse(self, weight: Tensor) -> Tensor:
            return weight

    nn.utils.parametrize.register_parametrization(layer, "weight", Gram())
    return layer


# Weight clipping ---------------------------------------------------------------------------------


@control("clip_weights")
def clips_through_data(module: nn.Module, bound: float) -> None:
    """A new tensor behind the old Parameter: the object that optimisers hold is the same."""
    for parameter in module.parameters():
        parameter.data = parameter.data.clamp(-bound, bound)


@control("clip_weights")
def clips_in_one_fused_call(module: nn.Module, bound: float) -> None:
    """All parameters at once by PyTorch's multi-tensor kernels."""
    parameters = [p.detach() for p in module.parameters()]
    if parameters:
        torch._foreach_clamp_min_(parameters, -bound)
        torch._foreach_clamp_max_(parameters, bound)


@control("clip_weights")
def clips_where_outside(module: nn.Module, bound: float) -> None:
    """Only entries that are outside are written, part by part of the module tree."""

    def visit(part: nn.Module) -> None:
        with torch.no_grad():
            for parameter in part.parameters(recurse=False):
                outside = parameter.abs() > bound
                parameter[outside] = bound * parameter[outside].sign()

    module.apply(visit)


@control("clip_weights")
def clips_in_numpy(module: nn.Module, bound: float) -> None:
    """NumPy writes into the parameters' memory."""
    for parameter in module.parameters():
        host = parameter.detach().cpu()
        clipped = torch.as_tensor(np.clip(host.numpy(), -bound, bound))
        with torch.no_grad():
            parameter.copy_(clipped)
