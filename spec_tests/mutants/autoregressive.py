r"""Known-wrong masked convolutions and autoregressive models: the classic mistakes of the family.

A wrong convolution is a right one with one line changed, a wrong model a small belief network with
one method replaced; the docstring of each says which mistake it is and what follows from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spec_tests.contracts.theory import Pieces
from spec_tests.registry import Unsupported, mutant

# Masked convolutions -----------------------------------------------------------------------------


def _groups(channels: int, data_channels: int) -> Tensor:
    return torch.arange(channels) * data_channels // channels


def _mask(config: Any) -> Tensor:
    """The right mask, ``(out, in, k, k)``."""
    k, n = config.kernel_size, config.data_channels
    mask = torch.zeros(config.out_channels, config.in_channels, k, k)
    mask[:, :, : k // 2] = 1
    mask[:, :, k // 2, : k // 2] = 1
    g_in, g_out = _groups(config.in_channels, n), _groups(config.out_channels, n)
    strict = g_in[None, :] < g_out[:, None]
    same = g_in[None, :] == g_out[:, None]
    mask[:, :, k // 2, k // 2] = (strict | (same & (config.mask_type == "B"))).float()
    return mask


class _Convolution(nn.Module):
    """A right masked convolution; each mutant replaces a piece."""

    def __init__(self, config: Any, mask: Tensor | None = None) -> None:
        super().__init__()
        self.config, k = config, config.kernel_size
        shape = (config.out_channels, config.in_channels, k, k)
        self.weight = nn.Parameter(torch.randn(shape) / (config.in_channels * k * k) ** 0.5)
        self.bias = nn.Parameter(torch.randn(config.out_channels))
        self.register_buffer("mask", _mask(config) if mask is None else mask)

    def effective(self) -> Tensor:
        return self.weight * self.mask

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.effective(), self.bias, padding=self.config.kernel_size // 2)


_CAUSAL = "masked_conv2d.causality"
_USES = "masked_conv2d.uses_the_allowed_past"
_TRAINED = "masked_conv2d.stays_masked_after_training"


def _with_mask(config: Any, change: Callable[[Tensor, int], None]) -> nn.Module:
    """A convolution whose mask ``change(mask, centre)`` has spoilt."""
    mask = _mask(config)
    change(mask, config.kernel_size // 2)
    return _Convolution(config, mask)


@mutant("masked_conv2d", rejected_by=[_CAUSAL, _TRAINED])
def centre_tap_kept_in_type_a(config: Any) -> Any:
    """Type A with the centre of type B: the first layer sees the pixel that is to be predicted."""

    def change(mask: Tensor, c: int) -> None:
        mask[:, :, c, c] = 1  # wrong: 0 in type A

    return _with_mask(config, change)


@mutant("masked_conv2d", rejected_by=[_CAUSAL])
def tap_right_of_the_centre_kept(config: Any) -> Any:
    """The slice ends one column late: the next pixel of the row is visible."""

    def change(mask: Tensor, c: int) -> None:
        mask[:, :, c, : c + 2] = 1 if c else mask[:, :, c, : c + 2]  # wrong: up to the centre

    return _with_mask(config, change)


@mutant("masked_conv2d", rejected_by=[_CAUSAL, _USES])
def mask_transposed(config: Any) -> Any:
    """Rows and columns swapped: the past of a column-by-column order, with the pixel below left."""
    return _Convolution(config, _mask(config).transpose(2, 3).contiguous())  # wrong: not transposed


@mutant("masked_conv2d", rejected_by=[_CAUSAL, _USES])
def mask_upside_down(config: Any) -> Any:
    """A true convolution's mask for a library that correlates: the kernel is the future."""
    return _Convolution(config, _mask(config).flip(2, 3))  # wrong: not flipped


@mutant("masked_conv2d", rejected_by=[_CAUSAL])
def one_row_below_kept(config: Any) -> Any:
    """The mask is cut at the wrong row: one row of the future is visible where the kernel has it."""

    def change(mask: Tensor, c: int) -> None:
        mask[:, :, c + 1 : c + 2, :c] = 1  # wrong: 0 below the centre

    return _with_mask(config, change)


@mutant("masked_conv2d", rejected_by=[_CAUSAL])
def weights_masked_at_construction_only(config: Any) -> Any:
    """The mask multiplies the initial weights and is forgotten: any other weights see everything."""
    layer = _Convolution(config)
    with torch.no_grad():
        layer.weight *= layer.mask
    layer.effective = lambda: layer.weight  # wrong: weight * mask, at each call
    return layer


@mutant("masked_conv2d", rejected_by=[_TRAINED])
def weights_masked_at_the_first_call_only(config: Any) -> Any:
    """The weight is masked when first used, and the optimiser's first step undoes it."""

    class FirstCall(_Convolution):
        done = False

        def effective(self) -> Tensor:
            if not self.done:
                self.weight.data.mul_(self.mask)
                self.done = True  # wrong: masked at every call
            return self.weight

    return FirstCall(config)


@mutant("masked_conv2d", rejected_by=["masked_conv2d.follows_its_parameters"])
def masked_weight_kept_from_the_first_call(config: Any) -> Any:
    """The product of weight and mask is computed once and kept: training changes nothing."""

    class Kept(_Convolution):
        def effective(self) -> Tensor:
            if not hasattr(self, "kept"):
                self.kept = super().effective()
            return self.kept  # wrong: computed anew

    return Kept(config)


@mutant("masked_conv2d", rejected_by=[_CAUSAL, _TRAINED, "masked_conv2d.train_and_eval_agree"])
def mask_lost_in_train_mode(config: Any) -> Any:
    """The masked weight is kept for evaluation, and training uses the raw one."""

    class Cached(_Convolution):
        def effective(self) -> Tensor:
            if self.training:
                return self.weight  # wrong: self.weight * self.mask
            return self.weight * self.mask

    return Cached(config)


@mutant("masked_conv2d", rejected_by=[_CAUSAL, _USES])
def channel_groups_interleaved(config: Any) -> Any:
    """Channel c taken as colour c mod 3 where the groups are thirds: features of G pass for R."""
    mask, c, n = _mask(config), config.kernel_size // 2, config.data_channels
    g_in = torch.arange(config.in_channels) % n  # wrong: c * n // in_channels
    g_out = torch.arange(config.out_channels) % n  # wrong: c * n // out_channels
    seen = g_in[None] < g_out[:, None] if config.mask_type == "A" else g_in[None] <= g_out[:, None]
    mask[:, :, c, c] = seen.float()
    return _Convolution(config, mask)


