r"""Unusual and right ways to find a sparse code."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spec_tests.registry import control


@control("sparse_code")
def by_trying_all_signs(x: Tensor, dictionary: Tensor, penalty: float) -> Tensor:
    """Every pattern of signs gives a linear system; the solution of least objective among those that
    agree with their own signs is the minimiser. For few atoms."""
    atoms, dims = dictionary.shape
    patterns = torch.tensor(
        [p for p in itertools.product((0.0, 1.0, -1.0), repeat=atoms) if sum(map(abs, p)) <= dims],
        dtype=x.dtype,
        device=x.device,
    )
    used, gram = patterns.abs(), dictionary @ dictionary.mT
    systems = gram * used[:, :, None] * used[:, None, :] + torch.diag_embed(1 - used)
    right = used[:, None] * (x @ dictionary.mT - penalty * patterns[:, None])  # (P, N, K)
    codes = torch.linalg.solve(systems, right.mT).mT
    lost = 0.5 * (x - codes @ dictionary).square().sum(-1) + penalty * codes.abs().sum(-1)
    best = lost.detach().argmin(0)
    return codes[best, torch.arange(len(x), device=x.device)]


@control("sparse_code")
def row_by_row_with_an_active_set(x: Tensor, dictionary: Tensor, penalty: float) -> Tensor:
    """Accelerated proximal gradient finds the atoms in use; each row then solves for them alone."""
    gram = (dictionary @ dictionary.mT).detach()
    step = 1 / torch.linalg.eigvalsh(gram)[-1]
    target = (x @ dictionary.mT).detach()
    z = ahead = torch.zeros_like(target)
    for count in range(3000):
        v = ahead + step * (target - ahead @ gram)
        fresh = v.sign() * (v.abs() - step * penalty).clamp_min(0)
        restart = bool(((ahead - fresh) * (fresh - z)).sum() > 0)
        ahead = fresh if restart else fresh + count / (count + 3) * (fresh - z)
        moved, z = (fresh - z).abs().max(), fresh
        if count > 20 and moved <= 1e-10:
            break
    rows = []
    for item, code in zip(x, z, strict=True):
        active = code.nonzero()[:, 0]
        own = dictionary[active]
        shares = torch.linalg.solve(own @ own.mT, own @ item - penalty * code[active].sign())
        rows.append(torch.zeros_like(code).index_put((active,), shares))
    return torch.stack(rows)


@control("sparse_code", arrays="numpy")
def within_the_accuracy_of_a_solver(x: Any, dictionary: Any, penalty: float) -> Any:
    """Coordinate descent on NumPy arrays in double precision, which stops at an accuracy of 1e-9."""
    atoms, points = dictionary.astype(np.float64), x.astype(np.float64)
    z, lengths = np.zeros((len(points), len(atoms))), (atoms**2).sum(1)
    left = points.copy()
    for _ in range(20_000):
        before = z.copy()
        for k, atom in enumerate(atoms):
            along = left @ atom + z[:, k] * lengths[k]
            fresh = np.sign(along) * np.maximum(np.abs(along) - penalty, 0) / lengths[k]
            left -= np.outer(fresh - z[:, k], atom)
            z[:, k] = fresh
        if np.abs(z - before).max() < 1e-9:
            break
    return z.astype(x.dtype)
