"""The options of every family, and what follows from them for all its layers."""

import abc
import dataclasses
import functools
import json
import os
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import keras
import numpy as np

from keras_resnets import layers
from keras_resnets.checks import Count, Rate, check_choice, check_fields, is_count, must
from keras_resnets.errors import UserError
from keras_resnets.layers.padding import SamePadding
from keras_resnets.models.assembly import Trunk
from keras_resnets.models.stems import STEMS, Stem

NORMS = {
    "batch": layers.BatchNormalization,
    "sync_batch": functools.partial(layers.BatchNormalization, synchronized=True),
    "group": layers.GroupNormalization,
}


class Unused(NamedTuple):
    """Options that have no effect, and must hence keep their defaults.

    Attributes:
        names: Tuple of strings.
        reason: String: `"skip='identity'"`.
        because: String, the option that makes it so.
    """

    names: tuple[str, ...]
    reason: str
    because: str


class UnusedOption(UserError):
    """An option that has no effect differs from its default.

    Attributes:
        option: String, its name.
    """

    def __init__(self, message, option):
        super().__init__(message)
        self.option = option


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(abc.ABC):
    """What the networks of every family have.

    A family is a subclass: a frozen, keyword-only dataclass with its own options, a docstring that
    documents them, `trunk`, and, where not every combination is legal or has an effect, `check` and
    `unused`. Literals, booleans and the types of `keras_resnets.checks` are checked by the fields'
    types.

    Options of every family:
        num_classes: Int. Outputs of the classifier.
        input_shape: `(height, width, channels)`; sides may be `None`. Defaults to the stem's,
            `(224, 224, 3)` for imagenet, `(32, 32, 3)` for cifar, and without top to
            `(None, None, 3)`.
        weights: String or path: trained weights to start from, `None` for new ones. The name of a
            set (`"IMAGENET1K_V2"`, see `keras_resnets.weights.SETS`) or a file of torch.save,
            safetensors, NumPy or Keras; options that are not given are then those of its network.
            No part of `Network.options`.
        stem: `"imagenet"` (7x7 stride 2, max-pool; sides from 32) or `"cifar"` (3x3 stride 1;
            sides from 8).
        stem_width: Int. Channels of the stem. `None` is the family's own rule, most often the
            width of the first stage.
        norm: `"batch"`, `"sync_batch"` (statistics over all replicas) or `"group"` (32 groups of
            channels; where 32 does not divide the channels, the greatest common divisor of both).
        padding: What surrounds a map where a convolution or the stem's pool has a stride:
            `"symmetric"`, as in torch and Caffe, or `"tensorflow"`, TensorFlow's own `SAME`, which
            networks that were trained in TensorFlow need to give their outputs.
        include_top: Boolean. `False` ends in the last feature map.
        pooling: `None`, `"avg"` or `"max"`: the global pool, also without top. With the top,
            `None` means `"avg"`.
        classifier_activation: `None` (float32 logits) or a Keras activation such as `"softmax"`.
        head_dropout: Float in [0, 1). Dropout before the classifier.
        name: String. Name of the model, which must differ where two are parts of a third. Defaults
            to the registry name.
    """

    num_classes: Count = 1000
    input_shape: tuple[int | None, int | None, int] | None = None
    weights: dataclasses.InitVar[str | os.PathLike[str] | None] = None  # the builder's, not kept
    stem: str | None = "imagenet"
    stem_width: Count | None = None
    norm: Literal["batch", "sync_batch", "group"] = "batch"
    padding: SamePadding = "symmetric"
    include_top: bool = True
    pooling: Literal["avg", "max"] | None = None
    classifier_activation: str | None = None
    head_dropout: Rate = 0.0
    name: str | None = None

    # Options with which a net computes the same, or the same up to its head, from the same weights:
    # a file of weights loads across them. Each class says its own.
    interchangeable: ClassVar[tuple[str, ...]] = (
        *("num_classes", "input_shape", "include_top", "pooling", "classifier_activation"),
        *("head_dropout", "name"),
        "stem_width",  # shows in the shapes
    )
    # What a family may have of its own, for all its networks.
    stems: ClassVar[Mapping[str | None, Stem]] = STEMS
    epsilon: ClassVar[float | None] = None
    kernel_initializer: ClassVar[Any] = None

    def __post_init__(self, weights):
        for field in dataclasses.fields(self):
            value = as_python(field.name, getattr(self, field.name))
            object.__setattr__(self, field.name, value)
        check_fields(self)
        check_choice("stem", self.stem, self.stems)
        if self.input_shape is None:
            *sides, channels = self.stems[self.stem].default_shape
            sides = sides if self.include_top else (None, None)
            object.__setattr__(self, "input_shape", (*sides, channels))
        self._refuse_unused()
        for cls in reversed(type(self).__mro__):
            if "check" in vars(cls):
                vars(cls)["check"](self)

    def check(self):
        """Raises a ValueError unless the options fit together. Each base class' own is called."""
        activation = self.classifier_activation
        is_known = activation is None or (
            isinstance(activation, str)
            and activation.isidentifier()
            and not activation.startswith("_")
            and activation not in ("get", "serialize", "deserialize")
            and hasattr(keras.activations, activation)
        )
        legal = "None or the name of a Keras activation"
        must("classifier_activation", activation, is_known, legal)
        is_name = isinstance(self.name, str) and self.name and "/" not in self.name
        must("name", self.name, self.name is None or is_name, "None or a string without slashes")
        shape, smallest = self.input_shape, self.stems[self.stem].smallest_side
        is_shape = (
            isinstance(shape, tuple)
            and len(shape) == 3
            and all(side is None or (is_count(side) and side >= smallest) for side in shape[:2])
            and is_count(shape[2])
        )
        legal = (
            f"(height, width, channels), sides None or from {smallest} up for "
            f"stem={self.stem!r}, channels from 1 up"
        )
        must("input_shape", shape, is_shape, legal)

    @abc.abstractmethod
    def trunk(self) -> Trunk:
        """The stem, stages and end of the network that these options describe."""

    def wiring(self):
        """What decides what a net computes from given weights: dictionary of options."""
        free = {
            name for cls in type(self).__mro__ for name in vars(cls).get("interchangeable", ())
        }
        options = {k: v for k, v in dataclasses.asdict(self).items() if k not in free}
        # Both normalize alike; they differ in what they take the statistics of a batch from.
        return options | {"norm": self.norm.removeprefix("sync_")}

    def build_stem(self, image, width, **arguments):
        """The maps of the stem, `width` channels wide unless `stem_width` says otherwise."""
        stem = self.stems[self.stem]
        return stem.build(image, self.stem_width or width, net=self, **arguments)

    def conv(self, filters, kernel_size, **arguments):
        """A convolution of this network: its padding, and its family's initialiser."""
        if self.kernel_initializer:
            arguments.setdefault("kernel_initializer", self.kernel_initializer)
        return layers.Conv2D(filters, kernel_size, same_padding=self.padding, **arguments)

    def normalization(self, **arguments):
        """A normalization layer of this network, with its family's epsilon."""
        if self.epsilon:
            arguments.setdefault("epsilon", self.epsilon)
        return NORMS[self.norm](**arguments)

    def max_pool(self, pool_size, **arguments):
        """A max-pool of this network: its padding."""
        return layers.MaxPooling2D(pool_size, same_padding=self.padding, **arguments)

    def _refuse_unused(self):
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for unused in self.all_unused():
            for name in unused.names:
                value = getattr(self, name)
                if value != defaults[name]:
                    raise UnusedOption(
                        f"`{name}` must be {defaults[name]!r} with {unused.reason}, which does "
                        f"not use it. Received: {name}={value!r}",
                        name,
                    )

    def all_unused(self):
        """Yields what the `unused` of the class and of each of its bases yield."""
        for cls in reversed(type(self).__mro__):
            if "unused" in vars(cls):
                yield from vars(cls)["unused"](self)


def without_unused(options, given):
    """The given options less those that have no effect, which the first format of files let pass.

    Args:
        options: Subclass of `Options`.
        given: Dictionary.

    Returns:
        Dictionary.
    """
    given = dict(given)
    while True:
        try:
            options(**given)
            return given
        except UnusedOption as error:
            del given[error.option]


def as_python(key, value):
    """A list as a tuple, a NumPy number as Python's: what JSON can say and gives back.

    Raises:
        ValueError: If JSON cannot say it.
    """
    if isinstance(value, list | tuple):
        value = tuple(as_python(key, part) for part in value)
    value = value.item() if isinstance(value, np.generic) else value
    try:
        json.dumps(value)
    except TypeError:
        must(key, value, False, "a number, string, boolean, tuple or None")
    return value
