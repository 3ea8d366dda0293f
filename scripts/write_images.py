"""Writes images of a set as PNG files, each named by its place and its class.

python scripts/write_images.py --dataset=digits --count=10 --output_dir=images
"""

import itertools
import pathlib

from absl import flags
from cli import COUNT, run

_DATASET = flags.DEFINE_string("dataset", None, "A tfds name, `digits`, or a folder.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of prepared tfds sets.")
_SPLIT = flags.DEFINE_string("test_split", None, "tfds slice to take; the test set by default.")
_COUNT = flags.DEFINE_integer("count", 10, "Number of images.", **COUNT)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder to write to; made if missing.")
flags.mark_flags_as_required(["dataset", "output_dir"])


def main():
    import tensorflow as tf

    from keras_resnets import data

    source = data.load_splits(
        _DATASET.value, _DATA_DIR.value, test_split=_SPLIT.value, splits=("test",)
    ).test
    folder = pathlib.Path(_OUTPUT_DIR.value)
    folder.mkdir(parents=True, exist_ok=True)
    for index, (image, label) in enumerate(itertools.islice(source, _COUNT.value)):
        name = source.class_names[label].replace("/", "-")
        (folder / f"{index:02d}_{name}.png").write_bytes(tf.io.encode_png(image).numpy())
    print(f"{min(_COUNT.value, source.num_examples)} images in {folder}")


if __name__ == "__main__":
    run(main)
