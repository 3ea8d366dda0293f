"""Augmentation without state: an image's random numbers come with it.

Every operation takes a batch of images of one shape and, for each image, `numbers` uniform numbers
in [0, 1), which `draw` makes from (seed, epoch, index of the image). Results hence depend neither
on the batch size nor on how many threads work, and each operation has its own random stream, so
that adding one leaves the others' choices as they were.
"""

import dataclasses

import tensorflow as tf

from keras_resnets.data import errors, operations, randomness

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
    )
}


def parse_augment(descriptions):
    """Reads `name[:argument=value]*`, e.g. `["pad_crop:padding=4:mode=reflect", "flip:p=0.1"]`.

    Args:
        descriptions: Sequence of strings. The operations, in the order they are applied.

    Returns:
        Tuple of `Operation`.

    Raises:
        ValueError: If an operation, an argument or a value is not legal.
    """
    return tuple(_parse(description) for description in descriptions)


def _parse(description):
    name, *pairs = description.split(":")
    if name not in OPERATIONS:
        raise ValueError(
            f"`augment` must name operations of {', '.join(OPERATIONS)}. Received: {description!r}"
        )
    fields = {field.name: field.type for field in dataclasses.fields(OPERATIONS[name])}
    arguments = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if key not in fields or key in arguments:
            raise ValueError(
                f"{name} takes {', '.join(fields)}, each once. Received: {description!r}"
            )
        try:
            arguments[key] = fields[key](value)
        except ValueError as error:
            raise ValueError(
                f"`{key}` of {name} must be of type {fields[key].__name__}. "
                f"Received: {description!r}"
            ) from error
    return OPERATIONS[name](**arguments)


def check(chosen, shape, context):
    """Applies the chosen operations to a black image, to find what cannot be before an epoch does.

    Args:
        chosen: Operations.
        shape: `(height, width, channels)` of the images.
        context: `Context`.

    Raises:
        ValueError: If an operation cannot be applied to such images.
    """
    images = tf.zeros((1, *shape), tf.uint8)
    for operation in chosen:
        received = "x".join(map(str, images.shape[1:]))
        refusal = f"`augment`: {operation} cannot be applied to images of {received}"
        try:
            images = operation(images, tf.zeros((1, operation.numbers)), context)
        except tf.errors.OpError as error:
            raise ValueError(f"{refusal}: {errors.error_line(error)}") from error
        except Exception as error:  # whatever an operation of the user's own raises
            text = " ".join(str(error).split())
            raise ValueError(f"{refusal}: {type(error).__name__}: {text}") from error
        if not tf.is_tensor(images) or images.shape.rank != 4 or images.shape[-1] != shape[-1]:
            made = getattr(images, "shape", type(images).__name__)
            raise ValueError(
                f"`augment`: {operation} must return images (batch, height, width, {shape[-1]}). "
                f"Received: {made}"
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
    """Applies the chosen operations in turn; `numbers` has one row an image, as `draw` made it."""
    for operation in chosen:
        with tf.name_scope(errors.scope(operation)):
            images = operation(images, numbers[:, : operation.numbers], context)
        numbers = numbers[:, operation.numbers :]
    return images
