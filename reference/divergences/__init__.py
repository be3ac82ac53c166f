"""How far one distribution is from another, for distributions on finitely many points.

The divergences of information theory (`kl_divergence`, `js_divergence`) compare the probabilities
of the same outcome and know no distance between outcomes; optimal transport (`wasserstein1`, its
dual, and its closed form on the line) is about that distance and nothing else.
"""

from reference.divergences.js import js_divergence
from reference.divergences.kl import kl_divergence
from reference.divergences.wasserstein import transport_plan, wasserstein1
from reference.divergences.wasserstein_dual import kantorovich_potentials, wasserstein1_dual
from reference.divergences.wasserstein_line import wasserstein1_on_the_line

__all__ = [
    "js_divergence",
    "kantorovich_potentials",
    "kl_divergence",
    "transport_plan",
    "wasserstein1",
    "wasserstein1_dual",
    "wasserstein1_on_the_line",
]
