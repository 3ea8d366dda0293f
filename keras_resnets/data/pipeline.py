"""From a source to batches for the network."""

import dataclasses
from typing import ClassVar

import numpy as np
import tensorflow as tf

from keras_resnets.data import augment as augmentation
from keras_resnets.data.operations import Context, Operation
from keras_resnets.images import resize, resize_window

_FOREVER = np.iinfo(np.int64).max


def training_dataset(
    source,
    preprocessing,
    augment,
    batch_size,
    seed,
    first_epoch=0,
    image_size=None,
    parallel_calls=tf.data.AUTOTUNE,
):
    """Endless batches of augmented images, epoch after epoch.

    An epoch is a permutation of the examples keyed by (seed, epoch), its last
    `num_examples % batch_size` examples left out. The random numbers of an image are keyed by
    (seed, epoch, index). A stream that begins with `first_epoch` hence continues an earlier one
    exactly, and the number of threads does not matter.

    Images are brought to `image_size` by the first operation that does so (`resize`,
    `random_resized_crop`). Where `augment` has none, this comes first: images of one shape are
    resized to `image_size`; images of several shapes are resized to cover it, aspect ratio kept,
    and the centre is cut out.

    Args:
        source: `Source` of the training images.
        preprocessing: `Preprocessing` of the network, of which the standardization is used.
        augment: Operations, as `parse_augment` returns them.
        batch_size: Int, images in a global batch.
        seed: Int.
        first_epoch: Int, 0-based. The epoch to begin with. Defaults to 0.
        image_size: `(height, width)`. Defaults to the images' own size.
        parallel_calls: Int, calls that decode and augment in parallel. Defaults to as many as help.

    Returns:
        `tf.data.Dataset` of float32 images `(batch_size, height, width, channels)`, standardized,
        and one-hot float32 labels `(batch_size, classes)`. An epoch is
        `num_examples // batch_size` steps.

    Raises:
        ValueError: If the batch is larger than the source, sizes or channels do not fit, or an
            operation cannot be applied to the images.
    """
    _check_channels(source, preprocessing)
    if not 1 <= batch_size <= source.num_examples:
        raise ValueError(
            f"`batch_size` must be in 1..{source.num_examples}, the number of training images. "
            f"Received: batch_size={batch_size}"
        )
    image_size = image_size or (source.image_shape and source.image_shape[:2])
    if not image_size:
        raise ValueError(f"`image_size` is needed, as the images of {source.name} differ in size")
    context = Context(
        tuple(image_size), tuple(255.0 * mean for mean in preprocessing.mean)
    )
    operations = tuple(augment)
    if not any(operation.makes_size for operation in operations):
        operations = (_Fit(exact=source.image_shape is not None), *operations)
    # Pictures of several shapes go alone until an operation has made them one size.
    first = 1 + [operation.makes_size for operation in operations].index(True)
    if source.image_shape:
        augmentation.check(operations, source.image_shape, context)
    else:
        augmentation.check(operations[first:], (*context.image_size, source.channels), context)
    used = source.num_examples // batch_size * batch_size

    def one_epoch(epoch):
        numbers = augmentation.draw(operations, seed, epoch, source.num_examples)
        examples = source.shuffled(seed, epoch).take(used).batch(batch_size, drop_remainder=True)
        return examples.map(lambda row, reference: (tf.gather(numbers, row), reference))

    def finish(operations):
        def finished(images, labels, numbers):
            images = augmentation.apply(operations, images, numbers, context)
            return preprocessing.standardize(images), _one_hot(labels, source)

        return finished

    begun = sum(operation.numbers for operation in operations[:first])

    def begin(numbers, reference):
        image, label = source.load(reference)
        images = augmentation.apply(operations[:first], image[None], numbers[None], context)
        return images[0], label, numbers[begun:]

    dataset = tf.data.Dataset.range(first_epoch, _FOREVER).flat_map(one_epoch)
    if source.loads_batches:
        dataset = dataset.map(
            lambda numbers, reference: finish(operations)(*source.load(reference), numbers),
            num_parallel_calls=parallel_calls,
        )
    else:
        dataset = dataset.unbatch().map(begin, num_parallel_calls=parallel_calls)
        dataset = dataset.batch(batch_size, drop_remainder=True)
        dataset = dataset.map(finish(operations[first:]), num_parallel_calls=parallel_calls)
    return _deterministic(dataset)


def evaluation_dataset(source, preprocessing, batch_size, replicas=1):
    """Every example once, in order, prepared as `preprocessing` says.

    Args:
        source: `Source`.
        preprocessing: `Preprocessing` of the network.
        batch_size: Int, images in a global batch.
        replicas: Int. Batches are filled up to a multiple of it with black images of weight 0.
            Defaults to 1.

    Returns:
        `tf.data.Dataset` of known cardinality of float32 images `(batch, height, width,
        channels)`, one-hot float32 labels `(batch, classes)` and float32 weights `(batch,)`, 1 for
        an example and 0 for filling.

    Raises:
        ValueError: If the channels do not fit, or the prepared images would differ in size.
    """
    _check_channels(source, preprocessing)
    fixed = preprocessing.crop or isinstance(preprocessing.resize, tuple) or source.image_shape
    if not fixed:
        raise ValueError(
            f"`preprocessing` must resize or crop to one (height, width), as the images of "
            f"{source.name} differ in size. Received: {preprocessing}"
        )

    def prepare(reference):
        image, label = source.load(reference)
        return preprocessing(image), _one_hot(label, source)

    def fill(images, labels):
        size = tf.shape(images)[0]
        missing = -size % replicas
        weights = tf.pad(tf.ones(size), [[0, missing]])
        images = tf.pad(images, [[0, missing], [0, 0], [0, 0], [0, 0]])
        return images, tf.pad(labels, [[0, missing], [0, 0]]), weights

    dataset = source.in_order()
    if source.loads_batches:
        dataset = dataset.batch(batch_size).map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    else:
        dataset = dataset.map(prepare, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size)
    return _deterministic(dataset.map(fill))


@dataclasses.dataclass(frozen=True)
class _Fit(Operation):
    """Brings images to the input size: exactly, or covering it and cutting out the centre."""

    exact: bool = True
    numbers: ClassVar[int] = 0
    makes_size: ClassVar[bool] = True

    def __call__(self, images, numbers, context):
        size = context.image_size
        if images.shape[1:3] == size:
            return images
        if self.exact:
            return resize(images, size)
        sides = tf.cast(tf.shape(images)[1:3], tf.float32)
        covering = tf.math.ceil(sides * tf.reduce_max(tf.constant(size, tf.float32) / sides))
        covering = tf.cast(covering, tf.int32)
        return resize_window(images, covering, (covering - size) // 2, size)


def _check_channels(source, preprocessing):
    if source.channels != preprocessing.channels:
        raise ValueError(
            f"`preprocessing` must have the {source.channels} channels of {source.name}. "
            f"Received: {preprocessing.channels} channels"
        )


def _one_hot(labels, source):
    return tf.one_hot(labels, len(source.class_names))


def _deterministic(dataset):
    options = tf.data.Options()
    options.deterministic = True
    return dataset.with_options(options).prefetch(tf.data.AUTOTUNE)