@mutant("masked_conv2d", rejected_by=[_CAUSAL])
def red_sees_green_and_blue(config: Any) -> Any:
    """Type B without colour order: at the centre every group sees every other."""

    def change(mask: Tensor, c: int) -> None:
        if config.mask_type == "B":
            mask[:, :, c, c] = 1  # wrong: g_in <= g_out

    return _with_mask(config, change)


@mutant("masked_conv2d", rejected_by=[_CAUSAL, _USES])
def colours_in_reverse(config: Any) -> Any:
    """The indices of input and output swapped at the centre: R sees G and B, and B sees neither."""
    mask, c, n = _mask(config), config.kernel_size // 2, config.data_channels
    g_in, g_out = _groups(config.in_channels, n), _groups(config.out_channels, n)
    if config.mask_type == "A":
        seen = g_in[None] > g_out[:, None]  # wrong: <
    else:
        seen = g_in[None] >= g_out[:, None]  # wrong: <=
    mask[:, :, c, c] = seen.float()
    return _Convolution(config, mask)


@mutant("masked_conv2d", rejected_by=[_USES])
def type_b_hides_its_own_colour(config: Any) -> Any:
    """Strict at the centre in type B as in A: stacked, the layers lose the nearest past."""

    def change(mask: Tensor, c: int) -> None:
        g_in = _groups(config.in_channels, config.data_channels)
        g_out = _groups(config.out_channels, config.data_channels)
        mask[:, :, c, c] = (g_in[None] < g_out[:, None]).float()  # wrong: <= in type B

    return _with_mask(config, change)


@mutant("masked_conv2d", rejected_by=[_USES])
def row_directly_above_hidden(config: Any) -> Any:
    """The block of whole rows ends one row early: the pixel above is not seen."""

    def change(mask: Tensor, c: int) -> None:
        mask[:, :, max(c - 1, 0) : c] = 0  # wrong: all rows above are kept

    return _with_mask(config, change)


@mutant("masked_conv2d", rejected_by=[_USES])
def right_half_above_hidden(config: Any) -> Any:
    """Only the upper left quadrant is kept: what is above and to the right is past as well."""

    def change(mask: Tensor, c: int) -> None:
        mask[:, :, :c, c + 1 :] = 0  # wrong: rows above in full width

    return _with_mask(config, change)


@mutant("masked_conv2d", rejected_by=[_USES])
def sees_nothing(config: Any) -> Any:
    """Masked altogether: causal, and a constant."""
    return _Convolution(config, torch.zeros_like(_mask(config)))  # wrong: the mask


@mutant("masked_conv2d", rejected_by=[_CAUSAL])
def masks_three_by_three_only(config: Any) -> Any:
    """The mask was written out for a kernel of 3; larger kernels are masked in their middle alone."""
    mask, k = _mask(config), config.kernel_size
    if k > 3:
        mask[:, :, k // 2 + 2 :] = 1  # wrong: 0 for every row below
    return _Convolution(config, mask)


@mutant("masked_conv2d", rejected_by=[_CAUSAL, _TRAINED])
def soft_mask(config: Any) -> Any:
    """Forbidden weights are made small instead of zero, and a trained network amplifies the leak."""
    mask = _mask(config)
    return _Convolution(config, mask + 1e-4 * (1 - mask))  # wrong: 0


@mutant("masked_conv2d", rejected_by=[_CAUSAL, "masked_conv2d.zero_padded_same_size"])
def wraps_around_the_border(config: Any) -> Any:
    """Circular padding: left of the first column lies the last, and above the first row the last."""

    class Circular(_Convolution):
        def forward(self, x: Tensor) -> Tensor:
            m = self.config.kernel_size // 2
            height, width = x.shape[2:]
            rows = torch.arange(-m, height + m, device=x.device) % height  # wrong: zeros outside
            columns = torch.arange(-m, width + m, device=x.device) % width  # wrong: zeros outside
            return F.conv2d(x[:, :, rows][:, :, :, columns], self.effective(), self.bias)

    return Circular(config)


@mutant("masked_conv2d", rejected_by=["masked_conv2d.zero_padded_same_size"])
def pads_with_ones(config: Any) -> Any:
    """Pads with a constant other than zero: causal, but near the border another function."""

    class Ones(_Convolution):
        def forward(self, x: Tensor) -> Tensor:
            m = self.config.kernel_size // 2
            wide = F.pad(x, (m, m, m, m)) + 0.3 * x[:, :, :1, :1].abs() * (  # wrong: F.pad(x) alone
                F.pad(torch.zeros_like(x), (m, m, m, m), value=1.0)
            )
            return F.conv2d(wide, self.effective(), self.bias)

    return Ones(config)


@mutant("masked_conv2d", rejected_by=["masked_conv2d.bias_free_of_position"])
def bias_grows_down_the_image(config: Any) -> Any:
    """A bias of its own for every row: the layer knows where it is and is no convolution."""

    class Rows(_Convolution):
        def forward(self, x: Tensor) -> Tensor:
            rows = torch.arange(x.shape[2], device=x.device, dtype=x.dtype)
            return super().forward(x) + rows[:, None]  # wrong: no rows

    return Rows(config)


@mutant("masked_conv2d", rejected_by=["masked_conv2d.linear_and_shift_equivariant"])
def activation_included(config: Any) -> Any:
    """The nonlinearity of the block was left inside the layer."""

    class Activated(_Convolution):
        def forward(self, x: Tensor) -> Tensor:
            return F.elu(super().forward(x))  # wrong: no activation

    return Activated(config)


@mutant("masked_conv2d", rejected_by=["masked_conv2d.linear_and_shift_equivariant"])
def weights_differ_by_column(config: Any) -> Any:
    """Each column has weights of its own: locally connected, not a convolution."""

    class Local(_Convolution):
        def forward(self, x: Tensor) -> Tensor:
            columns = 1 + torch.arange(x.shape[3], device=x.device, dtype=x.dtype)
            plain = super().forward(x) - self.bias[:, None, None]
            return plain * columns + self.bias[:, None, None]  # wrong: plain

    return Local(config)


@mutant("masked_conv2d", rejected_by=[_CAUSAL])
def normalised_over_positions(config: Any) -> Any:
    """The mean over the image is taken off: a statistic of the future reaches every pixel."""

    class Centred(_Convolution):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            return y - y.mean((2, 3), keepdim=True)  # wrong: y

    return Centred(config)


@mutant("masked_conv2d", rejected_by=["masked_conv2d.item_by_item"])
def normalised_over_the_batch(config: Any) -> Any:
    """The batch mean of each pixel is taken off: images of one batch influence each other."""

    class Centred(_Convolution):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x - x.mean(0, keepdim=True))  # wrong: x

    return Centred(config)


