r"""scikit-learn's implementations under the contracts: nobody here wrote what is judged.

Only public members are called. It needs scikit-learn, which comes with the extra ``genspec[data]``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from spec_tests.registry import Unsupported, subject
from spec_tests.train.extras import need

need("sklearn")

from sklearn import decomposition, linear_model, neural_network  # noqa: E402

# Linear autoencoders -------------------------------------------------------------------------------


def _principal(estimator: Any, x: Any, code_dim: int) -> Any:
    """A fitted estimator's two maps; it has no more components than there are points."""
    if code_dim > min(x.shape):
        raise Unsupported("no more components than there are points")
    fitted = estimator.fit(x)
    return fitted.transform, fitted.inverse_transform


@subject("linear_autoencoder", name="sklearn.decomposition.PCA", arrays="numpy")
def pca(x: Any, code_dim: int) -> Any:
    return _principal(decomposition.PCA(code_dim), x, code_dim)


@subject("linear_autoencoder", name="sklearn.decomposition.PCA.covariance_eigh", arrays="numpy")
def pca_by_covariance(x: Any, code_dim: int) -> Any:
    return _principal(decomposition.PCA(code_dim, svd_solver="covariance_eigh"), x, code_dim)


@subject("linear_autoencoder", name="sklearn.decomposition.PCA.arpack", arrays="numpy")
def pca_by_arpack(x: Any, code_dim: int) -> Any:
    """Iterates to a few singular vectors, from a start that it draws."""
    if code_dim >= min(x.shape):
        raise Unsupported("fewer components than points and dimensions")
    solver = decomposition.PCA(code_dim, svd_solver="arpack", random_state=0)
    return _principal(solver, x, code_dim)


@subject("linear_autoencoder", name="sklearn.decomposition.PCA.randomized", arrays="numpy")
def pca_by_random_projections(x: Any, code_dim: int) -> Any:
    solver = decomposition.PCA(code_dim, svd_solver="randomized", random_state=0)
    return _principal(solver, x, code_dim)


@subject("linear_autoencoder", name="sklearn.decomposition.IncrementalPCA", arrays="numpy")
def pca_in_one_batch(x: Any, code_dim: int) -> Any:
    """With all points in its only batch; over several it is an approximation."""
    return _principal(decomposition.IncrementalPCA(code_dim, batch_size=len(x)), x, code_dim)


# Sparse coding -------------------------------------------------------------------------------------
#
# Lasso and LassoLars divide the squared error by the number of its terms, here D, so that their alpha
# is penalty / D; sparse_encode and SparseCoder do that division themselves, and take the penalty.


def _by_regression(model: Any, x: Any, dictionary: Any) -> Any:
    """One regression for each row of x, the atoms being the features."""
    return np.stack([model.fit(dictionary.T, point).coef_.copy() for point in x])


@subject("sparse_code", name="sklearn.linear_model.Lasso", arrays="numpy")
def code_by_lasso(x: Any, dictionary: Any, penalty: float) -> Any:
    """It stops at a relative duality gap of ``tol``, by default one that is seen in the codes."""
    if x.dtype == np.float32:
        raise Unsupported("a duality gap small enough is not resolved in single precision")
    alpha = penalty / x.shape[1]
    model = linear_model.Lasso(alpha=alpha, fit_intercept=False, tol=1e-10, max_iter=100_000)
    return _by_regression(model, x, dictionary)


@subject("sparse_code", name="sklearn.linear_model.LassoLars", arrays="numpy")
def code_by_lars(x: Any, dictionary: Any, penalty: float) -> Any:
    model = linear_model.LassoLars(alpha=penalty / x.shape[1], fit_intercept=False)
    return _by_regression(model, x, dictionary)


@subject("sparse_code", name="sklearn.decomposition.sparse_encode.lasso_cd", arrays="numpy")
def code_by_sparse_encode(x: Any, dictionary: Any, penalty: float) -> Any:
    """Its 1000 rounds by default are too few for atoms that are alike."""
    return decomposition.sparse_encode(
        x, dictionary, algorithm="lasso_cd", alpha=penalty, max_iter=100_000
    )


@subject("sparse_code", name="sklearn.decomposition.SparseCoder.lasso_lars", arrays="numpy")
def code_by_sparse_coder(x: Any, dictionary: Any, penalty: float) -> Any:
    coder = decomposition.SparseCoder(
        dictionary, transform_algorithm="lasso_lars", transform_alpha=penalty
    )
    return coder.transform(x)


# Restricted Boltzmann machines -----------------------------------------------------------------------


class _Dictated(np.random.RandomState):
    """A source of random numbers that are given beforehand, so that a draw becomes a question."""

    def __init__(self, *answers: Any) -> None:
        super().__init__(0)
        self.answers = list(answers)

    def randint(self, *arguments: Any, **keywords: Any) -> Any:
        return self.answers.pop(0)

    def uniform(self, *arguments: Any, **keywords: Any) -> Any:
        return self.answers.pop(0)


class _BernoulliRBM(nn.Module):
    """A machine with these parameters in place of fitted ones. It has no public energy."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(config.hidden, config.visible))
        self.visible_bias = nn.Parameter(torch.zeros(config.visible))
        self.hidden_bias = nn.Parameter(torch.zeros(config.hidden))

    def machine(self, *answers: Any) -> Any:
        machine = neural_network.BernoulliRBM(len(self.weight), random_state=_Dictated(*answers))
        machine.components_ = self.weight.detach().cpu().numpy()
        machine.intercept_visible_ = self.visible_bias.detach().cpu().numpy()
        machine.intercept_hidden_ = self.hidden_bias.detach().cpu().numpy()
        return machine

    def free_energy(self, v: Any) -> Any:
        """``score_samples`` is V log σ(F(v') - F(v)), v' being v with one unit flipped; the score of
        v less that of v' is V (F(v') - F(v)), and one unit after another leads from v to zeros."""
        found, state = np.zeros(len(v), v.dtype), v.copy()
        for unit in range(v.shape[1]):
            flipped, which = state.copy(), np.full(len(v), unit)
            flipped[:, unit] = 1 - flipped[:, unit]
            scores = [self.machine(which).score_samples(one) for one in (state, flipped)]
            rise = (scores[0] - scores[1]) / v.shape[1]
            on = state[:, unit] == 1
            found[on] -= rise[on]
            state[on] = flipped[on]
        return found

    def hidden_probability(self, v: Any) -> Any:
        return self.machine().transform(v)

    def visible_probability(self, h: Any) -> Any:
        """Where the draws of ``gibbs`` turn, as the uniform numbers behind them grow: by bisection.

        The hidden units are told to be h through the uniform numbers of theirs."""
        visible = np.zeros((len(h), len(self.visible_bias)))
        low, high = np.zeros_like(visible), np.ones_like(visible)
        for _ in range(60):
            middle = (low + high) / 2
            drawn = self.machine(1 - 2 * h, middle).gibbs(visible.astype(h.dtype))
            low, high = np.where(drawn, middle, low), np.where(drawn, high, middle)
        return high.astype(h.dtype)


@subject("rbm", name="sklearn.neural_network.BernoulliRBM", arrays="numpy")
def rbm(config: Any) -> Any:
    return _BernoulliRBM(config)
