r"""Unusual but right restricted Boltzmann machines."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from spec_tests.contracts.energy import RBMConfig
from spec_tests.registry import control


class ByEnumeration(nn.Module):
    """Only an energy, as a linear layer of all pairs; everything else is a sum over states."""

    v_states: Tensor
    h_states: Tensor

    def __init__(self, config: RBMConfig) -> None:
        super().__init__()
        self.pairs = nn.Linear((config.visible + 1) * (config.hidden + 1), 1, bias=False)
        for name, width in (("v_states", config.visible), ("h_states", config.hidden)):
            states = torch.tensor(list(itertools.product([0.0, 1.0], repeat=width)))
            self.register_buffer(name, states)

    def energy(self, v: Tensor, h: Tensor) -> Tensor:
        v, h = (torch.cat([u, torch.ones_like(u[:, :1])], 1) for u in (v, h))
        found: Tensor = self.pairs((v[:, :, None] * h[:, None]).flatten(1))[:, 0]
        return found

    def table(self, v: Tensor, h: Tensor) -> Tensor:
        rows, columns = v.repeat_interleave(len(h), 0), h.repeat(len(v), 1)
        return -self.energy(rows, columns).reshape(len(v), len(h))

    def free_energy(self, v: Tensor) -> Tensor:
        return -self.table(v, self.h_states).logsumexp(1)

    def hidden_probability(self, v: Tensor) -> Tensor:
        return self.table(v, self.h_states).softmax(1) @ self.h_states

    def visible_probability(self, h: Tensor) -> Tensor:
        return self.table(self.v_states, h).softmax(0).T @ self.v_states


@control("rbm")
def machine_by_enumeration_with_an_offset(config: RBMConfig) -> Any:
    """Every sum over states is carried out, and the energy of the empty state is not zero."""
    return ByEnumeration(config)


class TwoLinears(nn.Module):
    """Biases and a shared weight in a linear layer; the free energy up to a constant."""

    def __init__(self, config: RBMConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.visible, config.hidden)
        self.visible_bias = nn.Parameter(torch.zeros(config.visible))

    def free_energy(self, v: Tensor) -> Tensor:
        inputs = self.up(v)
        hidden = torch.logaddexp(inputs, torch.zeros_like(inputs)).sum(-1)
        return 7.0 - functional.linear(v, self.visible_bias[None])[:, 0] - hidden

    def hidden_probability(self, v: Tensor) -> Tensor:
        return 0.5 * (1 + (0.5 * self.up(v)).tanh())

    def visible_probability(self, h: Tensor) -> Tensor:
        return torch.sigmoid(functional.linear(h, self.up.weight.T, self.visible_bias))


@control("rbm")
def machine_without_energy_and_free_energy_shifted(config: RBMConfig) -> Any:
    """No energy is offered and 7 is added to the free energy, which changes no probability."""
    return TwoLinears(config)


class Centred(nn.Module):
    """Units are measured from offsets, as in the centring trick; the layers are exchanged."""

    def __init__(self, config: RBMConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(config.hidden, config.visible))
        self.b = nn.Parameter(torch.zeros(config.visible))
        self.c = nn.Parameter(torch.zeros(config.hidden))
        self.register_buffer("mean", torch.full((config.visible,), 0.3))

    def energy(self, v: Tensor, h: Tensor) -> Tensor:
        from_mean = v - self.mean
        across = torch.einsum("nv,hv,nh->n", from_mean, self.weight, h - 0.5)
        return -(from_mean * self.b).sum(-1) - ((h - 0.5) * self.c).sum(-1) - across

    def free_energy(self, v: Tensor) -> Tensor:
        from_mean = v - self.mean
        inputs = self.c + from_mean @ self.weight.T
        log_two_cosh = 0.5 * inputs.abs() + (-inputs.abs()).exp().log1p()
        return -(from_mean * self.b).sum(-1) - log_two_cosh.sum(-1)

    def hidden_probability(self, v: Tensor) -> Tensor:
        return torch.sigmoid(self.c + (v - self.mean) @ self.weight.T)

    def visible_probability(self, h: Tensor) -> Tensor:
        return torch.sigmoid(self.b + (h - 0.5) @ self.weight)


@control("rbm")
def machine_with_centred_units(config: RBMConfig) -> Any:
    """The energy is written in v - 0.3 and h - 1/2: the same machine with other biases."""
    return Centred(config)


class Fixed:
    """No module: fixed numbers in the dtype of what is asked."""

    def __init__(self, config: RBMConfig) -> None:
        count = config.visible * config.hidden
        self.shape = (config.visible, config.hidden)
        self.entries = [math.sin(1.0 + 2.0 * k) for k in range(count)]

    def weight(self, like: Tensor) -> Tensor:
        return torch.tensor(self.entries, dtype=like.dtype, device=like.device).reshape(self.shape)

    def energy(self, v: Tensor, h: Tensor) -> Tensor:
        return -torch.einsum("nv,vh,nh->n", v, self.weight(v), h)

    def free_energy(self, v: Tensor) -> Tensor:
        return -(v @ self.weight(v)).exp().log1p().sum(-1)

    def hidden_probability(self, v: Tensor) -> Tensor:
        return torch.sigmoid(v @ self.weight(v))

    def visible_probability(self, h: Tensor) -> Tensor:
        return torch.sigmoid(h @ self.weight(h).T)


@control("rbm")
def machine_of_fixed_numbers(config: RBMConfig) -> Any:
    """A plain object without parameters or biases."""
    return Fixed(config)
