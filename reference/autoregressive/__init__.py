"""Autoregressive models: the chain rule of probability, one softmax for every dimension.

The order is pixel by pixel in raster order, and within a pixel channel by channel, unless a model
has an `order` of its own. A model offers `logits`, from which likelihoods (one pass) and samples
(one pass for each dimension) follow.
"""

from reference.autoregressive.attention import CausalSelfAttention, causal_attention
from reference.autoregressive.baselines import (
    bits_per_dimension,
    dequantized_gaussian_bound,
    dequantized_gaussian_fit,
    gaussian_conditional,
)
from reference.autoregressive.cached_diagonal_bilstm import DiagonalBiLSTMCache
from reference.autoregressive.cached_gated_pixelcnn import GatedPixelCNNCache
from reference.autoregressive.cached_pixelcnn import PixelCNNCache
from reference.autoregressive.cached_row_lstm import RowLSTMCache
from reference.autoregressive.cached_sampling import cached_complete, cached_sample
from reference.autoregressive.cached_transformer import (
    transformer_complete,
    transformer_sample,
    transformer_step,
)
from reference.autoregressive.chain_rule import (
    chain_rule_log_prob,
    class_labels,
    conditional_tables,
    prefix_index,
    tabular_logits,
)
from reference.autoregressive.conditional import ConditionalPixelCNN
from reference.autoregressive.conditions import GateConditions, SpatialEncoder
from reference.autoregressive.conv_lstm import ConvLSTMCell, lstm_update
from reference.autoregressive.coupled_channels import (
    coupled_means,
    coupled_receptive_field,
    split_mixture,
)
from reference.autoregressive.cross_attention import CrossAttention, full_attention
from reference.autoregressive.deep_gmm import (
    DeepGMM,
    deep_gmm_components,
    deep_gmm_log_prob,
    deep_gmm_push,
)
from reference.autoregressive.diagonal_bilstm import (
    DiagonalBiLSTM,
    DiagonalBiLSTMLayer,
    diagonal_scan,
)
from reference.autoregressive.discretized_logistic import discretized_logistic
from reference.autoregressive.fvbn import FullyVisibleBeliefNetwork, fvbn_logits
from reference.autoregressive.gated_layer import GatedLayer, RowConv2d, gated_activation
from reference.autoregressive.gated_pixelcnn import GatedPixelCNN
from reference.autoregressive.gated_receptive_field import gated_pixelcnn_receptive_field
from reference.autoregressive.gated_resnet import GatedResNetBlock, concat_elu
from reference.autoregressive.image_transformer import ImageTransformer
from reference.autoregressive.levels import scaled_levels
from reference.autoregressive.local_attention import local_attention, local_field
from reference.autoregressive.local_blocks import block_order, local_blocks_1d, local_blocks_2d
from reference.autoregressive.logistic_mixture import discretized_logistic_mixture
from reference.autoregressive.logistic_mixture_image import (
    coupled_mixture_log_prob,
    coupled_mixture_logits,
)
from reference.autoregressive.made import MADE
from reference.autoregressive.made_masks import (
    made_degrees,
    made_masks,
    made_receptive_field,
    masked_layers,
)
from reference.autoregressive.masks import MaskedConv2d, raster_mask
from reference.autoregressive.mcgsm import discretized_gaussian, mcgsm, mcgsm_logits
from reference.autoregressive.mixture_output import LogisticMixtureHead, mixture_logits
from reference.autoregressive.multiscale import MultiscalePixelCNN, subsampled_order
from reference.autoregressive.nade import NADE, nade_activations
from reference.autoregressive.nade_sampling import nade_complete, nade_sample
from reference.autoregressive.order import generation_order, past_of
from reference.autoregressive.pixel_positions import coordinate_encoding
from reference.autoregressive.pixel_rnn import PixelRNN
from reference.autoregressive.pixel_transformer import PixelTransformer
from reference.autoregressive.pixelcnn import PixelCNN, ResidualBlock
from reference.autoregressive.pixelcnn_pp import PixelCNNPlusPlus
from reference.autoregressive.pixelcnn_pp_receptive_field import pixelcnn_pp_receptive_field
from reference.autoregressive.pixelsnail import PixelSNAIL
from reference.autoregressive.receptive_field import pixelcnn_receptive_field, spread
from reference.autoregressive.recurrent_mixture import RIDE, spatial_lstm
from reference.autoregressive.recurrent_reach import diagonal_bilstm_reach, row_lstm_reach
from reference.autoregressive.row_lstm import MaskedRowConv, RowLSTM, RowLSTMLayer
from reference.autoregressive.sampling import complete, raster_order, sample
from reference.autoregressive.shifted_convolutions import (
    ShiftedConv2d,
    ShiftedConvTranspose2d,
    StrictConv2d,
    shifted_pad,
)
from reference.autoregressive.skewing import skew, unskew
from reference.autoregressive.strict_attention import (
    CausalAttentionBlock,
    strictly_causal_attention,
)
from reference.autoregressive.super_resolution import SuperResolutionTransformer
from reference.autoregressive.tabular import TabularChainRule
from reference.autoregressive.transformer_layer import TransformerLayer, shifted
from reference.autoregressive.two_streams import (
    TwoStreamBlock,
    TwoStreamDoubling,
    TwoStreamHalving,
)

