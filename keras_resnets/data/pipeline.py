"""From a source to batches that a network is trained on."""

import dataclasses
import functools
import itertools
from typing import ClassVar

import numpy as np
import tensorflow as tf

from keras_resnets.checks import is_count, must
from keras_resnets.data import augment as augmentation
from keras_resnets.data.batches import check_types, deterministic, encoder
from keras_resnets.data.mixing import parse_mix
from keras_resnets.data.operations import Context, Operation, RandomResizedCrop
from keras_resnets.data.repeated import repeated
from keras_resnets.data.shards import check_shard, training_rows
from keras_resnets.errors import UserError
from keras_resnets.images import resize, resize_window

_FOREVER = np.iinfo(np.int64).max


def training_dataset(
    source,
    preprocessing,
    augment=(),
    batch_size=128,
    seed=0,
    first_epoch=0,
    first_step=0,
    image_size=None,
    parallel_calls=tf.data.AUTOTUNE,
    repeat=False,
    labels="one_hot",
    mix=(),
    repeats=1,
    shard=(0, 1),
):
    """Batches of augmented images, for one epoch after another.

    ```python
    train = data.training_dataset(splits.train, model.preprocessing, "pad_crop,flip", 128)
    model.fit(train, epochs=8, validation_data=test)
    ```

    An epoch is a permutation of the examples keyed by (seed, epoch), its last
    `num_examples % batch_size` examples left out. The random numbers of an image are keyed by
    (seed, epoch, index). Every time that the dataset is iterated it goes on with the epochs after
    those of the last time, as `fit` wants it, which does so for each of its epochs; a new dataset
    begins with `first_epoch` again. One that begins with a later epoch hence continues an earlier
    one exactly, and the number of threads does not matter.

    Images are brought to `image_size` by the first operation that does so (`resize`,
    `random_resized_crop`). Where `augment` has none, this comes first: images of one shape are
    resized to `image_size`; images of several shapes are resized to cover it, aspect ratio kept,
    and the centre is cut out.

    Args:
        source: `Source` of the training images.
        preprocessing: `Preprocessing` of the network, of which the standardization is used.
        augment: What `parse_augment` takes: `"pad_crop,flip"`, or a sequence of descriptions and
            operations. Defaults to none.
        batch_size: Int, images in a global batch. Defaults to 128.
        seed: Int. Defaults to 0.
        first_epoch: Int, 0-based. The epoch to begin with. Defaults to 0.
        first_step: Int, 0-based. The batch to begin with in this epoch; those before it are left
            out without being read, and how many are left is then unknown. Defaults to 0.
        image_size: `(height, width)`. Defaults to the images' own size.
        parallel_calls: Int, calls that decode and augment in parallel. Defaults to as many as help.
        repeat: Boolean or int. `False` for one epoch each time that the dataset is iterated, an
            int for so many, `True` for a stream without end, which `fit` needs `steps_per_epoch`
            for. Defaults to `False`.
        labels: String, `"one_hot"` (for `CategoricalCrossentropy`, which knows label smoothing) or
            `"sparse"` (for `SparseCategoricalCrossentropy`). Defaults to `"one_hot"`.
        mix: What `parse_mix` takes: `"mixup:alpha=0.2,cutmix"`. Labels must be one-hot. Defaults to
            none.
        repeats: Int. How often an epoch shows an image, each time augmented in another way; it
            stays as long, so that it shows `1 / repeats` of the images. Defaults to 1.
        shard: `(worker, workers)`, which part of each global batch is wanted: the first worker's
            rows come first. All parts together are the batches of one worker, augmented and mixed
            in the same way; with `mix` each worker decodes the partners of its images too.
            Defaults to all.

    Returns:
        `tf.data.Dataset` of float32 images `(batch_size, height, width, channels)`, standardized,
        and labels: float32 `(batch_size, classes)`, or int64 `(batch_size,)` if sparse; of a shard
        `batch_size / workers` of them. An epoch is `num_examples // batch_size` steps.

    Raises:
        ValueError: If the batch is larger than the source, sizes or channels do not fit, an
            operation cannot be applied to the images, or an argument is not legal.
    """
    operations = augmentation.parse_augment(augment)
    check_types(source, preprocessing, batch_size)
    check_shard(shard, batch_size)
    encode = encoder(labels, source)
    mixing, source = parse_mix(mix), repeated(source, repeats)
    must("labels", labels, not mixing or labels == "one_hot", "'one_hot' with `mix`")
    most = source.num_examples
    must("batch_size", batch_size, batch_size <= most, f"at most the {most} training images")
    operations, first, context = plan_augmentation(operations, source, preprocessing, image_size)
    steps = source.num_examples // batch_size
    used = steps * batch_size
    must("first_step", first_step, first_step in range(steps), f"in 0..{steps - 1}")
    drawn = (*operations, mixing) if mixing else operations
    rows = training_rows(shard, batch_size, bool(mixing))
    kept = batch_size // shard[1]

    def one_epoch(epoch):
        numbers = augmentation.draw(drawn, seed, epoch, source.num_examples)
        done = tf.where(epoch == first_epoch, first_step * batch_size, 0)
        examples = source.shuffled(seed, epoch).take(used).skip(tf.cast(done, tf.int64))
        examples = examples.batch(batch_size, drop_remainder=True)
        return examples.map(lambda row, reference: part(tf.gather(numbers, row), reference))

    def part(numbers, reference):
        if shard[1] == 1:
            return numbers, reference
        if mixing:  # by the numbers of the first image of the global batch
            ours = numbers.shape[1] - mixing.numbers
            mixed = tf.repeat(numbers[:1, ours:], batch_size, axis=0)
            numbers = tf.concat([numbers[:, :ours], mixed], axis=1)
        return tf.nest.map_structure(lambda values: tf.gather(values, rows), (numbers, reference))

    def finish(operations):
        def finished(images, classes, numbers):
            images = augmentation.apply(operations, images, numbers, context)
            batch = preprocessing.standardize(images), encode(classes)
            batch = mixing(*batch, numbers[:, -mixing.numbers :]) if mixing else batch
            return tuple(part[:kept] for part in batch) if len(rows) > kept else batch

        return finished

    begun = sum(operation.numbers for operation in operations[:first])

    crops = isinstance(operations[0], RandomResizedCrop) and getattr(source, "loads_windows", False)

    def with_boxes(numbers, reference):  # for a batch at once: it takes forty small operations
        boxes = operations[0].boxes(numbers[:, :begun], source.sides(reference))
        return numbers, reference, boxes

    def begin(numbers, reference, *box):
        if crops:  # no more of a JPEG file is decoded than is cut out
            drawn_box = functools.partial(operations[0].boxes, numbers[None, :begun])
            image, label = source.load(reference, lambda sides: drawn_box(sides)[0], *box)
            return resize(image, context.image_size), label, numbers[begun:]
        image, label = source.load(reference)
        images = augmentation.apply(operations[:first], image[None], numbers[None], context)
        return images[0], label, numbers[begun:]

    dataset = _epochs(first_epoch, repeat).flat_map(one_epoch)
    if source.loads_batches:
        dataset = dataset.map(
            lambda numbers, reference: finish(operations)(*source.load(reference), numbers),
            num_parallel_calls=parallel_calls,
        )
    else:
        if crops and getattr(source, "sides", lambda _: None)(0) is not None:
            dataset = dataset.map(with_boxes)
        dataset = dataset.unbatch().map(begin, num_parallel_calls=parallel_calls)
        dataset = dataset.batch(len(rows), drop_remainder=True)
        dataset = dataset.map(finish(operations[first:]), num_parallel_calls=parallel_calls)
    if repeat is not True and not first_step:  # `fit` asks how many there are
        count = _count(repeat) * steps
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(count))
    return deterministic(dataset)


