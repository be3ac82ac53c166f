r"""Classic mistakes of sparse coding: in the objective's scale, the shrinkage and the descent."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from spec_tests.registry import mutant

PREFIX = "sparse_code"


def soft(v: Tensor, threshold: float | Tensor) -> Tensor:
    return v.sign() * (v.abs() - threshold).relu()


def descend(
    x: Tensor,
    atoms: Tensor,
    penalty: float,
    shrink: Callable[[Tensor, float], Tensor] = soft,
    sweeps: int = 400,
) -> Tensor:
    """Right coordinate descent, of which a mutant changes a step; differentiable as it goes."""
    target, gram = x @ atoms.mT, atoms @ atoms.mT
    columns = list(torch.zeros_like(target).unbind(1))
    for _ in range(sweeps):
        before = torch.stack(columns, 1)
        for k in range(len(atoms)):
            others = sum(columns[j] * gram[j, k] for j in range(len(atoms)) if j != k)
            columns[k] = shrink(target[:, k] - others, penalty) / gram[k, k]
        if (torch.stack(columns, 1) - before).abs().max() < 1e-12:
            break
    return torch.stack(columns, 1)


@mutant(PREFIX, rejected_by=[f"{PREFIX}.kkt", f"{PREFIX}.soft_threshold"])
def squared_error_not_halved(x: Tensor, dictionary: Tensor, penalty: float) -> Tensor:
    """The minimiser of ||x - zA||^2 + penalty ||z||_1: half the shrinkage that was asked for."""
    return descend(x, dictionary, penalty / 2)  # wrong: penalty


@mutant(PREFIX, rejected_by=[f"{PREFIX}.kkt", f"{PREFIX}.zero_above_lambda_max"])
def error_averaged_over_the_dimensions(x: Tensor, dictionary: Tensor, penalty: float) -> Tensor:
    """A squared error divided by D, the convention of a library's Lasso: D times the shrinkage."""
    return descend(x, dictionary, penalty * x.shape[1])  # wrong: penalty


@mutant(PREFIX, rejected_by=[f"{PREFIX}.item_by_item", f"{PREFIX}.kkt"])
def error_averaged_over_the_batch(x: Tensor, dictionary: Tensor, penalty: float) -> Tensor:
    """A mean over the batch in front of the error and none in front of the penalty."""
    return descend(x, dictionary, penalty * len(x))  # wrong: penalty


@mutant(PREFIX, rejected_by=[f"{PREFIX}.kkt", f"{PREFIX}.soft_threshold"])
def hard_threshold(x: Tensor, dictionary: Tensor, penalty: float) -> Tensor:
    """What is strong enough is kept whole: the descent of another, non-convex penalty."""
    # wrong: soft, v - t
    return descend(x, dictionary, penalty, lambda v, t: v * (v.abs() > t), sweeps=40)


@mutant(PREFIX, rejected_by=[f"{PREFIX}.kkt", f"{PREFIX}.soft_threshold"])
def squares_as_the_penalty(x: Tensor, dictionary: Tensor, penalty: float) -> Tensor:
    """Ridge regression: everything shrinks in proportion and nothing becomes zero."""
    gram = dictionary @ dictionary.mT
    # wrong: absolute values
    system = gram + penalty * torch.eye(len(gram), dtype=x.dtype, device=x.device)
    return torch.linalg.solve(system, (x @ dictionary.mT).mT).mT


@mutant(PREFIX, rejected_by=[f"{PREFIX}.kkt", f"{PREFIX}.zero_above_lambda_max"])
def negative_shares_dropped(x: Tensor, dictionary: Tensor, penalty: float) -> Tensor:
    """relu(v - t) for the threshold: codes that cannot be negative, as if atoms had no opposite."""
    return descend(x, dictionary, penalty, lambda v, t: (v - t).relu())  # wrong: both signs


@mutant(PREFIX, rejected_by=[f"{PREFIX}.kkt"])
def one_shrinkage_step(x: Tensor, dictionary: Tensor, penalty: float) -> Tensor:
    """The soft threshold of the projections, right only for atoms of length one at right angles."""
    return soft(x @ dictionary.mT, penalty)  # wrong: repeat to the minimum


@mutant(PREFIX, rejected_by=[f"{PREFIX}.kkt"])
def stopped_after_three_sweeps(x: Tensor, dictionary: Tensor, penalty: float) -> Tensor:
    """A descent that stops long before it has arrived, where atoms are correlated."""
    return descend(x, dictionary, penalty, sweeps=3)  # wrong: until it converges


@mutant(PREFIX, rejected_by=[f"{PREFIX}.kkt", f"{PREFIX}.soft_threshold"])
def atoms_scaled_to_length_one(x: Tensor, dictionary: Tensor, penalty: float) -> Tensor:
    """The dictionary normalised first, and the code not scaled back."""
    # wrong: dictionary as it is
    return descend(x, dictionary / dictionary.norm(dim=1, keepdim=True), penalty)


@mutant(PREFIX, rejected_by=[f"{PREFIX}.kkt"])
def refitted_without_the_penalty(x: Tensor, dictionary: Tensor, penalty: float) -> Tensor:
    """Least squares on the atoms that were selected: the shrinkage is taken back."""
    used = (descend(x, dictionary, penalty) != 0).to(x)
    gram = dictionary @ dictionary.mT
    system = gram * used[:, :, None] * used[:, None, :] + torch.diag_embed(1 - used)
    return torch.linalg.solve(system, used * (x @ dictionary.mT))  # wrong: keep the shrinkage


@mutant(PREFIX, rejected_by=[f"{PREFIX}.kkt"])
def one_atom_after_the_other(x: Tensor, dictionary: Tensor, penalty: float) -> Tensor:
    """Matching pursuit: each atom takes what it can and is never asked again."""
    return descend(x, dictionary, penalty, sweeps=1)  # wrong: until it converges


@mutant(PREFIX, rejected_by=[f"{PREFIX}.penalty_path"])
def penalty_upside_down(x: Tensor, dictionary: Tensor, penalty: float) -> Tensor:
    """The reciprocal as the strength, as in libraries whose parameter is C: a larger one shrinks
    less."""
    return descend(x, dictionary, 1 / penalty)  # wrong: penalty


@mutant(PREFIX, rejected_by=[f"{PREFIX}.zero_above_lambda_max", f"{PREFIX}.item_by_item"])
def penalty_relative_to_the_largest(x: Tensor, dictionary: Tensor, penalty: float) -> Tensor:
    """The penalty taken as a share of the one from which on the batch's codes vanish."""
    largest = float((x @ dictionary.mT).detach().abs().max())
    return descend(x, dictionary, penalty * largest)  # wrong: penalty


@mutant(PREFIX, rejected_by=[f"{PREFIX}.gradient_is_derivative"])
def code_without_a_gradient(x: Tensor, dictionary: Tensor, penalty: float) -> Tensor:
    """The minimisation under ``no_grad``: nothing that the code is for can train the atoms."""
    with torch.no_grad():  # wrong: with gradient
        return descend(x, dictionary, penalty)


@mutant(PREFIX, rejected_by=[f"{PREFIX}.same_value_under_autograd"])
def few_sweeps_where_a_gradient_is_wanted(x: Tensor, dictionary: Tensor, penalty: float) -> Tensor:
    """Unrolled for two sweeps in training, solved in evaluation: two codes for one point."""
    # wrong: always solved
    return descend(x, dictionary, penalty, sweeps=2 if x.requires_grad else 400)
