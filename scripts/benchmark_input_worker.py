"""Times the input of the package that PYTHONPATH leads to, for scripts/benchmark.py.

A process of its own for each version of the package. It reads requests from standard input, a JSON
object a line, and answers each with another.
"""

import itertools
import json
import os
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # before TensorFlow is imported
COUNT, CROP, RESIZE = 50_000, (224, 224), 256
CHAINS = {
    "cifar": "pad_crop:padding=4,flip:p=0.5",
    "article": "flip:p=0.1,rotate:degrees=10,translate:fraction=0.1,erase:p=0.1,pad_crop:padding=4",
}
EPOCHS = 8  # whose areas the bare operations cut out, one after the other
SETTLE = 1.0  # seconds in which an iterator starts and what it fetched ahead is used up


def array_chain(case, folder):
    """Endless augmented batches of random arrays of CIFAR's size."""
    import numpy as np

    from keras_resnets import data

    noise = np.random.default_rng(0)
    images = noise.integers(0, 256, (COUNT, 32, 32, 3), dtype=np.uint8)
    source = data.from_arrays(images, noise.integers(0, 10, COUNT))
    return data.training_dataset(source, _preprocessing(), CHAINS[case], 128, repeat=True)


def crops(case, folder):
    from keras_resnets import data

    source = data.load_splits(folder, train_split="train").train
    options = dict(image_size=CROP, repeat=True)
    chain = "random_resized_crop"
    return data.training_dataset(source, _preprocessing(), chain, 32, **options)


def evaluation(case, folder):
    import numpy as np

    from keras_resnets import data

    source = data.load_splits(folder, train_split="train").train
    source = source[np.tile(np.arange(len(source)), 500)]
    return data.evaluation_dataset(source, _preprocessing(resize=RESIZE, crop=CROP), 32)


def bare_crops(case, folder):
    """Reading, `decode_and_crop_jpeg` and the antialiased resize of the areas of `crops`."""
    import tensorflow as tf

    from keras_resnets import data
    from keras_resnets.data import augment

    source = data.load_splits(folder, train_split="train").train
    (operation,) = chosen = data.parse_augment("random_resized_crop")
    paths, boxes = [], []
    epochs = tf.range(EPOCHS, dtype=tf.int64)  # of this type: another draws otherwise
    draws = [augment.draw(chosen, 0, epoch, len(source)) for epoch in epochs]
    for numbers, place in itertools.product(draws, range(len(source))):
        paths.append(source.file_name(place))
        sides = tf.io.extract_jpeg_shape(tf.io.read_file(paths[-1]))[:2]
        boxes.append(operation.boxes(numbers[place : place + 1], sides)[0])

    def cut(path, box):
        image = tf.io.decode_and_crop_jpeg(tf.io.read_file(path), box, 3)
        return tf.image.resize(image, CROP, antialias=True)

    return _batches(tf.data.Dataset.from_tensor_slices((paths, tf.stack(boxes))), cut)


def bare_evaluation(case, folder):
    """Reading, `decode_jpeg` and the antialiased resize of the shorter side, centre cut out."""
    import tensorflow as tf

    from keras_resnets import data

    source = data.load_splits(folder, train_split="train").train

    def resize(path):
        image = tf.io.decode_jpeg(tf.io.read_file(path), 3)
        sides = tf.shape(image)[:2]
        sides = sides * RESIZE // tf.reduce_min(sides)
        image = tf.image.resize(image, sides, antialias=True)
        top, left = tf.unstack((sides - CROP) // 2)
        return tf.ensure_shape(image[top : top + CROP[0], left : left + CROP[1]], (*CROP, 3))

    paths = [source.file_name(place) for place in range(len(source))]
    return _batches(tf.data.Dataset.from_tensor_slices(paths), resize)


SIDES = {
    "cifar": array_chain,
    "article": array_chain,
    "crops": crops,
    "evaluation": evaluation,
    "bare crops": bare_crops,
    "bare evaluation": bare_evaluation,
}


def _batches(dataset, function):
    import tensorflow as tf

    dataset = dataset.repeat().map(function, num_parallel_calls=tf.data.AUTOTUNE).batch(32)
    return dataset.prefetch(tf.data.AUTOTUNE)


def _preprocessing(**options):
    from keras_resnets import Preprocessing

    return Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), **options)


def rate(dataset, seconds):
    """Images a second, over batches of so many seconds, after a short while.

    By an iterator of its own: one that is left alone goes on to fetch ahead, more each time that
    it was emptied, and takes the time of those that are measured next.
    """
    stream = iter(dataset)
    start = time.perf_counter()
    next(stream)
    while time.perf_counter() < start + SETTLE:
        next(stream)
    images, start = 0, time.perf_counter()
    while (now := time.perf_counter()) < start + seconds:
        batch = next(stream)
        images += len(batch[0] if isinstance(batch, tuple) else batch)
    return images / (now - start)


def opened(folder):
    """Seconds that it takes to open a folder of images."""
    from keras_resnets import data

    start = time.perf_counter()
    splits = data.load_splits(folder)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "images": sum(map(len, splits))}


def answer(request, datasets):
    try:
        if request["case"] == "opening":
            return opened(request["folder"])
        name = request["case"]
        if name not in datasets:
            datasets[name] = SIDES[name](name, request["folder"])
        return {"images_per_second": rate(datasets[name], request["seconds"])}
    except Exception as error:  # another version of the package may have another API
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}


def main():
    threads = int(sys.argv[1])
    if threads and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    datasets = {}
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line), datasets)), flush=True)


if __name__ == "__main__":
    main()
