"""Augmentation without state: an image's random numbers come with it.

Every operation takes a batch of images of one shape and, for each image, `numbers` uniform numbers
in [0, 1), which `draw` makes from (seed, epoch, index of the image). Results hence depend neither
on the batch size nor on how many threads work, and each operation has its own random stream, so
that adding one leaves the others' choices as they were.
"""

import dataclasses
import itertools
import re
import types
import typing
from collections.abc import Iterable

import tensorflow as tf

from keras_resnets.data import colour, errors, foreign, operations, policies, randomness
from keras_resnets.data.moves import View
from keras_resnets.data.recorded import restored
from keras_resnets.data.texts import split_list
from keras_resnets.errors import UserError

OPERATIONS = {
    kind.word(): kind
    for kind in (
        operations.PadCrop,
        operations.Flip,
        operations.Rotate,
        operations.Translate,
        operations.Erase,
        operations.Resize,
        operations.RandomResizedCrop,
        operations.Cutout,
        colour.ColorJitter,
        colour.Lighting,
        colour.Grayscale,
        policies.RandAugment,
        policies.TrivialAugment,
    )
}
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def parse_augment(augment):
    """Reads operations: `"pad_crop:padding=4:mode=reflect,flip"`, or a sequence of them.

    Args:
        augment: String of descriptions `name[:argument=value]*` with commas between them, timm's
            `rand-m7-mstd0.5-inc1` among them; or sequence of such descriptions, of `Operation`s,
            those of your own too, of Keras layers, and of functions from an image to an image (see
            `EachImage`). In the order in which they are applied.

    Returns:
        Tuple of `Operation`.

    Raises:
        ValueError: If an operation, an argument or a value is not legal.
    """
    if isinstance(augment, str):
        augment = split_list(augment)
    elif not isinstance(augment, Iterable):
        augment = (augment,)
    return tuple(_parse(entry) for entry in augment)


def _parse(description):
    description = restored("augment", description)
    if isinstance(description, operations.Operation):
        return description
    text = description.strip() if isinstance(description, str) else None
    if text and text.split("-")[0] == "rand":
        return policies.RandAugment.from_timm(text)
    name = text and text.split(":")[0]
    if name and foreign.is_description(name):
        return foreign.parse(text)
    if name not in OPERATIONS:
        wrapped = foreign.wrap(description)
        if wrapped:
            return wrapped
        raise UserError(
            f"`augment` must name operations of {', '.join((*OPERATIONS, *foreign.WORDS))}, "
            f"keras_cv:<layer>, keras:<layer>, or be Operations. Received: {description!r}"
        )
    return parse_fields(OPERATIONS[name], text)


def parse_fields(kind, description):
    """Makes a dataclass from `name:field=value:...`; its fields are numbers, strings, booleans.

    Args:
        kind: The dataclass.
        description: String.

    Raises:
        ValueError: If a field is not one of the class, comes twice, or is of another type.
    """
    name, *pairs = description.split(":")
    hints = typing.get_type_hints(kind)
    fields = {field.name: _plain(hints[field.name]) for field in dataclasses.fields(kind)}
    arguments = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        if key not in fields or key in arguments:
            raise UserError(
                f"{name} takes {', '.join(fields)}, each once. Received: {description!r}"
            )
        as_type = fields[key]
        try:
            arguments[key] = BOOLEANS[text.lower()] if as_type is bool else as_type(text)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"`{key}` of {name} must be of type {getattr(as_type, '__name__', as_type)}. "
                f"Received: {description!r}"
            ) from error
    return kind(**arguments)


def _plain(hint):
    """`float` of `float | None`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        return kinds[0] if len(kinds) == 1 else hint
    return hint


def check(chosen, shape, context):
    """Applies the chosen operations to a black image, to find what cannot be before an epoch does.

    Args:
        chosen: Operations.
        shape: `(height, width, channels)` of the images.
        context: `Context`.

    Raises:
        ValueError: If an operation cannot be applied to such images, or their last size is not the
            context's.
    """
    images = tf.zeros((1, *shape), tf.uint8)
    for operation in chosen:
        received = "x".join(map(str, images.shape[1:]))
        refusal = f"`augment`: {operation} cannot be applied to images of {received}"
        try:
            images = operation(images, tf.zeros((1, operation.numbers)), context)
        except (MemoryError, tf.errors.ResourceExhaustedError):
            raise
        except tf.errors.OpError as error:
            raise UserError(f"{refusal}: {errors.error_line(error)}") from error
        except Exception as error:  # whatever an operation of the user's own raises
            # Of a layer's error Keras shows the reason in bold, between its name and its arguments.
            text = str(error).partition("Arguments received by ")[0].strip()
            text = " ".join(re.sub(r"\x1b\[\d+m", "", (text.splitlines() or [""])[-1]).split())
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            raise UserError(f"{refusal}: {kind}{text}") from error
        if not tf.is_tensor(images) or images.shape.rank != 4 or images.shape[-1] != shape[-1]:
            made = getattr(images, "shape", type(images).__name__)
            raise UserError(
                f"`augment`: {operation} must return images (batch, height, width, {shape[-1]}). "
                f"Received: {made}"
            )
    if tuple(images.shape[1:3]) != context.image_size:
        wanted, made = ("x".join(map(str, s)) for s in (context.image_size, images.shape[1:3]))
        raise UserError(
            f"`augment` must end in images of {wanted} pixels, as the network takes them: put "
            f"`resize` behind what changes their size. Received: images of {made}"
        )


def draw(chosen, seed, epoch, count):
    """The random numbers of an epoch: float32 `(count, numbers of all chosen operations)`.

    Row `i` belongs to example `i`: a pure function of (seed, epoch, index). (One call for an epoch
    costs nothing; one for each image costs as much as augmenting it.)
    """
    columns = []
    seen = {}
    for operation in chosen:
        name = type(operation).__name__
        seen[name] = seen.get(name, 0) + 1
        key = randomness.stateless_seed(seed, f"{name}{seen[name]}", epoch)
        columns.append(tf.random.stateless_uniform((count, operation.numbers), key))
    numbers = tf.concat([tf.zeros((count, 0)), *columns], axis=1)
    # `Dataset.unbatch` crashes on tensors without elements: one that nobody reads.
    return numbers if numbers.shape[1] else tf.zeros((count, 1))


def apply(chosen, images, numbers, context):
    """Applies the chosen operations in turn; `numbers` has one row an image, as `draw` made it.

    Those in a row that only move and paint pixels are done at once, with the same result.
    """
    for looks, group in itertools.groupby(chosen, _only_looks):
        view = View(images) if looks else None
        for operation in group:
            own, numbers = numbers[:, : operation.numbers], numbers[:, operation.numbers :]
            with tf.name_scope(errors.scope(operation)):
                if looks:
                    operation.look(view, own, context)
                else:
                    images = operation(images, own, context)
        images = view.pixels() if looks else images
    return images


def _only_looks(operation):
    # A class of the user's own may have another call than the one that it inherits.
    kind = type(operation)
    base = operations.ViewOperation
    return issubclass(kind, base) and kind.__call__ is base.__call__