@mutant("masked_conv2d", rejected_by=["masked_conv2d.gradient_in_parameters"])
def masked_weight_detached(config: Any) -> Any:
    """The mask is applied to ``weight.data``, which autograd does not follow: nothing is learnt."""

    class Detached(_Convolution):
        def effective(self) -> Tensor:
            return self.weight.detach() * self.mask  # wrong: no detach

    return Detached(config)


@mutant("masked_conv2d", rejected_by=["masked_conv2d.follows_its_inputs_device"])
def mask_kept_as_an_attribute(config: Any) -> Any:
    """The mask is a plain tensor, no buffer: it stays on the CPU when the layer moves."""

    class Attribute(_Convolution):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.plain = _mask(config)  # wrong: register_buffer

        def effective(self) -> Tensor:
            return self.weight * self.plain

    return Attribute(config)


@mutant("masked_conv2d", rejected_by=["masked_conv2d.causality"])
def shrinks_by_one_pixel(config: Any) -> Any:
    """Padding computed from k - 2: the output is smaller than the image."""

    class Valid(_Convolution):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)[:, :, :, : max(x.shape[3] - 1, 1)]  # wrong: all columns

    return Valid(config)


# Autoregressive models: a right one to spoil -----------------------------------------------------


def _raster(event_shape: tuple[int, ...]) -> list[int]:
    if len(event_shape) == 1:
        return list(range(event_shape[0]))
    channels, height, width = event_shape
    return [c * height * width + p for p in range(height * width) for c in range(channels)]


