"""Models whose density is given by an energy, up to a constant that nobody can compute."""

from reference.energy.rbm import RBM

__all__ = ["RBM"]
