"""Augmentation by Keras layers, those of keras-cv, and functions of one's own.

Such layers draw from generators with a state, which runs of several threads would share. Here a
layer is traced once, image by image, and each of its draws is replaced with a stateless one keyed
by the random numbers of its image: results depend on (seed, epoch, index) alone. What draws in
another way is refused.
"""

import contextlib
import dataclasses
import functools
import importlib
import inspect
import re
import threading
from collections.abc import Callable
from typing import ClassVar
from unittest import mock

import tensorflow as tf

from keras_resnets.data.later import Later
from keras_resnets.data.operations import Operation
from keras_resnets.data.randomness import keyed_seeds, same_numbers
from keras_resnets.data.texts import literal
from keras_resnets.errors import UserError

MODULES = {"keras_cv": "keras_cv.layers", "keras": "keras.layers"}
# What keras-cv alone has, by the words of descriptions.
WORDS = {
    "aug_mix": "AugMix",
    "grid_mask": "GridMask",
    "channel_shuffle": "ChannelShuffle",
    "channel_shift": "RandomChannelShift",
    "jpeg_quality": "RandomJpegQuality",
}
# Arguments that have no default, as they may be given.
_NEEDED = {"RandomJpegQuality": "factor=(50, 90)", "RandomChannelShift": "factor=0.3"}
_OF_UNITS = ("RandomJpegQuality",)  # takes images in 0..1, and says so nowhere
_OF_BATCHES = ("CutMix", "FourierMix", "MixUp", "Mosaic")
_STATEFUL = re.compile(
    r"Random(?!Dataset)\w+|Stateful(?!PartitionedCall)\w+|\w*TruncatedNormal|Multinomial|Rng\w+"
    r"|NonDeterministicInts"
)
_here = threading.local()
_patching = threading.RLock()


@dataclasses.dataclass(frozen=True)
class EachImage(Operation):
    """Applies a Keras layer, or a function of one image, to each image with probability `p`.

    `parse_augment` makes it of `keras_cv:GridMask:ratio_factor=0.5` (a class of `keras_cv.layers`;
    `keras:` of `keras.layers`) and of layers and functions in a sequence. Draws of `tf.random`, of
    `tf.random.Generator`s and of Keras' random functions are keyed by the image. Others cannot be:
    those of `tf.image.random_*` are refused, and numbers of Python's or NumPy's are drawn once and
    for all, the same ones in every run.

    Args:
        p: Float in 0..1. Probability. Defaults to 1.
        function: Keras layer; or function from a float32 image `(height, width, channels)` in
            0..255 to such an image.
        description: String, what errors call it.
    """

    function: Callable = None
    description: str = "function"
    _graphs: dict = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)
    numbers: ClassVar[int] = 3

    def __str__(self):
        return self.description

    def word(self):
        """What errors call it."""
        return self.description

    def __call__(self, images, numbers, context):
        images = tf.cast(images, tf.float32)
        shape = tuple(images.shape[1:])
        if shape not in self._graphs:
            self._graphs[shape] = self._traced(shape)
        traced = self._graphs[shape]
        signature = tf.TensorSpec(traced.structured_outputs.shape, tf.float32)
        seeds = keyed_seeds(numbers[:, 1:])

        def one(inputs):
            image, seed, chosen = inputs
            if self.p == 1:
                return traced(image, seed)
            return tf.cond(chosen, lambda: traced(image, seed), lambda: image)

        chosen = self._chosen(numbers)
        return tf.map_fn(one, (images, seeds, chosen), fn_output_signature=signature)

    def _traced(self, shape):
        """The function of an image and a seed `(2,)` as a graph."""

        def run(image, seed):
            with _keyed_by(_Stream(seed)):
                return tf.cast(self._call(image), tf.float32)

        specs = tf.TensorSpec(shape, tf.float32), tf.TensorSpec((2,), tf.int32)
        with _stateless_draws():
            for _ in range(2):  # a layer that is built meanwhile draws more, if not each time
                with same_numbers():
                    traced = tf.function(run).get_concrete_function(*specs)
        graph = traced.graph.as_graph_def()
        nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
        for node in nodes:
            if _STATEFUL.fullmatch(node.op):
                raise UserError(f"it draws by {node.op}, which no seed reaches")
        made = traced.structured_outputs.shape
        if made.rank != 3 or (self.p < 1 and made != tf.TensorShape(shape)):
            raise UserError(f"an image of {shape} must stay one of {shape}, not become {made}")
        return traced

    def _call(self, image):
        function = self.function
        function = function.layer() if isinstance(function, Later) else function
        if not hasattr(function, "call"):
            return function(image)
        takes = inspect.signature(function.call).parameters
        arguments = {"training": True} if "training" in takes else {}
        if type(function).__module__.startswith("keras_cv."):
            most = 255.0 if type(function).__name__ in _OF_UNITS else 1.0
            return most * function(image / most, **arguments)
        return function(image[None], **arguments)[0]