__all__ = [
    "MADE", "NADE", "RIDE", "CausalAttentionBlock", "CausalSelfAttention", "ConditionalPixelCNN",
    "ConvLSTMCell", "CrossAttention", "DeepGMM", "DiagonalBiLSTM", "DiagonalBiLSTMCache",
    "DiagonalBiLSTMLayer", "FullyVisibleBeliefNetwork", "GateConditions", "GatedLayer",
    "GatedPixelCNN", "GatedPixelCNNCache", "GatedResNetBlock", "ImageTransformer",
    "LogisticMixtureHead", "MaskedConv2d", "MaskedRowConv", "MultiscalePixelCNN", "PixelCNN",
    "PixelCNNCache", "PixelCNNPlusPlus", "PixelRNN", "PixelSNAIL", "PixelTransformer",
    "ResidualBlock", "RowConv2d", "RowLSTM", "RowLSTMCache", "RowLSTMLayer", "ShiftedConv2d",
    "ShiftedConvTranspose2d", "SpatialEncoder", "StrictConv2d", "SuperResolutionTransformer",
    "TabularChainRule", "TransformerLayer", "TwoStreamBlock", "TwoStreamDoubling",
    "TwoStreamHalving", "bits_per_dimension", "block_order", "cached_complete", "cached_sample",
    "causal_attention", "chain_rule_log_prob", "class_labels", "complete", "concat_elu",
    "conditional_tables", "coordinate_encoding", "coupled_means", "coupled_mixture_log_prob",
    "coupled_mixture_logits", "coupled_receptive_field", "deep_gmm_components", "deep_gmm_log_prob",
    "deep_gmm_push", "dequantized_gaussian_bound", "dequantized_gaussian_fit",
    "diagonal_bilstm_reach", "diagonal_scan", "discretized_gaussian", "discretized_logistic",
    "discretized_logistic_mixture", "full_attention", "fvbn_logits", "gated_activation",
    "gated_pixelcnn_receptive_field", "gaussian_conditional", "generation_order", "local_attention",
    "local_blocks_1d", "local_blocks_2d", "local_field", "lstm_update", "made_degrees",
    "made_masks", "made_receptive_field", "masked_layers", "mcgsm", "mcgsm_logits",
    "mixture_logits", "nade_activations", "nade_complete", "nade_sample", "past_of",
    "pixelcnn_pp_receptive_field", "pixelcnn_receptive_field", "prefix_index", "raster_mask",
    "raster_order", "row_lstm_reach", "sample", "scaled_levels", "shifted", "shifted_pad", "skew",
    "spatial_lstm", "split_mixture", "spread", "strictly_causal_attention", "subsampled_order",
    "tabular_logits", "transformer_complete", "transformer_sample", "transformer_step", "unskew",
]  # fmt: skip
