"""Operations on whole batches of images and labels: mixup and cutmix.

A batch is mixed with itself, moved on by half its length, so that every image has a partner that is
another one. One kind of mixing, one share and one place are drawn for a whole batch, from the
random numbers of its first image: they are keyed by (seed, epoch, index of that image), and depend
neither on threads nor on where a training began.

Labels are mixed before the loss smooths them. As smoothing is linear this is the same as mixing
smoothed labels, which is what timm does.
"""

import dataclasses
from collections.abc import Iterable
from typing import ClassVar

import tensorflow as tf

from keras_resnets.data.augment import parse_fields
from keras_resnets.data.operations import Operation
from keras_resnets.data.randomness import keyed_seeds
from keras_resnets.data.recorded import restored
from keras_resnets.errors import UserError


@dataclasses.dataclass(frozen=True)
class Mix(Operation):
    """One way of mixing a batch with another.

    Calling it with images `(batch, height, width, channels)`, labels `(batch, classes)`, the
    partners' images and labels, the share that is kept (a scalar in 0..1) and two uniform numbers
    in [0, 1) returns the mixed images and labels.

    Args:
        p: Float in 0..1. Share of the batches that are mixed in this way. Those that have none
            share what is left equally. Defaults to `None`.
        alpha: Float. The share that is kept is drawn from Beta(alpha, alpha). Defaults to 1.
    """

    p: float | None = None
    alpha: float = 1.0

    def __post_init__(self):
        self._require("p", self.p is None or 0 <= self.p <= 1, "in 0..1")
        self._require("alpha", 0 < self.alpha < float("inf"), "above 0")


@dataclasses.dataclass(frozen=True)
class Mixup(Mix):
    """Weighted means of two images and their labels (Zhang et al. 2018).

    Args:
        alpha: Float; 0.2 for ImageNet, 1 for CIFAR in the article. Defaults to 0.2.
    """

    alpha: float = 0.2

    def __call__(self, images, labels, partners, partner_labels, kept, place):
        return (
            kept * images + (1 - kept) * partners,
            kept * labels + (1 - kept) * partner_labels,
        )


@dataclasses.dataclass(frozen=True)
class Cutmix(Mix):
    """A rectangle of another image, whose label counts by its area (Yun et al. 2019).

    As the authors' code: the rectangle has the image's shape and the share `1 - kept` of its area,
    a centre anywhere in the image, and what lies beyond is cut off; the labels are mixed by what is
    left of it.
    """

    def __call__(self, images, labels, partners, partner_labels, kept, place):
        size = tf.cast(tf.shape(images)[1:3], tf.float32)
        half = tf.floor(tf.floor(size * tf.sqrt(1 - kept)) / 2)
        centre = tf.floor(place * size)
        low, high = tf.maximum(centre - half, 0.0), tf.minimum(centre + half, size)
        rows, columns = (
            (tf.range(size[axis]) >= low[axis]) & (tf.range(size[axis]) < high[axis])
            for axis in (0, 1)
        )
        mask = (rows[:, None] & columns[None])[None, :, :, None]
        kept = 1 - tf.reduce_prod(high - low) / tf.reduce_prod(size)
        return (
            tf.where(mask, partners, images),
            kept * labels + (1 - kept) * partner_labels,
        )


MIXES = {kind.word(): kind for kind in (Mixup, Cutmix)}


@dataclasses.dataclass(frozen=True)
class Mixing(Operation):
    """A choice among ways of mixing, one for each batch.

    Args:
        mixes: Tuple of `Mix`, whose `p` are numbers that sum to 1 at most.
    """

    mixes: tuple = ()
    numbers: ClassVar[int] = 5

    @property
    def shares(self):
        """The share of the batches that each of `mixes` is given."""
        given = sum(mix.p for mix in self.mixes if mix.p is not None)
        open_ones = sum(mix.p is None for mix in self.mixes)
        return tuple(
            (1 - given) / open_ones if mix.p is None else mix.p for mix in self.mixes
        )

    def __call__(self, images, labels, numbers):
        """Mixes a batch.

        Args:
            images: float32 tensor `(batch, height, width, channels)`.
            labels: float32 tensor `(batch, classes)`.
            numbers: float32 tensor `(batch, 5)` in [0, 1), as `augment.draw` makes them.

        Returns:
            Tuple of images and labels.
        """
        numbers = numbers[0]
        bounds = tf.cumsum(tf.constant(self.shares, tf.float32))
        choice = tf.reduce_sum(tf.cast(numbers[0] >= bounds, tf.int32))
        alphas = tf.constant([mix.alpha for mix in self.mixes] + [1.0])
        kept = symmetric_beta(tf.gather(alphas, choice), numbers[1:3])
        half = tf.shape(images)[0] // 2
        partners, partner_labels = tf.roll(images, half, 0), tf.roll(labels, half, 0)

        def mixed(mix):
            return lambda: mix(images, labels, partners, partner_labels, kept, numbers[3:5])

        branches = [*map(mixed, self.mixes), lambda: (images, labels)]
        made, made_labels = tf.switch_case(choice, branches)
        return tf.ensure_shape(made, images.shape), tf.ensure_shape(made_labels, labels.shape)


def parse_mix(mix):
    """Reads ways of mixing: `"mixup:alpha=0.2,cutmix:alpha=1.0:p=0.5"`, or a sequence of them.

    Each batch is mixed in one of the ways or in none: here half of them by cutmix and the rest by
    mixup. timm's `mixup_prob` and `switch_prob` are the two `p`: `mixup_prob * (1 - switch_prob)`
    and `mixup_prob * switch_prob`; torchvision's random choice of the two has none.

    Args:
        mix: String of descriptions with commas between them; or sequence of such descriptions and
            of `Mix`, those of your own too.

    Returns:
        `Mixing`, or `None` if there are no ways.

    Raises:
        ValueError: If a way, an argument or a value is not legal, or the `p` sum to more than 1.
    """
    if isinstance(mix, str):
        mix = mix.split(",") if mix.strip() else ()
    elif not isinstance(mix, Iterable):
        mix = (mix,)
    mixes = tuple(_parse(entry) for entry in mix)
    given = [way.p for way in mixes if way.p is not None]
    if sum(given) > 1 + 1e-6:
        raise UserError(
            "`mix` must have `p` that sum to 1 at most, the share of all batches that are mixed. "
            f"Received: {' + '.join(map(str, given))}"
        )
    return Mixing(mixes=mixes) if mixes else None


def symmetric_beta(alpha, numbers):
    """A draw from Beta(alpha, alpha).

    Args:
        alpha: float32 scalar tensor.
        numbers: float32 tensor `(2,)` of uniform numbers, which key the draw.
    """
    seed = keyed_seeds(numbers)
    # Gamma(alpha) is Gamma(alpha + 1) times U^(1 / alpha), whose logarithm never underflows.
    gammas = tf.random.stateless_gamma((2,), seed, alpha + 1)
    uniforms = tf.random.stateless_uniform((2,), seed, minval=1e-30)
    logarithms = tf.math.log(gammas) + tf.math.log(uniforms) / alpha
    return tf.sigmoid(logarithms[0] - logarithms[1])


def _parse(description):
    description = restored("mix", description)
    if isinstance(description, Mix):
        return description
    text = description.strip() if isinstance(description, str) else ""
    name = text.split(":")[0]
    if name not in MIXES:
        raise UserError(
            f"`mix` must name ways of {', '.join(MIXES)}, or be Mixes. Received: {description!r}"
        )
    return parse_fields(MIXES[name], text)
