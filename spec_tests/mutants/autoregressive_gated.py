r"""Known-wrong gated, conditional, multi-scale and cached PixelCNN.

Each is a right network with one method replaced: a small gated PixelCNN, a model of two scales made
of two of them, and a sampler that keeps the features of earlier pixels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spec_tests.registry import Unsupported, mutant

_M = "autoregressive_model."
_CAUSAL = _M + "causality"
_USES = _M + "uses_the_allowed_past"
_SAMPLER = _M + "sampler_matches_density"


def _noise(*shape: int) -> nn.Parameter:
    weight = torch.randn(shape)
    return nn.Parameter(weight / max(weight[0].numel(), 1) ** 0.5)


def _colour(channels: int, colours: int) -> Tensor:
    """The colour of every channel, in equal groups."""
    return torch.arange(channels) * colours // channels


class _Layer(nn.Module):
    """The weights of one gated layer; the masks let a colour see those before it, and its own."""

    def __init__(self, index: int, fan_in: int, p: int, config: Any) -> None:
        super().__init__()
        c, self.index, self.k = config.event_shape[0], index, 1 if index else 2
        self.vertical = _noise(2 * p, fan_in, self.k + 1, 2 * self.k + 1)
        self.row, self.link = _noise(2 * p, fan_in, 1, self.k + 1), _noise(2 * p, 2 * p, 1, 1)
        self.out, self.bias = _noise(p, p, 1, 1), nn.Parameter(torch.randn(2 * p) / 2)
        self.classes = _noise(max(config.num_classes, 1), 4 * p)
        self.register_buffer("row_mask", torch.ones(self.row.shape, dtype=torch.bool))
        before, after = _colour(fan_in, c), _colour(p, c)
        visible = before[None] <= after[:, None] if index else before[None] < after[:, None]
        self.row_mask[:, :, 0, -1] = visible.repeat(2, 1)
        self.register_buffer("out_mask", (after[None] <= after[:, None])[:, :, None, None])


class _Gated(nn.Module):
    """A right gated PixelCNN of three layers, whose receptive field is documented."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        if len(config.event_shape) != 3:
            raise Unsupported("images only")
        self.config, self.levels = config, config.levels
        c, p = config.event_shape[0], 2 * config.event_shape[0]
        self.layers = nn.ModuleList(_Layer(i, p if i else c, p, config) for i in range(3))
        self.head = _noise(c * config.levels, p, 1, 1)
        mask = _colour(p, c)[None] <= _colour(c * config.levels, c)[:, None]
        self.register_buffer("head_mask", mask[:, :, None, None])

    def sequence(self) -> list[int]:
        channels, height, width = self.config.event_shape
        return [c * height * width + p for p in range(height * width) for c in range(channels)]

    @property
    def receptive_field(self) -> Tensor:
        c, h, w = self.config.event_shape
        place, colour = torch.arange(c * h * w) % (h * w), torch.arange(c * h * w) // (h * w)
        up = (place // w)[:, None] - (place // w)[None]
        right = (place % w)[None] - (place % w)[:, None]
        above, left = (up >= 1) & (up <= 5) & (right.abs() <= 4), (right < 0) & (right >= -4)
        own = (right == 0) & (colour[None] < colour[:, None])
        return above | ((up == 0) & (left | own))

    def scaled(self, x: Tensor) -> Tensor:
        return 2 * x.to(self.head.dtype) / max(self.levels - 1, 1) - 1

    def term(self, layer: Any, x: Tensor, y: Tensor | None) -> Tensor:
        """What the condition adds to both stacks, (N, 4p, H or 1, W or 1)."""
        if y is None:
            return torch.zeros_like(layer.classes[:1, :, None, None])
        return layer.classes[y][:, :, None, None]

    def look_up(self, v: Tensor, layer: Any) -> Tensor:
        """The vertical convolution: whole rows, up to and with its own."""
        return F.conv2d(F.pad(v, (layer.k, layer.k, layer.k, 0)), layer.vertical, layer.bias)

    def down(self, above: Tensor) -> Tensor:
        return F.pad(above, (0, 0, 1, -1))

    def look_left(self, h: Tensor, layer: Any) -> Tensor:
        return F.conv2d(F.pad(h, (layer.k, 0)), layer.row * layer.row_mask)

    def gate(self, a: Tensor) -> Tensor:
        f, g = a.chunk(2, 1)
        return f.tanh() * g.sigmoid()

    def carried(self, h: Tensor, layer: Any) -> Tensor | float:
        """The residual connection: none around the first layer."""
        return h if layer.index else 0.0

    def advance(self, v: Tensor, h: Tensor, layer: Any, term: Tensor) -> tuple[Tensor, Tensor]:
        term_v, term_h = term.chunk(2, 1)
        above = self.look_up(v, layer) + term_v
        told = F.conv2d(self.down(above), layer.link)
        out = F.conv2d(
            self.gate(self.look_left(h, layer) + told + term_h), layer.out * layer.out_mask
        )
        return self.gate(above), self.carried(h, layer) + out

    def read(self, h: Tensor) -> Tensor:
        """Logits from the last layer's features."""
        found = F.conv2d(h.tanh(), self.head * self.head_mask)
        return found.unflatten(1, (-1, self.levels)).transpose(1, 2)

    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        v = h = self.scaled(x)
        for layer in self.layers:
            v, h = self.advance(v, h, layer, self.term(layer, x, y))
        return self.read(h)

    def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return -F.cross_entropy(self.logits(x, y), x, reduction="none").flatten(1).sum(1)

    def pick(self, found: Tensor, generator: torch.Generator | None) -> Tensor:
        return torch.multinomial(found.softmax(1), 1, generator=generator)[:, 0]

    def sample(self, n: int, y: Any = None, generator: Any = None) -> Tensor:
        x = torch.zeros((n, *self.config.event_shape), dtype=torch.long, device=self.head.device)
        for i in self.sequence():
            x.view(n, -1)[:, i] = self.pick(self.logits(x, y).flatten(2)[:, :, i], generator)
        return x


# The two stacks ----------------------------------------------------------------------------------


@mutant("autoregressive_model", rejected_by=[_CAUSAL, _M + "normalised"])
def vertical_stack_not_shifted(config: Any) -> Any:
    """The link reads the vertical features of the pixel's own row, which know all of that row."""

    class Unshifted(_Gated):
        def down(self, above: Tensor) -> Tensor:
            return above  # wrong: down by one row

    return Unshifted(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def vertical_stack_one_row_too_low(config: Any) -> Any:
    """Padded above and below like any convolution: shifted once, it still reads the pixel's row."""

    class Low(_Gated):
        def look_up(self, v: Tensor, layer: Any) -> Tensor:
            k = layer.k
            rows = F.pad(v, (k, k, k - 1, 1))  # wrong: (k, k, k, 0), nothing below
            return F.conv2d(rows, layer.vertical, layer.bias)

    return Low(config)


@mutant("autoregressive_model", rejected_by=[_USES])
def vertical_stack_shifted_twice(config: Any) -> Any:
    """Shifted in the convolution and again at the link: of the row above only the left half is seen."""

    class Twice(_Gated):
        def down(self, above: Tensor) -> Tensor:
            return super().down(super().down(above))  # wrong: once

    return Twice(config)


@mutant("autoregressive_model", rejected_by=[_USES])
def vertical_stack_not_linked(config: Any) -> Any:
    """The vertical stack is computed and never told to the horizontal one: each row is alone."""

    class Alone(_Gated):
        def down(self, above: Tensor) -> Tensor:
            return torch.zeros_like(above)  # wrong: above, down by one row

    return Alone(config)


@mutant("autoregressive_model", rejected_by=[_USES])
def vertical_stack_masked_like_pixelcnn(config: Any) -> Any:
    """A mask of type B on the vertical kernel, which needs none: the blind spot is back."""

    class Masked(_Gated):
        def look_up(self, v: Tensor, layer: Any) -> Tensor:
            mask = torch.ones_like(layer.vertical)
            mask[:, :, -1, layer.k + 1 :] = 0  # wrong: 1: nothing is masked
            return F.conv2d(
                F.pad(v, (layer.k, layer.k, layer.k, 0)), layer.vertical * mask, layer.bias
            )

    return Masked(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def horizontal_mask_b_in_the_first_layer(config: Any) -> Any:
    """Type B throughout: the first row convolution sees the pixel that is to be predicted."""
    model = _Gated(config)
    first = model.layers[0].row_mask
    before, after = torch.arange(first.shape[1]), _colour(len(first) // 2, first.shape[1])
    first[:, :, 0, -1] = (before[None] <= after[:, None]).repeat(2, 1)  # wrong: <
    return model


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def residual_from_the_image(config: Any) -> Any:
    """The residual connection goes around the first layer too, where h is the image itself."""

    class Residual(_Gated):
        def carried(self, h: Tensor, layer: Any) -> Tensor | float:
            return h if layer.index else h.repeat_interleave(2, 1)  # wrong: else 0.0

    return Residual(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def third_layer_leaks(config: Any) -> Any:
    """The third row convolution alone is padded on the wrong side: it looks one pixel to the right."""

    class Leaky(_Gated):
        def look_left(self, h: Tensor, layer: Any) -> Tensor:
            aside = (layer.k - 1, 1) if layer.index == 2 else (layer.k, 0)  # wrong: (layer.k, 0)
            return F.conv2d(F.pad(h, aside), layer.row * layer.row_mask)

    return Leaky(config)


def _coloured(config: Any) -> None:
    if config.event_shape[0] != 3:
        raise Unsupported("only wrong with colours")


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def gate_halves_interleaved(config: Any) -> Any:
    """Even channels are gated by odd ones, where each half was masked as a half: G passes for R."""
    _coloured(config)

    class Interleaved(_Gated):
        def gate(self, a: Tensor) -> Tensor:
            return a[:, ::2].tanh() * a[:, 1::2].sigmoid()  # wrong: a.chunk(2, 1)

    return Interleaved(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def gate_masked_as_a_whole(config: Any) -> Any:
    """One mask for all 2p features, thirds of the whole: split in half, R is gated by G."""
    _coloured(config)
    model = _Gated(config)
    for layer in model.layers:
        wide, fan_in = layer.row.shape[:2]
        before, after = _colour(fan_in, 3), _colour(wide, 3)  # wrong: of each half
        visible = before[None] <= after[:, None] if layer.index else before[None] < after[:, None]
        layer.row_mask[:, :, 0, -1] = visible
    return model


# Conditions --------------------------------------------------------------------------------------


@mutant("autoregressive_model", rejected_by=[_CAUSAL, _M + "normalised"])
def conditioned_on_the_target(config: Any) -> Any:
    """The spatial map is an encoding of x itself, which needs no mask if it is of another image."""

    class Autoencoder(_Gated):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            c = config.event_shape[0]
            self.encoder = nn.Conv2d(c, 8 * c, 3, padding=1)

        def term(self, layer: Any, x: Tensor, y: Tensor | None) -> Tensor:
            return super().term(layer, x, y) + self.encoder(self.scaled(x))  # wrong: another image

    return Autoencoder(config)


@mutant("autoregressive_model", rejected_by=[_M + "train_and_eval_agree", _M + "conditioning"])
def class_embedding_in_training_only(config: Any) -> Any:
    """The class enters the first layer, through code that runs in train mode only."""
    if not config.num_classes:
        raise Unsupported("only wrong with classes")

    class Training(_Gated):
        def term(self, layer: Any, x: Tensor, y: Tensor | None) -> Tensor:
            told = self.training and layer.index == 0  # wrong: always
            return super().term(layer, x, y if told else None)

    return Training(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def class_opens_the_mask(config: Any) -> Any:
    """The class scales the row's kernel before it is masked, and the masked one is forgotten."""
    if not config.num_classes:
        raise Unsupported("only wrong with classes")

    class Opened(_Gated):
        def term(self, layer: Any, x: Tensor, y: Tensor | None) -> Tensor:
            found = super().term(layer, x, y)
            if y is None or layer.index:
                return found
            seen = F.conv2d(self.scaled(x), layer.row[:, :, :, -1:])  # wrong: times row_mask
            gated = layer.classes[y][:, :, None, None].sigmoid()
            return found + gated * torch.cat([torch.zeros_like(seen), seen], 1)

    return Opened(config)


# Two scales --------------------------------------------------------------------------------------


class _Map(_Gated):
    """A gated PixelCNN with a map of features in every layer."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        c = config.event_shape[0]
        self.encode = nn.Conv2d(c, 8 * c, 3, padding=1)

    def term(self, layer: Any, x: Tensor, y: Tensor | None) -> Tensor:
        return super().term(layer, x, y) + self.encode(self.shown(x))

    def shown(self, x: Tensor) -> Tensor:
        """Every other pixel, enlarged by repetition."""
        small = self.scaled(x[:, :, ::2, ::2])
        wide = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
        return wide[:, :, : x.shape[2], : x.shape[3]]


class _TwoScales(nn.Module):
    """A right model of two scales, which documents its order and not what it sees."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        if len(config.event_shape) != 3 or config.num_classes:
            raise Unsupported("images without classes only")
        self.config, (c, h, w) = config, config.event_shape
        shape = (c, (h + 1) // 2, (w + 1) // 2)
        self.small = _Gated(type(config)(shape, config.levels))
        self.large = _Map(config)

    @property
    def order(self) -> Tensor:
        _, h, w = self.config.event_shape
        plain = self.large.sequence()
        late = [i % (h * w) // w % 2 or i % w % 2 for i in plain]
        first = [i for i, is_late in zip(plain, late, strict=True) if not is_late]
        return torch.tensor(first + [i for i, is_late in zip(plain, late, strict=True) if is_late])

    def logits(self, x: Tensor) -> Tensor:
        found = self.large.logits(x).clone()
        found[:, :, :, ::2, ::2] = self.small.logits(x[:, :, ::2, ::2])
        return found

    def log_prob(self, x: Tensor) -> Tensor:
        return -F.cross_entropy(self.logits(x), x, reduction="none").flatten(1).sum(1)

    def sample(self, n: int, generator: Any = None) -> Tensor:
        device = self.large.head.device
        x = torch.zeros((n, *self.config.event_shape), dtype=torch.long, device=device)
        for i in self.order.tolist():
            found = self.logits(x).flatten(2)[:, :, i]
            x.view(n, -1)[:, i] = self.large.pick(found, generator)
        return x


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def multiscale_order_documented_as_raster(config: Any) -> Any:
    """Says nothing of its order, or raster: there the small image's last pixel is the future."""

    class Raster(_TwoScales):
        @property
        def order(self) -> Tensor:
            return torch.tensor(self.large.sequence())  # wrong: the small image first

    return Raster(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL, _M + "normalised"])
def small_image_predicted_from_itself(config: Any) -> Any:
    """The large network predicts every pixel, those of the small image given the small image."""

    class Circular(_TwoScales):
        def logits(self, x: Tensor) -> Tensor:
            return self.large.logits(x)  # wrong: self.small's where it is subsampled

    return Circular(config)


@mutant("autoregressive_model", rejected_by=[_M + "chain_rule", _M + "normalised"])
def small_image_counted_twice(config: Any) -> Any:
    """Adds the likelihoods of both images, and the large one holds the pixels of the small one."""

    class Twice(_TwoScales):
        def log_prob(self, x: Tensor) -> Tensor:
            whole = super().log_prob(x)
            return whole + self.small.log_prob(x[:, :, ::2, ::2])  # wrong: whole

    return Twice(config)


@mutant("autoregressive_model", rejected_by=[_SAMPLER])
def multiscale_draws_the_small_image_again(config: Any) -> Any:
    """Draws the small image, then all of the large one: its own pixels are overwritten on the way."""

    class Again(_TwoScales):
        def sample(self, n: int, generator: Any = None) -> Tensor:
            x = super().sample(n, generator)
            for i in self.large.sequence():  # wrong: nothing is left to draw
                found = self.large.logits(x).flatten(2)[:, :, i]
                x.view(n, -1)[:, i] = self.large.pick(found, generator)
            return x

    return Again(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def small_image_averaged_not_subsampled(config: Any) -> Any:
    """The map shows averages of the large image, in which the pixels to come have their part."""

    class Blurred(_Map):
        def shown(self, x: Tensor) -> Tensor:
            return F.avg_pool2d(super().scaled(x), 3, 1, 1)  # wrong: x[:, :, ::2, ::2], repeated

    model = _TwoScales(config)
    model.large = Blurred(config)
    return model


# Samplers that keep features ---------------------------------------------------------------------


class _Cached(_Gated):
    """A right sampler that keeps every layer's features of earlier pixels and writes one pixel's."""

    def opened(self, n: int) -> list[Tensor]:
        """Empty features: what the first layer is shown, and what each layer made of it."""
        _, h, w = self.config.event_shape
        width = [self.layers[0].row.shape[1], *(layer.out.shape[0] for layer in self.layers)]
        return [self.head.new_zeros(n, f, h, w) for f in width]

    def record(self, kept: list[Tensor], x: Tensor, row: int, column: int) -> None:
        kept[0][:, :, row, column] = self.scaled(x[:, :, row, column])

    def at(self, x: Tensor, y: Any, kept: list[Tensor], row: int, column: int) -> Tensor:
        """The pixel's logits (N, K, C), its features kept; rows above are read from x."""
        v = self.scaled(x)
        for i, layer in enumerate(self.layers):
            v, h = self.advance(v, kept[i], layer, self.term(layer, x, y))
            kept[i + 1][:, :, row, column] = h[:, :, row, column]
        return self.read(kept[-1])[..., row, column]

    def pixel(
        self, x: Tensor, y: Any, kept: list[Tensor], row: int, column: int, generator: Any
    ) -> None:
        for c in range(x.shape[1]):
            found = self.at(x, y, kept, row, column)[:, :, c]
            x[:, c, row, column] = self.pick(found, generator)
            self.record(kept, x, row, column)

    @torch.no_grad()
    def sample(self, n: int, y: Any = None, generator: Any = None) -> Tensor:
        x = torch.zeros((n, *self.config.event_shape), dtype=torch.long, device=self.head.device)
        kept = self.opened(n)
        for row in range(x.shape[2]):
            for column in range(x.shape[3]):
                self.pixel(x, y, kept, row, column, generator)
        return x


@mutant("autoregressive_model", rejected_by=[_SAMPLER])
def cache_stale_by_one_pixel(config: Any) -> Any:
    """Records a pixel when the next one is reached: the nearest pixel is missing from the features."""

    class Stale(_Cached):
        def record(self, kept: list[Tensor], x: Tensor, row: int, column: int) -> None:
            if column:
                super().record(kept, x, row, column - 1)  # wrong: column, at once

    return Stale(config)


@mutant("autoregressive_model", rejected_by=[_SAMPLER])
def cache_kept_between_calls(config: Any) -> Any:
    """Features that are there are not computed again, also those of the images of the last call."""

    class Kept(_Cached):
        def opened(self, n: int) -> list[Tensor]:
            caches = self.__dict__.setdefault("caches", {})
            return caches.setdefault(n, super().opened(n))  # wrong: a fresh one

        def at(self, x: Tensor, y: Any, kept: list[Tensor], row: int, column: int) -> Tensor:
            if bool((kept[-1][:, :, row, column] != 0).any()) and x.shape[1] == 1:
                return self.read(kept[-1])[..., row, column]
            return super().at(x, y, kept, row, column)

    return Kept(config)


@mutant("autoregressive_model", rejected_by=[_SAMPLER])
def colours_drawn_from_one_cache(config: Any) -> Any:
    """R, G and B of a pixel are drawn at one go: G never hears of the R that was drawn."""
    _coloured(config)

    class Together(_Cached):
        def pixel(
            self, x: Tensor, y: Any, kept: list[Tensor], row: int, column: int, generator: Any
        ) -> None:
            found = self.at(x, y, kept, row, column)  # wrong: for each colour, after the last
            for c in range(x.shape[1]):
                x[:, c, row, column] = self.pick(found[:, :, c], generator)
            self.record(kept, x, row, column)

    return Together(config)


@mutant("autoregressive_model", rejected_by=[_SAMPLER])
def row_cache_runs_on_into_the_next_row(config: Any) -> Any:
    """One line of features for all rows: the first pixel of a row finds the end of the one above."""

    class Line(_Cached):
        def at(self, x: Tensor, y: Any, kept: list[Tensor], row: int, column: int) -> Tensor:
            self.running = True
            try:
                return super().at(x, y, kept, row, column)
            finally:
                self.running = False

        def look_left(self, h: Tensor, layer: Any) -> Tensor:
            if not getattr(self, "running", False):
                return super().look_left(h, layer)
            line = F.pad(h.flatten(2), (layer.k, 0))[:, :, None]  # wrong: each row for itself
            found = F.conv2d(line, layer.row * layer.row_mask)
            return found.view(*found.shape[:2], *h.shape[2:])

    return Line(config)


@mutant("autoregressive_model", rejected_by=[_SAMPLER])
def vertical_rows_computed_too_early(config: Any) -> Any:
    """A row's vertical features are computed at its first pixel, when the row is still blank."""

    class Early(_Cached):
        def pixel(
            self, x: Tensor, y: Any, kept: list[Tensor], row: int, column: int, generator: Any
        ) -> None:
            if column == 0:
                self.blank = x.clone()
                self.blank[:, :, max(row - 1, 0) :] = 0
            super().pixel(x, y, kept, row, column, generator)

        def at(self, x: Tensor, y: Any, kept: list[Tensor], row: int, column: int) -> Tensor:
            return super().at(self.blank, y, kept, row, column)  # wrong: x

    return Early(config)


# Theory ------------------------------------------------------------------------------------------


@mutant("theory", rejected_by=["theory.gated_pixelcnn_has_no_blind_spot"])
def two_stacks_believed_to_be_one(pieces: Any) -> Any:
    """Documents the composed masks of PixelCNN: less than the two stacks see."""
    right = pieces.pixelcnn_receptive_field

    def masks(*sizes: int, condition: Any = None, device: Any = "cpu") -> Tensor:
        return right(*sizes, device=device)  # wrong: two stacks' masks

    pieces.gated_pixelcnn_receptive_field = masks
    return pieces


@mutant("theory", rejected_by=["theory.gated_pixelcnn_has_no_blind_spot"])
def vertical_kernel_cut_at_its_pixel(pieces: Any) -> Any:
    """The vertical kernels are masked in their own row, as PixelCNN's are: it has the blind spot."""
    right = pieces.GatedPixelCNN

    class Cut(right):  # type: ignore[misc, valid-type]
        def features(self, x: Tensor, terms: Any = None) -> Tensor:
            with torch.no_grad():
                for layer in self.layers:
                    layer.vertical.weight[:, :, -1, layer.k + 1 :] = 0  # wrong: as it is
            return super().features(x, terms)

    pieces.GatedPixelCNN = Cut
    return pieces


@mutant("theory", rejected_by=["theory.cached_pixelcnn_is_naive"])
def cache_told_too_late(pieces: Any) -> Any:
    """Records each pixel when the next is asked for, and by then in the wrong place."""
    right = pieces.PixelCNNCache

    class Late(right):  # type: ignore[misc, valid-type]
        waiting: Any = None

        def record(self, row: int, column: int, pixel: Tensor) -> None:
            if self.waiting is not None:
                super().record(*self.waiting)  # wrong: row, column, pixel, at once
            self.waiting = row, column, pixel

    pieces.PixelCNNCache = Late
    return pieces


@mutant("theory", rejected_by=["theory.cached_pixelcnn_is_naive"])
def cache_keeps_its_first_images(pieces: Any) -> Any:
    """The vertical stack's rows are computed when a cache is first used, and never again."""
    right = pieces.GatedPixelCNNCache

    class Once(right):  # type: ignore[misc, valid-type]
        def logits(self, row: int, column: int) -> Tensor:
            told = self.__dict__.setdefault("told", {})
            found = super().logits(row, column)
            return told.setdefault((row, column), found) if row else found  # wrong: found

    pieces.GatedPixelCNNCache = Once
    return pieces


@mutant("theory", rejected_by=["theory.cached_pixelcnn_is_naive"])
def cached_completion_starts_anew(pieces: Any) -> Any:
    """Samples and pastes the known entries over the sample: what follows never heard of them."""
    sample = pieces.cached_sample

    def pastes(cache: Any, x: Tensor, known: Tensor, generator: Any = None) -> Tensor:
        return torch.where(known, x, sample(cache, generator))  # wrong: draw the rest given them

    pieces.cached_complete = pastes
    return pieces


@mutant("theory", rejected_by=["theory.cached_sampling_costs_one_pass"])
def cache_computes_the_whole_image(pieces: Any) -> Any:
    """A pass over the whole image for every pixel, of which one column is used: right, and slow."""

    class Whole:
        def __init__(self, model: Any, n: int, y: Any = None) -> None:
            self.step = model.logits if y is None else lambda x: model.logits(x, y)
            self.blank = torch.zeros((n, *model.event_shape), dtype=torch.long)
            self.x = self.blank.clone()

        def logits(self, row: int, column: int) -> Tensor:
            found: Tensor = self.step(self.x)[..., row, column]  # wrong: from features kept
            return found

        def record(self, row: int, column: int, pixel: Tensor) -> None:
            self.x[:, :, row, column] = pixel

    pieces.PixelCNNCache = Whole
    return pieces


@mutant("theory", rejected_by=["theory.conditioning_enters_every_pixel"])
def map_pooled_to_a_vector(pieces: Any) -> Any:
    """The map is averaged over the image before it enters: every pixel hears of every place."""
    right = pieces.ConditionalPixelCNN

    class Pooled(right):  # type: ignore[misc, valid-type]
        def logits(
            self, x: Tensor, y: Any = None, embedding: Any = None, spatial: Any = None
        ) -> Any:
            mean = spatial.mean((2, 3), keepdim=True).expand_as(spatial)
            return super().logits(x, y, embedding, mean)  # wrong: spatial

    pieces.ConditionalPixelCNN = Pooled
    return pieces


@mutant("theory", rejected_by=["theory.conditioning_enters_every_pixel"])
def map_shifted_with_the_vertical_stack(pieces: Any) -> Any:
    """The map goes down a row as the pixels must: a pixel hears of every place but its own."""
    right = pieces.ConditionalPixelCNN

    class Shifted(right):  # type: ignore[misc, valid-type]
        def logits(
            self, x: Tensor, y: Any = None, embedding: Any = None, spatial: Any = None
        ) -> Any:
            return super().logits(x, y, embedding, F.pad(spatial, (0, 0, 1, -1)))  # wrong: spatial

    pieces.ConditionalPixelCNN = Shifted
    return pieces


@mutant("theory", rejected_by=["theory.conditioning_enters_every_pixel"])
def embedding_shown_to_the_first_pixel(pieces: Any) -> Any:
    """The vector takes the place of a pixel before the first, as if it were one: row 0 hears of it."""
    right = pieces.ConditionalPixelCNN

    class Started(right):  # type: ignore[misc, valid-type]
        def terms(self, x: Tensor, *given: Any) -> Any:
            found = super().terms(x, *given)
            without = super().terms(x, given[0], torch.zeros_like(given[1]), given[2])
            top = torch.zeros_like(without[0])
            top[:, :, :1] = 1  # wrong: every row
            return [w + top * (f - w) for f, w in zip(found, without, strict=True)]

    pieces.ConditionalPixelCNN = Started
    return pieces


@mutant("theory", rejected_by=["theory.conditioning_enters_every_pixel"])
def map_multiplied_by_the_image(pieces: Any) -> Any:
    """The condition modulates the image before its first, strict layer is through with it."""
    right = pieces.ConditionalPixelCNN

    class Modulated(right):  # type: ignore[misc, valid-type]
        def terms(self, x: Tensor, *given: Any) -> Any:
            return [term * (1 + 0.1 * x[:, :1]) for term in super().terms(x, *given)]  # wrong: no x

    pieces.ConditionalPixelCNN = Modulated
    return pieces


@mutant("theory", rejected_by=["theory.multiscale_is_one_density"])
def likelihoods_of_both_scales_added(pieces: Any) -> Any:
    """Adds the small image's likelihood to that of the large one, of which it is a part."""
    right = pieces.MultiscalePixelCNN

    class Added(right):  # type: ignore[misc, valid-type]
        def log_prob(self, x: Tensor) -> Tensor:
            f = self.factor
            whole = super().log_prob(x)
            return whole + self.small.log_prob(x[:, :, ::f, ::f])  # wrong: whole

    pieces.MultiscalePixelCNN = Added
    return pieces


@mutant("theory", rejected_by=["theory.multiscale_is_one_density"])
def small_image_drawn_by_the_large_network(pieces: Any) -> Any:
    """The large network, shown no small image, predicts all pixels: a density, but another's."""
    right = pieces.MultiscalePixelCNN

    class Ignored(right):  # type: ignore[misc, valid-type]
        def logits(self, x: Tensor) -> Tensor:
            found: Tensor = self.large.image.logits(x)  # wrong: self.small's for its pixels
            return found

    pieces.MultiscalePixelCNN = Ignored
    return pieces
