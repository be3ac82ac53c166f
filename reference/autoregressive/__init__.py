"""Autoregressive models: the chain rule of probability, one softmax for every dimension.

The order is the same throughout: pixel by pixel in raster order, and within a pixel channel by
channel. A model offers `logits`, from which likelihoods (one pass) and samples (one pass for each
dimension) follow.
"""

from reference.autoregressive.attention import CausalSelfAttention, causal_attention
from reference.autoregressive.chain_rule import (
    chain_rule_log_prob,
    class_labels,
    conditional_tables,
    prefix_index,
    tabular_logits,
)
from reference.autoregressive.fvbn import FullyVisibleBeliefNetwork, fvbn_logits
from reference.autoregressive.logistic_mixture import discretized_logistic_mixture
from reference.autoregressive.masks import MaskedConv2d, raster_mask
from reference.autoregressive.pixelcnn import PixelCNN, ResidualBlock
from reference.autoregressive.receptive_field import pixelcnn_receptive_field
from reference.autoregressive.sampling import complete, raster_order, sample
from reference.autoregressive.tabular import TabularChainRule

__all__ = [
    "CausalSelfAttention",
    "FullyVisibleBeliefNetwork",
    "MaskedConv2d",
    "PixelCNN",
    "ResidualBlock",
    "TabularChainRule",
    "causal_attention",
    "chain_rule_log_prob",
    "class_labels",
    "complete",
    "conditional_tables",
    "discretized_logistic_mixture",
    "fvbn_logits",
    "pixelcnn_receptive_field",
    "prefix_index",
    "raster_mask",
    "raster_order",
    "sample",
    "tabular_logits",
]
