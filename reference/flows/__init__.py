"""Models that make the data of Gaussian noise by a bijection: the density has a closed form."""

from reference.flows.planar import PlanarFlow
from reference.flows.realnvp import AffineCoupling, RealNVP

__all__ = ["AffineCoupling", "PlanarFlow", "RealNVP"]