def is_description(name):
    """Whether descriptions that begin with this name are for `parse`."""
    return name in MODULES or name in WORDS


def parse(description):
    """Makes an `EachImage` of `keras_cv:AugMix:severity=0.5:p=0.3`, or `aug_mix:...`.

    The layer's arguments are Python literals, or else strings. A layer that has a `value_range` is
    given that of images, 0..255.

    Raises:
        ValueError: If there is no such layer, or it does not take the arguments.
    """
    word, *pairs = description.split(":")
    module, name = ("keras_cv", WORDS[word]) if word in WORDS else (word, (pairs or [""])[0])
    if word in MODULES:
        word, pairs = f"{word}:{name}", pairs[1:]
    _check_single(name in _OF_BATCHES, description)
    kind = _find(module, name, description)
    arguments = {key: literal(text) for key, _, text in (pair.partition("=") for pair in pairs)}
    p = arguments.pop("p", 1.0)
    needed, _, example = _NEEDED.get(name, "").partition("=")
    if needed and needed not in arguments:
        raise UserError(
            f"`augment` must give the {needed} of {word}, as in {word}:{needed}={example}. "
            f"Received: {description!r}"
        )
    if "value_range" in inspect.signature(kind).parameters:
        arguments.setdefault("value_range", (0, 255))
    try:
        return EachImage(p=p, function=Later(kind, arguments), description=description)
    except UserError:
        raise
    except Exception as error:  # whatever the layer's constructor raises
        text = " ".join(str(error).split())
        raise UserError(f"{description!r} of `augment` cannot be made: {text}") from error


def wrap(function):
    """An `EachImage` of a Keras layer or a function, or `None` for what is neither.

    Raises:
        UserError: If the layer mixes batches.
    """
    if not callable(function) or isinstance(function, type):
        return None
    name = getattr(function, "__name__", type(function).__name__)
    kinds = type(function).__mro__
    mixes = any(k.__name__ in _OF_BATCHES and k.__module__.startswith("keras") for k in kinds)
    _check_single(mixes, name)
    return EachImage(function=function, description=name)


def _check_single(mixes, description):
    if mixes:  # a batch of one would be mixed with itself
        raise UserError(
            f"`augment` must hold operations on single images: `mix` takes mixup and cutmix. "
            f"Received: {description!r}"
        )


def _find(module, name, description):
    try:
        layers = importlib.import_module(MODULES[module])
    except Exception as error:  # keras-cv has no more releases; what it breaks on will vary
        text = " ".join(str(error).split())
        raise UserError(f"{module}, which {description!r} needs, fails: {text}") from error
    kind = getattr(layers, name, None)
    if not isinstance(kind, type) or not hasattr(kind, "call"):
        raise UserError(
            f"`augment` must name a layer of {MODULES[module]}. Received: {description!r}"
        )
    return kind