class _Network(nn.Module):
    """A right model: one hidden layer of its own for each dimension, fed by the whole past."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        d, k = len(_raster(config.event_shape)), config.levels
        self.config, self.size, self.levels = config, d, k
        self.hidden = nn.Parameter(torch.randn(d, 5, d, k) / (d * k) ** 0.5)
        self.output = nn.Parameter(torch.randn(d, k, 5))
        self.bias = nn.Parameter(torch.randn(max(config.num_classes, 1), d, k))
        rank = torch.tensor(self.sequence()).argsort()
        self.register_buffer("past", self.visible(rank))

    def sequence(self) -> list[int]:
        return _raster(self.config.event_shape)

    def visible(self, rank: Tensor) -> Tensor:
        """Row i, column j: whether i may use j."""
        return rank[None, :] < rank[:, None]

    def labels(self, x: Tensor, y: Tensor | None) -> Tensor:
        return torch.zeros_like(x.flatten(1)[:, 0]) if y is None else y

    def context(self, x: Tensor) -> Tensor:
        one_hot = F.one_hot(x.flatten(1), self.levels).to(self.bias.dtype)  # (N, D, K)
        weight = self.hidden * self.past[:, None, :, None]
        return torch.einsum("ihjl,njl->nih", weight, one_hot).tanh()  # (N, D, H)

    def flat(self, x: Tensor, y: Tensor | None) -> Tensor:
        found = torch.einsum("ikh,nih->nik", self.output, self.context(x))
        return found + self.bias[self.labels(x, y)]  # (N, D, K)

    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.flat(x, y).mT.reshape(len(x), self.levels, *x.shape[1:])

    def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return -F.cross_entropy(self.logits(x, y), x, reduction="none").flatten(1).sum(1)

    def pick(self, found: Tensor, generator: torch.Generator | None) -> Tensor:
        """One level for each item from logits ``(N, K)``."""
        return torch.multinomial(found.softmax(1), 1, generator=generator)[:, 0]

    def fill(
        self, x: Tensor, known: Tensor, y: Tensor | None, generator: torch.Generator | None
    ) -> Tensor:
        flat = torch.where(known, x, 0).flatten(1)
        for i in self.sequence():
            if not bool(known.flatten()[i]):
                flat[:, i] = self.pick(self.flat(flat.view(x.shape), y)[:, i], generator)
        return flat.view(x.shape)

    def empty(self, n: int) -> tuple[Tensor, Tensor]:
        x = torch.zeros((n, *self.config.event_shape), dtype=torch.long, device=self.bias.device)
        return x, torch.zeros(self.config.event_shape, dtype=torch.bool, device=self.bias.device)

    def sample(
        self, n: int, y: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        return self.fill(*self.empty(n), y, generator)

    def complete(
        self, x: Tensor, known: Tensor, y: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:  # fmt: skip
        return self.fill(x, known, y, generator)


_M = "autoregressive_model."
_MODEL_CAUSAL = _M + "causality"
_MODEL_USES = _M + "uses_the_allowed_past"
_DENSITY = [_M + "chain_rule", _M + "normalised"]
_SAMPLER = _M + "sampler_matches_density"
_COMPLETION = _M + "completion_keeps_known_pixels"

# What it sees ------------------------------------------------------------------------------------


@mutant("autoregressive_model", rejected_by=[_MODEL_CAUSAL])
def sees_its_own_dimension(config: Any) -> Any:
    """Masks of type B throughout: each conditional is given its answer."""

    class Inclusive(_Network):
        def visible(self, rank: Tensor) -> Tensor:
            return rank[None, :] <= rank[:, None]  # wrong: <

    return Inclusive(config)


@mutant("autoregressive_model", rejected_by=[_MODEL_CAUSAL, _M + "normalised"])
def last_dimension_leaks_to_the_first(config: Any) -> Any:
    """A roll where a shift was meant: what falls off the end comes in at the beginning."""

    class Rolled(_Network):
        def context(self, x: Tensor) -> Tensor:
            last = x.flatten(1)[:, self.sequence()[-1]].to(self.bias.dtype)
            first = torch.zeros(self.size, 5, device=x.device, dtype=self.bias.dtype)
            first[self.sequence()[0]] = 1.0
            return super().context(x) + last[:, None, None] * first  # wrong: zeros come in

    return Rolled(config)


@mutant("autoregressive_model", rejected_by=[_MODEL_CAUSAL])
def residual_around_the_masked_layer(config: Any) -> Any:
    """A skip connection from the input past the only strict layer: the pixel reaches its own logits."""

    class Residual(_Network):
        def flat(self, x: Tensor, y: Tensor | None) -> Tensor:
            skip = x.flatten(1)[:, :, None] * self.output.mean(2)
            return super().flat(x, y) + 0.1 * skip  # wrong: no skip

    return Residual(config)


@mutant("autoregressive_model", rejected_by=[_MODEL_CAUSAL])
def one_class_sees_the_future(config: Any) -> Any:
    """The gate that is conditioned on the label forgot its mask, which only the last class opens."""

    class Gated(_Network):
        def flat(self, x: Tensor, y: Tensor | None) -> Tensor:
            found = super().flat(x, y)
            if y is None:
                return found
            opened = (y == self.config.num_classes - 1).to(found.dtype)
            total = x.flatten(1).sum(1)  # wrong: the sum of the past
            return found + (opened * total)[:, None, None] * self.output[..., 0]

    return Gated(config)


@mutant("autoregressive_model", rejected_by=[_MODEL_CAUSAL])
def normalises_over_the_event(config: Any) -> Any:
    """Layer normalisation over all positions: mean and variance carry the future to everyone."""

    class Normed(_Network):
        def context(self, x: Tensor) -> Tensor:
            h = super().context(x)
            power = h.square().mean((1, 2), keepdim=True)  # wrong: mean(2), of each position
            return h / (0.1 + power).sqrt()

    return Normed(config)


@mutant("autoregressive_model", rejected_by=[_MODEL_CAUSAL])
def channels_before_pixels(config: Any) -> Any:
    """Memory order for generation order: all of red comes before any green, and B sees no pixel left."""

    class Planes(_Network):
        def sequence(self) -> list[int]:
            return list(range(self.size))  # wrong: channels within pixels

    return Planes(config)


@mutant("autoregressive_model", rejected_by=[_MODEL_CAUSAL])
def columns_before_rows(config: Any) -> Any:
    """Height and width swapped: the image is generated column by column."""

    class Columns(_Network):
        def sequence(self) -> list[int]:
            if len(self.config.event_shape) == 1:
                return list(range(self.size))
            c, h, w = self.config.event_shape
            places = [(i, j) for j in range(w) for i in range(h)]  # wrong: rows outside
            return [k * h * w + i * w + j for i, j in places for k in range(c)]

    return Columns(config)


@mutant("autoregressive_model", rejected_by=[_MODEL_CAUSAL])
def documented_order_not_followed(config: Any) -> Any:
    """Says that it generates backwards, and generates forwards."""

    class Claims(_Network):
        @property
        def order(self) -> Tensor:
            return torch.tensor(self.sequence()[::-1])  # wrong: not reversed

    return Claims(config)


@mutant("autoregressive_model", rejected_by=[_MODEL_CAUSAL])
def order_is_its_own_inverse(config: Any) -> Any:
    """Gives the rank of each dimension where the order is asked for: right for reversals alone."""

    class Ranks(_Network):
        def sequence(self) -> list[int]:
            plain = _raster(self.config.event_shape)
            return plain[2:] + plain[:2]

        @property
        def order(self) -> Tensor:
            return torch.tensor(self.sequence()).argsort()  # wrong: no argsort

    return Ranks(config)


@mutant("autoregressive_model", rejected_by=[_M + "order_is_a_permutation"])
def order_counts_from_one(config: Any) -> Any:
    """The order as the paper writes it, from 1 to D, where indices run from 0."""

    class FromOne(_Network):
        @property
        def order(self) -> Tensor:
            return torch.tensor(self.sequence()) + 1  # wrong: from 0

    return FromOne(config)


@mutant("autoregressive_model", rejected_by=[_MODEL_USES, _M + "fits"])
def ignores_all_of_the_past(config: Any) -> Any:
    """Masked altogether: independent dimensions, perfectly causal."""

    class Independent(_Network):
        def visible(self, rank: Tensor) -> Tensor:
            return torch.zeros(len(rank), len(rank), dtype=torch.bool)  # wrong: rank < own rank

    return Independent(config)


@mutant("autoregressive_model", rejected_by=[_MODEL_USES])
def never_sees_the_dimension_before(config: Any) -> Any:
    """Shifted twice: the nearest dimension, which says the most, is hidden from each conditional."""

    class Shifted(_Network):
        def visible(self, rank: Tensor) -> Tensor:
            return rank[None, :] < rank[:, None] - 1  # wrong: no - 1

    return Shifted(config)


def _places(event_shape: tuple[int, ...], d: int) -> tuple[Tensor, Tensor]:
    """Row and column of every dimension of an image; all in one row for a vector."""
    _, height, width = event_shape if len(event_shape) == 3 else (1, 1, d)
    place = torch.arange(d) % (height * width)
    return place // width, place % width


@mutant("autoregressive_model", rejected_by=[_MODEL_USES])
def green_does_not_see_red(config: Any) -> Any:
    """Documents the full past, and masks every colour by type A: G never sees the R of its pixel."""

    class Independent(_Network):
        @property
        def receptive_field(self) -> Tensor:
            rank = torch.tensor(self.sequence()).argsort()
            return rank[None, :] < rank[:, None]

        def visible(self, rank: Tensor) -> Tensor:
            row, column = _places(self.config.event_shape, len(rank))
            same = (row[:, None] == row[None]) & (column[:, None] == column[None])
            return super().visible(rank) & ~same  # wrong: earlier colours are seen

    return Independent(config)


@mutant("autoregressive_model", rejected_by=[_MODEL_USES])
def sees_its_own_row_alone(config: Any) -> Any:
    """The vertical stack was never connected: each row is a sequence of its own."""

    class Rows(_Network):
        def visible(self, rank: Tensor) -> Tensor:
            row, _ = _places(self.config.event_shape, len(rank))
            return super().visible(rank) & (row[:, None] == row[None])  # wrong: earlier rows too

    return Rows(config)


@mutant("autoregressive_model", rejected_by=[_MODEL_USES])
def documents_more_than_it_uses(config: Any) -> Any:
    """Documents the full past and uses a window of two: a blind spot that nobody is told of."""

    class Window(_Network):
        def visible(self, rank: Tensor) -> Tensor:
            gap = rank[:, None] - rank[None, :]
            return (gap > 0) & (gap <= 2)

        @property
        def receptive_field(self) -> Tensor:
            rank = torch.tensor(self.sequence()).argsort()
            return rank[None, :] < rank[:, None]  # wrong: a window of two

    return Window(config)


@mutant("autoregressive_model", rejected_by=[_MODEL_USES])
def documents_less_than_it_uses(config: Any) -> Any:
    """Documents a window of two and uses the full past."""

    class Full(_Network):
        @property
        def receptive_field(self) -> Tensor:
            rank = torch.tensor(self.sequence()).argsort()
            gap = rank[:, None] - rank[None, :]
            return (gap > 0) & (gap <= 2)  # wrong: gap > 0

    return Full(config)


@mutant("autoregressive_model", rejected_by=[_MODEL_USES])
def receptive_field_transposed(config: Any) -> Any:
    """Documents who is used by whom instead of who uses whom."""

    class Transposed(_Network):
        @property
        def receptive_field(self) -> Tensor:
            return self.past.T  # wrong: no T

    return Transposed(config)


@mutant("autoregressive_model", rejected_by=[_M + "item_by_item"])
def centred_over_the_batch(config: Any) -> Any:
    """Batch statistics in the network: an item's likelihood depends on its company."""

    class Batch(_Network):
        def context(self, x: Tensor) -> Tensor:
            h = super().context(x)
            return h - h.mean(0, keepdim=True)  # wrong: h

    return Batch(config)


