"""Models that make the data of Gaussian noise by a bijection: the density has a closed form."""

from reference.flows.autoregressive import (
    IAF,
    MAF,
    AutoregressiveLayer,
    InverseAutoregressiveLayer,
)
from reference.flows.composition import Composition, change_of_variables
from reference.flows.continuous import ContinuousFlow, VectorField, runge_kutta
from reference.flows.dequantization import dequantized_log_prob
from reference.flows.divergence import exact_divergence, hutchinson_divergence
from reference.flows.glow import ActNorm, Glow
from reference.flows.masked_conditioner import MaskedConditioner
from reference.flows.multiscale import ImageRealNVP, Squeezed
from reference.flows.nice import NICE, AdditiveCoupling, DiagonalScale
from reference.flows.one_by_one import InvertibleConv1x1, LUConv1x1, random_rotation
from reference.flows.planar import PlanarFlow, PlanarLayer, planar_push, planar_step
from reference.flows.radial import RadialFlow, RadialLayer, radial_step
from reference.flows.realnvp import AffineCoupling, RealNVP
from reference.flows.squeeze import channel_mask, checkerboard_mask, squeeze, unsqueeze

__all__ = [
    "IAF",
    "MAF",
    "NICE",
    "ActNorm",
    "AdditiveCoupling",
    "AffineCoupling",
    "AutoregressiveLayer",
    "Composition",
    "ContinuousFlow",
    "DiagonalScale",
    "Glow",
    "ImageRealNVP",
    "InverseAutoregressiveLayer",
    "InvertibleConv1x1",
    "LUConv1x1",
    "MaskedConditioner",
    "PlanarFlow",
    "PlanarLayer",
    "RadialFlow",
    "RadialLayer",
    "RealNVP",
    "Squeezed",
    "VectorField",
    "change_of_variables",
    "channel_mask",
    "checkerboard_mask",
    "dequantized_log_prob",
    "exact_divergence",
    "hutchinson_divergence",
    "planar_push",
    "planar_step",
    "radial_step",
    "random_rotation",
    "runge_kutta",
    "squeeze",
    "unsqueeze",
]