def plan_augmentation(operations, source, preprocessing, image_size=None):
    """The operations that bring a source's images to a size, tried on a black image.

    Args:
        operations: Tuple of `Operation`.
        source: `Source` of the training images.
        preprocessing: `Preprocessing` of the network.
        image_size: `(height, width)`. Defaults to the images' own size.

    Returns:
        Tuple of the operations, how many of them are done before images make a batch where these
        come one by one, and the operations' `Context`.

    Raises:
        ValueError: If there is no size, or an operation cannot be applied to the images.
    """
    image_size = image_size or (source.image_shape and source.image_shape[:2])
    if not image_size:
        raise UserError(f"`image_size` is needed, as the images of {source.name} differ in size")
    is_pair = isinstance(image_size, list | tuple) and len(image_size) == 2
    is_pair = is_pair and all(map(is_count, image_size))
    must("image_size", image_size, is_pair, "(height, width) in pixels")
    context = Context(
        tuple(image_size), tuple(255.0 * mean for mean in preprocessing.mean)
    )
    operations = fitting(operations, source.image_shape is not None)
    # Pictures of several shapes go alone until an operation has made them one size.
    first = 1 + [operation.makes_size for operation in operations].index(True)
    if source.image_shape:
        augmentation.check(operations, source.image_shape, context)
    else:
        augmentation.check(operations[first:], (*context.image_size, source.channels), context)
    return operations, first, context


def fitting(operations, exact):
    """The operations, after one that brings images to the input size if none of them does.

    Args:
        operations: Tuple of `Operation`.
        exact: Boolean. Whether images are resized to that size whatever their own, as those of one
            shape are, or resized to cover it and cut.

    Returns:
        Tuple of `Operation`.
    """
    if any(operation.makes_size for operation in operations):
        return operations
    return (_Fit(exact=exact), *operations)


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


def _count(repeat):
    return 1 if repeat is False else repeat


def _epochs(first, repeat):
    """Dataset of the numbers of epochs: the next ones each time, or all that there are."""
    if repeat is True:
        return tf.data.Dataset.range(first, _FOREVER)
    count = _count(repeat)
    if not isinstance(count, int) or count < 1:
        raise UserError(f"`repeat` must be True, False or at least 1. Received: repeat={repeat!r}")
    starts = itertools.count(first, count)

    def range_of(_):
        # Python counts, not a variable, which a strategy would copy to its replicas.
        start = tf.ensure_shape(tf.numpy_function(lambda: next(starts), [], tf.int64), ())
        return tf.data.Dataset.range(start, start + count)

    return tf.data.Dataset.from_tensors(0).flat_map(range_of)