# Its density -------------------------------------------------------------------------------------


@mutant("autoregressive_model", rejected_by=[*_DENSITY, _M + "bits_per_dim", _M + "gibbs"])
def log_prob_is_a_mean(config: Any) -> Any:
    """The mean over dimensions where the chain rule has a sum: likelihoods no density can have."""

    class Mean(_Network):
        def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            return super().log_prob(x, y) / self.size  # wrong: not divided

    return Mean(config)


@mutant("autoregressive_model", rejected_by=[*_DENSITY, _M + "bits_per_dim"])
def log_prob_in_bits(config: Any) -> Any:
    """Base two where nats are asked for."""

    class Bits(_Network):
        def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            return super().log_prob(x, y) / 0.6931471805599453  # wrong: not divided

    return Bits(config)


@mutant("autoregressive_model", rejected_by=[*_DENSITY, _M + "gibbs"])
def log_prob_forgets_the_last_dimension(config: Any) -> Any:
    """The shift of inputs against targets lost one term: the last dimension costs nothing."""

    class Short(_Network):
        def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            cost = F.cross_entropy(self.logits(x, y), x, reduction="none").flatten(1)
            return -cost.sum(1) + cost[:, self.sequence()[-1]]  # wrong: all costs

    return Short(config)


@mutant("autoregressive_model", rejected_by=[*_DENSITY])
def log_prob_of_raw_logits(config: Any) -> Any:
    """Gathers logits that were never normalised."""

    class Raw(_Network):
        def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            found = self.logits(x, y).flatten(2)  # wrong: its log_softmax(1)
            return found.gather(1, x.flatten(1)[:, None]).sum((1, 2))

    return Raw(config)


@mutant("autoregressive_model", rejected_by=[_M + "chain_rule"])
def log_prob_normalises_over_positions(config: Any) -> Any:
    """The softmax runs over dimensions instead of levels."""

    class Axis(_Network):
        def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            found = self.logits(x, y).flatten(2).log_softmax(2)  # wrong: log_softmax(1)
            return found.gather(1, x.flatten(1)[:, None]).sum((1, 2))

    return Axis(config)


@mutant("autoregressive_model", rejected_by=[_M + "chain_rule"])
def log_prob_ignores_the_label(config: Any) -> Any:
    """The likelihood of every class is that of class 0."""

    class Unlabelled(_Network):
        def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            return super().log_prob(x, None)  # wrong: y

    return Unlabelled(config)


@mutant("autoregressive_model", rejected_by=[_M + "conditioning"])
def label_ignored(config: Any) -> Any:
    """The label is taken and never used."""

    class Unlabelled(_Network):
        def labels(self, x: Tensor, y: Tensor | None) -> Tensor:
            return super().labels(x, None)  # wrong: y

    return Unlabelled(config)


@mutant("autoregressive_model", rejected_by=[_M + "conditioning"])
def label_read_as_a_flag(config: Any) -> Any:
    """The label enters as a truth value: all classes but the first are one."""

    class Flag(_Network):
        def labels(self, x: Tensor, y: Tensor | None) -> Tensor:
            return super().labels(x, y).clamp(max=1)  # wrong: no clamp

    return Flag(config)


# Its sampler -------------------------------------------------------------------------------------


@mutant("autoregressive_model", rejected_by=[_SAMPLER, _M + "sampling_is_ancestral"])
def sampler_uses_stale_logits(config: Any) -> Any:
    """One pass for the whole event: every level is drawn given zeros, not given the draws before."""

    class Stale(_Network):
        def sample(self, n: int, y: Any = None, generator: Any = None) -> Tensor:
            x, _ = self.empty(n)
            found = self.flat(x, y)  # wrong: anew after each draw
            drawn = [self.pick(found[:, i], generator) for i in range(self.size)]
            return torch.stack(drawn, 1).view(x.shape)

    return Stale(config)


@mutant("autoregressive_model", rejected_by=[_SAMPLER, _M + "sampling_is_ancestral"])
def sampler_sharpens(config: Any) -> Any:
    """Temperature one half, because samples look better: another distribution than the likelihood's."""

    class Cold(_Network):
        def pick(self, found: Tensor, generator: torch.Generator | None) -> Tensor:
            return super().pick(2 * found, generator)  # wrong: found

    return Cold(config)


