"""One worker's rows of global batches, chosen before any image is decoded."""

import tensorflow as tf

from keras_resnets.checks import is_count, must


def check_shard(shard, batch_size):
    """Raises UserError if `shard` is not (worker, workers) with equal parts of a batch."""
    is_pair = isinstance(shard, tuple | list) and len(shard) == 2
    is_legal = is_pair and is_count(shard[1]) and shard[0] in range(shard[1])
    must("shard", shard, is_legal, "(worker, workers) with worker in 0..workers - 1")
    legal = f"divisible by the {shard[1]} workers"
    must("batch_size", batch_size, batch_size % shard[1] == 0, legal)


def training_rows(shard, batch_size, mixes):
    """The places in a global batch of what a worker reads of it.

    Args:
        shard: `(worker, workers)`.
        batch_size: Int, of all workers.
        mixes: Boolean. Whether batches are mixed with themselves. The images that its own are mixed
            with then follow these, so that half a batch lies between partners here too. The worker
            decodes twice as many images.

    Returns:
        List of ints.
    """
    worker, workers = shard
    size = batch_size // workers
    own = list(range(worker * size, (worker + 1) * size))
    half = batch_size // 2
    return own + [(row - half) % batch_size for row in own] if mixes and workers > 1 else own


def evaluation_shard(source, prepare, batch_size, replicas, shard):
    """A worker's part of the batches of all examples in order, the last of which may be smaller.

    Args:
        source: `Source`.
        prepare: Function from a reference, or many if the source loads batches, to images and
            labels.
        batch_size: Int, of all workers.
        replicas: Int, of all workers.
        shard: `(worker, workers)`.

    Returns:
        Dataset of images, labels and float32 weights: 1 for an example and 0 for one that is there
        again, so that each replica has equally many.
    """
    worker, workers = shard

    def size_of(count):
        return -(-count // replicas) * (replicas // workers)

    def part(references):
        count = tf.shape(tf.nest.flatten(references)[0])[0]
        rows = worker * size_of(count) + tf.range(size_of(count))
        chosen = tf.minimum(rows, count - 1)
        weights = tf.cast(rows < count, tf.float32)
        return tf.nest.map_structure(lambda part: tf.gather(part, chosen), references), weights

    def read(reference, weight):
        return *prepare(reference), weight

    batches = source.in_order().batch(batch_size).map(part)
    if source.loads_batches:
        return batches.map(read, num_parallel_calls=tf.data.AUTOTUNE)
    references = batches.unbatch()
    full, rest = divmod(source.num_examples, batch_size)
    whole = full * size_of(batch_size)
    parts = [references.take(whole), references.skip(whole)]
    sizes = [size_of(batch_size), size_of(rest)]
    read_parts = [
        part.map(read, num_parallel_calls=tf.data.AUTOTUNE).batch(size)
        for part, size in zip(parts, sizes, strict=True)
        if size
    ]
    return read_parts[0] if len(read_parts) == 1 else read_parts[0].concatenate(read_parts[1])
