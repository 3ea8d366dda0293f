"""Writes images of a set as PNG files, each named by its place and its class.

    python scripts/write_images.py --dataset=digits --count=10 --output_dir=images

With --augment there is one file, augmentation.png: a row an image, the original and what training
would make of it, epoch by epoch.

    python scripts/write_images.py --dataset=digits --output_dir=images --augment=pad_crop,flip
"""

import itertools
import pathlib

from absl import flags
from cli import COUNT, run

_DATASET = flags.DEFINE_string("dataset", None, "A tfds name, `digits`, a folder or a CSV list.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of prepared tfds sets.")
_SPLIT = flags.DEFINE_string("test_split", None, "tfds slice to take; the test set by default.")
_COUNT = flags.DEFINE_integer("count", 10, "Number of images.", **COUNT)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder to write to; made if missing.")
_AUGMENT = flags.DEFINE_string(
    "augment", None, "Draw a sheet of this augmentation instead, such as pad_crop:padding=4,flip."
)
_DRAWS = flags.DEFINE_integer("draws", 6, "Epochs of the sheet.", lower_bound=1, upper_bound=20)
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", None, "Side of the input on the sheet; that of the set's images, or 224.", **COUNT
)
flags.mark_flags_as_required(["dataset", "output_dir"])


def main():
    import numpy as np
    import tensorflow as tf

    from keras_resnets import analysis, data

    source = data.load_splits(
        _DATASET.value, _DATA_DIR.value, test_split=_SPLIT.value, splits=("test",)
    ).test
    folder = pathlib.Path(_OUTPUT_DIR.value)
    folder.mkdir(parents=True, exist_ok=True)
    examples = itertools.islice(source, _COUNT.value)
    if _AUGMENT.value is not None:
        images = [np.asarray(image) for image, _ in examples]
        side = _IMAGE_SIZE.value or (None if source.image_shape else 224)
        size = side and (side, side)
        file = folder / "augmentation.png"
        one_shape = source.image_shape is not None
        analysis.augmentation_sheet(
            images, _AUGMENT.value, file, size, _DRAWS.value, exact=one_shape
        )
        print(f"{len(images)} images, {_DRAWS.value} draws of each in {file}")
        return
    for index, (image, label) in enumerate(examples):
        name = source.class_names[label].replace("/", "-")
        (folder / f"{index:02d}_{name}.png").write_bytes(tf.io.encode_png(image).numpy())
    print(f"{min(_COUNT.value, source.num_examples)} images in {folder}")


if __name__ == "__main__":
    run(main)