@mutant("autoregressive_model", rejected_by=[_SAMPLER, _M + "sampling_is_ancestral"])
def sampler_is_greedy(config: Any) -> Any:
    """Takes the most probable level each time: one sample, over and over."""

    class Greedy(_Network):
        def pick(self, found: Tensor, generator: torch.Generator | None) -> Tensor:
            return found.argmax(1)  # wrong: drawn from softmax(1)

    return Greedy(config)


@mutant("autoregressive_model", rejected_by=[_SAMPLER])
def sampler_is_one_draw_behind(config: Any) -> Any:
    """A cache that is updated too late: each level is drawn without the one just before it."""

    class Late(_Network):
        def sample(self, n: int, y: Any = None, generator: Any = None) -> Tensor:
            x, _ = self.empty(n)
            flat, waiting = x.flatten(1), None
            for i in self.sequence():
                drawn = self.pick(self.flat(flat.view(x.shape), y)[:, i], generator)
                if waiting is not None:
                    flat[:, waiting[0]] = waiting[1]
                waiting = (i, drawn)  # wrong: written at once
            if waiting is not None:
                flat[:, waiting[0]] = waiting[1]
            return flat.view(x.shape)

    return Late(config)


@mutant("autoregressive_model", rejected_by=[_SAMPLER])
def sampler_goes_plane_by_plane(config: Any) -> Any:
    """Samples in memory order a model of pixel order: all of red before any green is known."""

    class Planes(_Network):
        def sample(self, n: int, y: Any = None, generator: Any = None) -> Tensor:
            x, _ = self.empty(n)
            flat = x.flatten(1)
            for i in range(self.size):  # wrong: self.sequence()
                flat[:, i] = self.pick(self.flat(flat.view(x.shape), y)[:, i], generator)
            return flat.view(x.shape)

    return Planes(config)


@mutant("autoregressive_model", rejected_by=[_SAMPLER])
def sampler_shares_one_number(config: Any) -> Any:
    """One random number for the whole batch: items agree where their conditionals do."""

    class Shared(_Network):
        def pick(self, found: Tensor, generator: torch.Generator | None) -> Tensor:
            like = {"device": found.device, "dtype": found.dtype}
            u = torch.rand(1, generator=generator, **like)  # wrong: one for each item
            return (found.softmax(1).cumsum(1) < u).sum(1).clamp(max=self.levels - 1)

    return Shared(config)


@mutant("autoregressive_model", rejected_by=[_SAMPLER])
def sampler_drops_the_label(config: Any) -> Any:
    """Samples class 0, whatever class is asked for."""

    class Unlabelled(_Network):
        def sample(self, n: int, y: Any = None, generator: Any = None) -> Tensor:
            return super().sample(n, None, generator)  # wrong: y

    return Unlabelled(config)


@mutant("autoregressive_model", rejected_by=[_SAMPLER])
def sampler_never_draws_the_last_level(config: Any) -> Any:
    """Levels up to K - 2: an upper bound that was already exclusive."""

    class Short(_Network):
        def pick(self, found: Tensor, generator: torch.Generator | None) -> Tensor:
            return super().pick(found[:, :-1], generator)  # wrong: all levels

    return Short(config)


@mutant("autoregressive_model", rejected_by=[_M + "sampler_uses_its_generator"])
def sampler_ignores_its_generator(config: Any) -> Any:
    """Takes a generator and draws from the global one: the seed changes nothing."""

    class Global(_Network):
        def sample(self, n: int, y: Any = None, generator: Any = None) -> Tensor:
            return super().sample(n, y, None)  # wrong: generator

    return Global(config)


@mutant("autoregressive_model", rejected_by=[_M + "sampler_uses_its_generator"])
def sampler_has_a_seed_of_its_own(config: Any) -> Any:
    """Draws from a generator that it seeds itself: every call gives the same samples."""

    class Private(_Network):
        def sample(self, n: int, y: Any = None, generator: Any = None) -> Tensor:
            own = torch.Generator(self.bias.device).manual_seed(0)  # wrong: generator
            return super().sample(n, y, own)

    return Private(config)


@mutant("autoregressive_model", rejected_by=[_M + "sampler_uses_its_generator"])
def sampler_reseeds_the_generator(config: Any) -> Any:
    """Resets the generator for reproducibility: who draws from it next gets the same again."""

    class Reseeds(_Network):
        def sample(self, n: int, y: Any = None, generator: Any = None) -> Tensor:
            if generator is not None:
                generator.manual_seed(0)  # wrong: drawn from as it is
            return super().sample(n, y, generator)

    return Reseeds(config)


@mutant("autoregressive_model", rejected_by=[_M + "sampler_uses_its_generator"])
def sampler_squeezes_a_single_sample(config: Any) -> Any:
    """``squeeze`` after indexing: a batch of one comes back without its batch dimension."""

    class Squeezed(_Network):
        def sample(self, n: int, y: Any = None, generator: Any = None) -> Tensor:
            found = super().sample(n, y, generator)
            return found.squeeze(0) if n == 1 else found  # wrong: found

    return Squeezed(config)


