r"""Unusual but right diffusion schedules."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from spec_tests.contracts.diffusion import DiffusionScheduleConfig
from spec_tests.registry import control

Config = DiffusionScheduleConfig


@control("diffusion_schedule")
def tables_in_single_precision(config: Config) -> Any:
    """Every coefficient tabulated in advance and stored in float32, as most public code has it."""

    class Tables(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            beta = torch.linspace(1e-4, 0.02, config.steps, dtype=torch.float64)
            left = (1 - beta).cumprod(0)
            before = torch.cat([torch.ones(1, dtype=left.dtype), left[:-1]])
            tables = {
                "alpha_bar": left,
                "root": left.sqrt(),
                "rest": 1 - left,
                "of_data": before.sqrt() * beta / (1 - left),
                "of_noisy": (1 - beta).sqrt() * (1 - before) / (1 - left),
                "variance": beta * (1 - before) / (1 - left),
            }
            for name, table in tables.items():
                self.register_buffer(name, table.float())

        def take(self, name: str, t: Tensor, x: Tensor) -> Tensor:
            found: Tensor = getattr(self, name).gather(0, t)
            return found.reshape(len(t), *(1,) * (x.dim() - 1)).to(x.dtype)

        def q_mean_variance(self, x0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
            return self.take("root", t, x0) * x0, self.take("rest", t, x0)

        def posterior_mean_variance(
            self, x0: Tensor, xt: Tensor, t: Tensor
        ) -> tuple[Tensor, Tensor]:
            mean = self.take("of_data", t, x0) * x0 + self.take("of_noisy", t, x0) * xt
            return mean, self.take("variance", t, x0)

    return Tables()


@control("diffusion_schedule")
def variances_one_number_for_each_item(config: Config) -> Any:
    """A plain object of signal-to-noise ratios; variances come as (N,), the schedule as a method."""

    class Ratios:
        def __init__(self) -> None:
            self.log_snr = torch.linspace(3.0, -3.0, config.steps, dtype=torch.float64)

        def alpha_bar(self) -> Tensor:
            return self.log_snr.sigmoid()

        def q_mean_variance(self, x0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
            log_snr = self.log_snr.to(x0)[t]
            scale = log_snr.sigmoid().sqrt()
            return torch.einsum("n,n...->n...", scale, x0), (-log_snr).sigmoid()

        def posterior_mean_variance(
            self, x0: Tensor, xt: Tensor, t: Tensor
        ) -> tuple[Tensor, Tensor]:
            means, variances = [], []
            for one, noisy, step in zip(x0, xt, t.tolist(), strict=True):
                mean, variance = self.back(one, noisy, step)
                means.append(mean)
                variances.append(variance)
            return torch.stack(means), torch.tensor(variances, dtype=x0.dtype, device=x0.device)

        def back(self, x0: Tensor, xt: Tensor, t: int) -> tuple[Tensor, float]:
            """Precisions of two messages, as physicists write it."""
            if t == 0:
                return x0 + 0 * xt, 0.0
            share = self.alpha_bar().tolist()
            alpha = share[t] / share[t - 1]
            first, second = 1 / (1 - share[t - 1]), alpha / (1 - alpha)
            mean = first * math.sqrt(share[t - 1]) * x0 + math.sqrt(alpha) / (1 - alpha) * xt
            return mean / (first + second), 1 / (first + second)

    return Ratios()


@control("diffusion_schedule")
def down_to_pure_noise(config: Config) -> Any:
    """The share reaches exactly zero at the last step, which then says nothing of the data."""

    class Vanishing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer(
                "alpha_bar", torch.linspace(1, 0, config.steps + 1, dtype=torch.float64)[1:]
            )

        def q_mean_variance(self, x0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
            left = self.alpha_bar[t].to(x0).view(-1, *(1,) * (x0.dim() - 1))
            return left.sqrt() * x0, 1 - left

        def posterior_mean_variance(
            self, x0: Tensor, xt: Tensor, t: Tensor
        ) -> tuple[Tensor, Tensor]:
            padded = torch.cat([torch.ones_like(self.alpha_bar[:1]), self.alpha_bar]).to(x0)
            shape = (-1, *(1,) * (x0.dim() - 1))
            before, now = padded[t].view(shape), padded[t + 1].view(shape)
            alpha = now / before
            mean = before.sqrt() * x0
            gain = alpha.sqrt() * (1 - before) / (1 - now)  # a Kalman filter's correction
            return mean + gain * (xt - alpha.sqrt() * mean), (1 - gain * alpha.sqrt()) * (
                1 - before
            )

    return Vanishing()
