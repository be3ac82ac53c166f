r"""Normalising flows: what a density costs beyond its networks, and which way is the quick one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from spec_tests.bench.timing import ratio, seconds

__all__ = ["rows"]


def _networks(model: nn.Module) -> list[nn.Module]:
    """The networks that say how far each feature is moved."""
    from reference.flows import AffineCoupling, MaskedConditioner

    inside = list(model.modules())
    heads = [m for m in inside if isinstance(m, MaskedConditioner)]
    return heads + [m.network for m in inside if isinstance(m, AffineCoupling)]


def _calls_of_networks(
    model: nn.Module, run: Callable[[], object]
) -> list[tuple[nn.Module, Tensor]]:
    """The networks that ``run`` calls, one after another, each with what it was given."""
    calls: list[tuple[nn.Module, Tensor]] = []
    hooks = [
        network.register_forward_pre_hook(lambda m, given: calls.append((m, given[0])))
        for network in _networks(model)
    ]
    run()
    for hook in hooks:
        hook.remove()
    return calls


@torch.no_grad()
def _over_networks(model: nn.Module, x: Tensor) -> float:
    """A density's time over that of the same calls of its networks."""
    calls = _calls_of_networks(model, lambda: model.log_prob(x))

    def again() -> None:
        for network, given in calls:
            network(given)

    return ratio(lambda: model.log_prob(x), again)


def _densities() -> list[tuple[str, str]]:
    """Narrow networks, and some as wide as in the papers: what comes on top does not grow."""
    from reference.flows import MAF, Glow, RealNVP

    points, images = torch.randn(512, 64), torch.randn(8, 3, 32, 32)
    flows: dict[str, tuple[Callable[[int], nn.Module], Tensor]] = {
        "RealNVP, D = 64": (lambda width: RealNVP(64, 8, width), points),
        "MAF, D = 64": (lambda width: MAF(64, 5, width), points),
        "Glow, 3x32x32": (lambda width: Glow((3, 32, 32), 3, 4, width).eval(), images),
    }
    return [
        (
            f"{name}: log_prob / networks of 128, 512",
            ", ".join(f"{_over_networks(build(width), x):.2f}" for width in (128, 512)),
        )
        for name, (build, x) in flows.items()
    ]


@torch.no_grad()
def _one_way_and_the_other() -> list[tuple[str, str]]:
    """Passes through the networks of one layer, and the time of D passes over that of one."""
    from reference.flows import IAF, MAF

    dims, x = 64, torch.randn(128, 64)
    maf, iaf = MAF(dims, 1, 256), IAF(dims, 1, 256)
    ways: dict[str, tuple[nn.Module, Callable[[], object], Callable[[], object]]] = {
        "MAF: sampling / density": (maf, lambda: maf.inverse(x), lambda: maf(x)),
        "IAF: density / sampling": (iaf, lambda: iaf(x), lambda: iaf.inverse(x)),
    }
    found = []
    for name, (model, slow, quick) in ways.items():
        passes = [len(_calls_of_networks(model, way)) for way in (slow, quick)]
        found.append((f"{name}, passes a layer, D = {dims}", f"{passes[0]} / {passes[1]}"))
        found.append(("  their time", f"{seconds(slow, 10) / seconds(quick, 100):.0f}"))
    return found


def _log_determinant() -> float:
    """The determinant by LU of the Jacobian by autograd, over the formula's."""
    from reference.flows import RealNVP

    model, x = RealNVP(64, 8, 256), torch.randn(8, 64)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda point: model(point[None])[0][0]))
    return ratio(lambda: torch.linalg.slogdet(jacobian(x)), lambda: model(x), rounds=10)


def rows() -> list[tuple[str, str]]:
    """What is compared, and the ratio."""
    return [
        *_densities(),
        *_one_way_and_the_other(),
        ("log-determinant by Jacobian / formula, D = 64", f"{_log_determinant():.0f}"),
    ]
