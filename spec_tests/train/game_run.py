r"""A run of a game: its curves, and figures of what is drawn beside those of real images."""

from __future__ import annotations

from typing import Any

import torch

from spec_tests.train.curves import Panel, svg
from spec_tests.train.fidelity import Figure
from spec_tests.train.game import Match
from spec_tests.train.pictures import png
from spec_tests.train.run import Run

__all__ = ["GameRun", "curves"]


class GameRun(Run):
    """A run with two players."""

    training: Match

    def each(self, loss: float) -> float:
        """The critic's loss, as it is."""
        return loss

    def measured(self) -> tuple[dict[str, Any], Any, str]:
        """Each figure of drawn images, and the same one of real images."""
        figures = self.training.figures(self.data)
        held_out = {name: {"drawn": drawn, "real": real} for name, drawn, real, _ in figures}
        result = {"score": figures[0].drawn, "figures": [list(figure) for figure in figures]}
        return result, held_out, _table(figures)

    def drawn(self) -> dict[str, bytes]:
        """The picture and the curves."""
        found = {"curves.svg": curves(self.training)}
        if self.columns:
            rows = self.training.rows(self.data, self.columns)
            found = {"samples.png": png(rows, self.data.levels), **found}
        return found


def _table(figures: list[Figure]) -> str:
    lines = [f"{'held out':<38}{'drawn':>8}{'real':>8}"]
    for name, drawn, real, digits in figures:
        lines.append(f"{name:>36}  {drawn:>8.{digits}f}{real:>8.{digits}f}")
    return "\n".join(lines)


def curves(match: Match) -> bytes:
    """Losses, and norms of the gradients before clipping, of both sides."""
    values = torch.tensor(match.curves, dtype=torch.float64).view(-1, 4).unbind(1)
    losses, norms = (list(zip(match.SIDES, values[i::2], strict=True)) for i in (0, 1))
    return svg([Panel("loss", losses), Panel("norm of the gradient", norms, logarithmic=True)])