class _Stream:
    """Seeds one after the other; a loop's body has a stream for each of its turns."""

    def __init__(self, seed):
        self._seed = seed
        self._count = 0

    def next(self):
        self._count += 1
        return self.turn(self._count)

    def turn(self, number):
        return tf.random.experimental.stateless_fold_in(self._seed, number)


@contextlib.contextmanager
def _keyed_by(stream):
    before = getattr(_here, "stream", None)
    _here.stream = stream
    try:
        yield
    finally:
        _here.stream = before


def _or_before(before, keyed):
    """`keyed(stream, ...)` for a thread that traces a layer, `before` for all others."""

    @functools.wraps(before)
    def function(*arguments, **named):
        stream = getattr(_here, "stream", None)
        if stream is None:
            return before(*arguments, **named)
        return keyed(stream, *arguments, **named)

    return function


@contextlib.contextmanager
def _stateless_draws():
    """Replaces what draws with a state, for those threads that are `_keyed_by` a stream."""
    import keras

    generator, seeds = tf.random.Generator, keras.random.SeedGenerator
    replaced = [
        (tf.random, "uniform", _uniform),
        (tf.random, "normal", _normal),
        (tf.random, "truncated_normal", _truncated_normal),
        (tf.random, "gamma", _gamma),
        (tf.random, "shuffle", _shuffle),
        (generator, "uniform", lambda stream, _, *a, **k: _uniform(stream, *a, **k)),
        (generator, "normal", lambda stream, _, *a, **k: _normal(stream, *a, **k)),
        (generator, "truncated_normal", lambda s, _, *a, **k: _truncated_normal(s, *a, **k)),
        (seeds, "next", lambda stream, _, ordered=True: tf.cast(stream.next(), tf.uint32)),
        (tf, "while_loop", functools.partial(_while_loop, before=tf.while_loop)),
    ]
    with _patching, contextlib.ExitStack() as stack:
        for owner, name, keyed in replaced:
            before = getattr(owner, name)
            stack.enter_context(mock.patch.object(owner, name, _or_before(before, keyed)))
        yield


def _uniform(stream, shape, minval=0, maxval=None, dtype=tf.float32, seed=None, name=None):
    return tf.random.stateless_uniform(shape, stream.next(), minval, maxval, dtype)


def _normal(stream, shape, mean=0.0, stddev=1.0, dtype=tf.float32, seed=None, name=None):
    return tf.random.stateless_normal(shape, stream.next(), mean, stddev, dtype)


def _truncated_normal(stream, shape, mean=0.0, stddev=1.0, dtype=tf.float32, seed=None, name=None):
    return tf.random.stateless_truncated_normal(shape, stream.next(), mean, stddev, dtype)


def _gamma(stream, shape, alpha, beta=None, dtype=tf.float32, seed=None, name=None):
    alpha = tf.convert_to_tensor(alpha, dtype)
    beta = tf.ones_like(alpha) if beta is None else tf.convert_to_tensor(beta, dtype)
    each = tf.broadcast_dynamic_shape(tf.shape(alpha), tf.shape(beta))
    shape = tf.concat([tf.cast(tf.reshape(shape, [-1]), tf.int32), each], 0)
    return tf.random.stateless_gamma(shape, stream.next(), alpha, beta, dtype)


def _shuffle(stream, value, seed=None, name=None):
    return tf.random.experimental.stateless_shuffle(value, stream.next())


def _while_loop(stream, cond, body, loop_vars, shape_invariants=None, *arguments, before, **named):
    turns = _Stream(stream.next())

    def counted(turn, *values):
        with _keyed_by(_Stream(turns.turn(turn))):
            made = body(*values)
        made = made if isinstance(made, list | tuple) else [made]
        return [turn + 1, *made]

    if shape_invariants is not None:
        shape_invariants = [tf.TensorShape([]), *shape_invariants]
    first, *made = before(
        lambda _, *values: cond(*values),
        counted,
        [tf.constant(0), *loop_vars],
        shape_invariants,
        *arguments,
        **named,
    )
    return made