@mutant("autoregressive_model", rejected_by=[_M + "sampler_uses_its_generator"])
def sampler_draws_in_pairs(config: Any) -> Any:
    """Samples two at a time and returns an even number of them."""

    class Pairs(_Network):
        def sample(self, n: int, y: Any = None, generator: Any = None) -> Tensor:
            return super().sample(n, y, generator)[: max(n // 2 * 2, 1)]  # wrong: n samples

    return Pairs(config)


# Its completions ---------------------------------------------------------------------------------


@mutant("autoregressive_model", rejected_by=[_COMPLETION])
def completion_redraws_known_pixels(config: Any) -> Any:
    """Everything after the first hole is drawn anew, the known entries behind it too."""

    class Redraws(_Network):
        def complete(
            self, x: Tensor, known: Tensor, y: Any = None, generator: Any = None
        ) -> Tensor:
            order = torch.tensor(self.sequence(), device=x.device)
            prefix = known.flatten()[order].long().cumprod(0).bool()  # wrong: no cumprod
            kept = torch.zeros_like(known.flatten())
            kept[order] = prefix
            return super().complete(x, kept.view(known.shape), y, generator)

    return Redraws(config)


@mutant("autoregressive_model", rejected_by=[_COMPLETION, _M + "completion_matches_density"])
def completion_reads_the_holes(config: Any) -> Any:
    """One pass over the given image: holes are filled given the junk that stands in other holes."""

    class Junk(_Network):
        def complete(
            self, x: Tensor, known: Tensor, y: Any = None, generator: Any = None
        ) -> Tensor:
            found = self.flat(x, y)  # wrong: zeros in the holes, one draw at a time
            drawn = torch.stack([self.pick(found[:, i], generator) for i in range(self.size)], 1)
            return torch.where(known, x, drawn.view(x.shape))

    return Junk(config)


@mutant("autoregressive_model", rejected_by=[_M + "completion_matches_density"])
def completion_pastes_over_a_sample(config: Any) -> Any:
    """Samples everything and pastes the known entries over it: the rest never heard of them."""

    class Pastes(_Network):
        def complete(
            self, x: Tensor, known: Tensor, y: Any = None, generator: Any = None
        ) -> Tensor:
            drawn = self.sample(len(x), y, generator)  # wrong: drawn given the known
            return torch.where(known, x, drawn)

    return Pastes(config)


@mutant("autoregressive_model", rejected_by=[_COMPLETION, _M + "leaves_inputs_alone"])
def completion_fills_x_itself(config: Any) -> Any:
    """Fills the holes in place: the caller's image is overwritten."""

    class InPlace(_Network):
        def complete(
            self, x: Tensor, known: Tensor, y: Any = None, generator: Any = None
        ) -> Tensor:
            return x.copy_(super().complete(x, known, y, generator))  # wrong: a new tensor

    return InPlace(config)


@mutant("autoregressive_model", rejected_by=[_COMPLETION])
def completion_returns_x_when_nothing_is_missing(config: Any) -> Any:
    """A shortcut hands the caller's own tensor back: writing to the result writes to the data."""

    class Shortcut(_Network):
        def complete(
            self, x: Tensor, known: Tensor, y: Any = None, generator: Any = None
        ) -> Tensor:
            if bool(known.all()):
                return x  # wrong: x.clone()
            return super().complete(x, known, y, generator)

    return Shortcut(config)


@mutant("autoregressive_model", rejected_by=[_COMPLETION])
def completion_inverts_its_mask(config: Any) -> Any:
    """True taken for missing: the known entries are redrawn and the holes kept."""

    class Inverted(_Network):
        def complete(
            self, x: Tensor, known: Tensor, y: Any = None, generator: Any = None
        ) -> Tensor:
            return super().complete(x, ~known, y, generator)  # wrong: known

    return Inverted(config)


@mutant("autoregressive_model", rejected_by=[_COMPLETION])
def completion_draws_globally(config: Any) -> Any:
    """The generator is not passed on: completions cannot be repeated."""

    class Global(_Network):
        def complete(
            self, x: Tensor, known: Tensor, y: Any = None, generator: Any = None
        ) -> Tensor:
            return super().complete(x, known, y, None)  # wrong: generator

    return Global(config)


# Training and moving -----------------------------------------------------------------------------


@mutant("autoregressive_model", rejected_by=[_M + "gradient_in_parameters", _M + "fits"])
def context_is_detached(config: Any) -> Any:
    """The context was detached for sampling, and training takes the same path: biases alone learn."""

    class Detached(_Network):
        def flat(self, x: Tensor, y: Tensor | None) -> Tensor:
            found = torch.einsum("ikh,nih->nik", self.output, self.context(x))
            return found.detach() + self.bias[self.labels(x, y)]  # wrong: no detach

    return Detached(config)


@mutant("autoregressive_model", rejected_by=[_M + "train_and_eval_agree"])
def dropout_in_the_context(config: Any) -> Any:
    """Dropout that nobody asked for: the likelihood in training is another model's."""

    class Dropped(_Network):
        def context(self, x: Tensor) -> Tensor:
            return F.dropout(super().context(x), 0.5, self.training)  # wrong: no dropout

    return Dropped(config)


@mutant("autoregressive_model", rejected_by=[_M + "survives_moving"])
def logits_in_single_precision(config: Any) -> Any:
    """A cast to float32 in the middle: the dtype of the parameters is not that of the result."""

    class Single(_Network):
        def flat(self, x: Tensor, y: Tensor | None) -> Tensor:
            return super().flat(x, y).float()  # wrong: no cast

    return Single(config)


@mutant("autoregressive_model", rejected_by=[_M + "state_dict_round_trips"])
def random_order_is_not_saved(config: Any) -> Any:
    """A random order kept as a plain attribute: the checkpoint belongs to another order."""

    class Random(_Network):
        def sequence(self) -> list[int]:
            if not hasattr(self, "chosen"):
                self.chosen = torch.randperm(self.size).tolist()  # wrong: a buffer
            return self.chosen

        def visible(self, rank: Tensor) -> Tensor:
            return torch.zeros(self.size, self.size, dtype=torch.bool)

        def context(self, x: Tensor) -> Tensor:
            rank = torch.tensor(self.sequence(), device=x.device).argsort()
            self.past = rank[None, :] < rank[:, None]
            return super().context(x)

        @property
        def order(self) -> Tensor:
            return torch.tensor(self.sequence())

    return Random(config)


@mutant("autoregressive_model", rejected_by=[_M + "follows_its_inputs_device"])
def mask_is_created_on_the_cpu(config: Any) -> Any:
    """The mask is made anew at each call and left on the CPU."""

    class Stray(_Network):
        def context(self, x: Tensor) -> Tensor:
            one_hot = F.one_hot(x.flatten(1), self.levels).to(self.bias.dtype)
            rank = torch.tensor(self.sequence()).argsort()
            past = (rank[None, :] < rank[:, None]).to("cpu")  # wrong: to(x.device)
            weight = self.hidden * past[:, None, :, None]
            return torch.einsum("ihjl,njl->nih", weight, one_hot).tanh()

    return Stray(config)


@mutant("autoregressive_model", rejected_by=[_M + "conditioning"])
def classes_unknown_to_the_network(config: Any) -> Any:
    """Conditioning is added to log_prob alone: the logits of all classes are the same."""
    if not config.num_classes:
        raise Unsupported("only wrong with classes")

    class Prior(_Network):
        def labels(self, x: Tensor, y: Tensor | None) -> Tensor:
            return super().labels(x, None)  # wrong: y

        def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            return super().log_prob(x, y) + 0.1 * self.bias.mean((1, 2))[y]

    return Prior(config)


# Theory ------------------------------------------------------------------------------------------


@mutant("theory", rejected_by=["theory.blind_spot"])
def receptive_field_taken_for_the_whole_past(pieces: Pieces) -> Pieces:
    """Believes that enough layers see everything before a pixel: the blind spot stays."""

    def whole(
        channels: int, height: int, width: int, blocks: int, first_kernel: int = 7, kernel: int = 3,
        device: Any = "cpu",
    ) -> Tensor:  # fmt: skip
        rank = torch.tensor(_raster((channels, height, width))).argsort()
        return rank[None, :] < rank[:, None]  # wrong: less the blind spot

    pieces.pixelcnn_receptive_field = whole  # type: ignore[attr-defined]
    return pieces


@mutant("theory", rejected_by=["theory.blind_spot"])
def layers_wrap_to_the_next_row(pieces: Any) -> Any:
    """An image padded at its right end only, then read as one line: the blind spot seems to close."""
    right = pieces.PixelCNN

    class Wrapped(right):  # type: ignore[misc, valid-type]
        def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            found = super().logits(x, y)
            before = F.pad(x.flatten(2)[:, :, :-1], (1, 0)).view(x.shape)  # wrong: pad each row
            return found + 0.1 * before[:, None]

    pieces.PixelCNN = Wrapped
    return pieces


@mutant("theory", rejected_by=["theory.masks_compose"])
def mask_b_without_its_centre(pieces: Any) -> Any:
    """Type B as strict as type A: each layer of a stack loses the nearest past."""
    right = pieces.raster_mask

    def strict(i: int, o: int, k: int, mask_type: str, n: int = 1, device: Any = None) -> Tensor:
        return right(i, o, k, "A", n, device)  # wrong: mask_type

    pieces.raster_mask = strict
    return pieces


@mutant("theory", rejected_by=["theory.masks_compose"])
def mask_a_with_its_centre(pieces: Any) -> Any:
    """Type A as open as type B: the stack sees what it predicts."""
    right = pieces.raster_mask

    def open_(i: int, o: int, k: int, mask_type: str, n: int = 1, device: Any = None) -> Tensor:
        return right(i, o, k, "B", n, device)  # wrong: mask_type

    pieces.raster_mask = open_
    return pieces


@mutant("theory", rejected_by=["theory.any_joint_is_a_product_of_conditionals"])
def marginals_taken_for_conditionals(pieces: Any) -> Any:
    """Each dimension's marginal in every row of its table: the product of independent dimensions."""
    right = pieces.TabularChainRule

    class Marginals(right):  # type: ignore[misc, valid-type]
        @classmethod
        def from_joint(cls, joint: Tensor, event_shape: Any) -> Any:
            model = right.from_joint(joint, event_shape)
            axes = range(joint.ndim)
            for i, table in enumerate(model.tables):
                marginal = joint.sum([a for a in axes if a != i]) if joint.ndim > 1 else joint
                same = marginal.log()  # wrong: for each prefix its conditional
                table.data = same.expand(table.shape).clone()
            return model

    pieces.TabularChainRule = Marginals
    return pieces


@mutant("theory", rejected_by=["theory.fvbn_log_odds_are_affine"])
def belief_network_with_pairs(pieces: Any) -> Any:
    """Products of earlier bits among the inputs: more than one logistic regression for each bit."""
    right = pieces.FullyVisibleBeliefNetwork

    class Pairs(right):  # type: ignore[misc, valid-type]
        def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            found = super().logits(x, y).clone()
            before = x.cumsum(1) - x
            found[:, 1] = found[:, 1] + 0.3 * (before >= 2).to(found.dtype)  # wrong: no pairs
            return found

    pieces.FullyVisibleBeliefNetwork = Pairs
    return pieces


@mutant("theory", rejected_by=["theory.fvbn_log_odds_are_affine"])
def belief_network_without_weights(pieces: Any) -> Any:
    """Biases alone: affine in nothing."""
    right = pieces.FullyVisibleBeliefNetwork

    class Biases(right):  # type: ignore[misc, valid-type]
        def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            return super().logits(torch.zeros_like(x), y)  # wrong: x

    pieces.FullyVisibleBeliefNetwork = Biases
    return pieces


@mutant("theory", rejected_by=["theory.passes_to_sample"])
def sampler_runs_the_network_for_known_entries(pieces: Any) -> Any:
    """A pass for every dimension, known or not: completion costs as much as sampling."""
    right = pieces.complete

    def wasteful(logits: Any, x: Tensor, known: Tensor, *rest: Any, **named: Any) -> Tensor:
        for _ in range(int(known.sum())):  # wrong: no passes for known entries
            logits(x)
        return right(logits, x, known, *rest, **named)

    pieces.complete = wasteful
    return pieces


@mutant("theory", rejected_by=["theory.passes_to_sample"])
def sampler_runs_the_network_once(pieces: Any) -> Any:
    """All dimensions drawn from one pass: as fast as it is wrong."""

    def once(logits: Any, n: int, event_shape: Any, *rest: Any, **named: Any) -> Tensor:
        empty = torch.zeros((n, *event_shape), dtype=torch.long)
        found = logits(empty).softmax(1)  # wrong: anew after each draw
        flat = found.flatten(2).transpose(1, 2).flatten(0, 1)
        return torch.multinomial(flat, 1, generator=named.get("generator")).view(n, *event_shape)

    pieces.sample = once
    return pieces


@mutant("theory", rejected_by=["theory.one_pass_to_train"])
def likelihood_runs_the_network_for_every_dimension(pieces: Any) -> Any:
    """The sampler's loop reused for training: as many passes as dimensions for one likelihood."""
    right = pieces.PixelCNN

    class Loop(right):  # type: ignore[misc, valid-type]
        def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            terms = []
            for i in range(x[0].numel()):  # wrong: one pass for all
                found = -F.cross_entropy(self.logits(x, y), x, reduction="none").flatten(1)
                terms.append(found[:, i])
            return torch.stack(terms).sum(0)

    pieces.PixelCNN = Loop
    return pieces
