"""From a source to batches that are evaluated."""

import tensorflow as tf

from keras_resnets.data.batches import check_types, deterministic, encoder
from keras_resnets.data.shards import evaluation_shard
from keras_resnets.errors import UserError


def evaluation_dataset(
    source, preprocessing, batch_size=128, replicas=1, labels="one_hot", shard=(0, 1)
):
    """Every example once, in order, prepared as `preprocessing` says.

    Args:
        source: `Source`.
        preprocessing: `Preprocessing` of the network.
        batch_size: Int, images in a global batch. Defaults to 128.
        replicas: Int. Batches are filled up to a multiple of it with black images of weight 0.
            Defaults to 1.
        labels: String, `"one_hot"` or `"sparse"`, as for `training_dataset`. Defaults to
            `"one_hot"`.
        shard: `(worker, workers)`, which part of each global batch is wanted; each has the same
            number of batches. Defaults to all.

    Returns:
        `tf.data.Dataset` of known cardinality of float32 images `(batch, height, width,
        channels)`, labels as those of `training_dataset`, and float32 weights `(batch,)`, 1 for an
        example and 0 for filling.

    Raises:
        ValueError: If the channels do not fit, the prepared images would differ in size, or an
            argument is not legal.
    """
    check_types(source, preprocessing, batch_size)
    encode = encoder(labels, source)
    fixed = preprocessing.crop or isinstance(preprocessing.resize, tuple) or source.image_shape
    if not fixed:
        raise UserError(
            f"`preprocessing` must resize or crop to one (height, width), as the images of "
            f"{source.name} differ in size. Received: {preprocessing}"
        )

    def prepare(reference):
        image, label = source.load(reference)
        return preprocessing(image), encode(label)

    def fill(images, classes):
        size = tf.shape(images)[0]
        missing = -size % replicas
        weights = tf.pad(tf.ones(size), [[0, missing]])
        images = tf.pad(images, [[0, missing], [0, 0], [0, 0], [0, 0]])
        rest = [[0, 0]] * (classes.shape.rank - 1)
        return images, tf.pad(classes, [[0, missing], *rest]), weights

    if shard[1] > 1:
        return deterministic(evaluation_shard(source, prepare, batch_size, replicas, shard))
    dataset = source.in_order()
    if source.loads_batches:
        dataset = dataset.batch(batch_size).map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    else:
        dataset = dataset.map(prepare, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size)
    return deterministic(dataset.map(fill))
