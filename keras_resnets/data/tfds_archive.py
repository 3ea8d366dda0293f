"""Image-classification sets of tensorflow-datasets."""

import difflib

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from keras_resnets.data.archive import Archive
from keras_resnets.data.sources import ARRAY_LIMIT, Images
from keras_resnets.data.streaming import StreamedSource
from keras_resnets.errors import UserError
from keras_resnets.images import MAX_PIXELS, decode_image

MEMORY_LIMIT = 4 * 2**30  # bytes: encoded images up to here are kept in memory


def open_tfds(name, data_dir=None, download=False, max_pixels=MAX_PIXELS):
    """Opens a set with `supervised_keys` of one image and one class label.

    Images of one known shape that take up to 1 GiB decoded are kept so in memory, other sets as
    encoded images up to 4 GiB; larger ones are streamed from disk. A split whose labels are -1 (the
    test split of many competitions) is left out.

    Args:
        name: The tfds name, e.g. `"cifar10"` or `"cifar10_corrupted/brightness_1"`.
        data_dir: The tfds root, or `None` for tfds' own.
        download: Boolean. Whether a missing set may be downloaded and prepared.
        max_pixels: Int. How many pixels an image may have by its header. Defaults to 50 million.

    Returns:
        `TfdsArchive`.

    Raises:
        ValueError: If the set is unknown, not prepared, or not one image with one label.
    """
    builder = _builder(name, data_dir)
    keys = _keys(builder)
    if not builder.is_prepared():
        if not download:
            where = f", data_dir={data_dir!r}" if data_dir else ""
            raise UserError(
                f"{name} is not prepared in {data_dir or tfds.core.constants.DATA_DIR}. Prepare it "
                f'with --download, or: python -c "import tensorflow_datasets as tfds; '
                f'tfds.load({name!r}{where})"'
            )
        try:
            builder.download_and_prepare()
        except Exception as error:  # whatever the set's own code, the network and the disk raise
            raise UserError(f"{name} could not be prepared: {_line(error)}") from error
    return TfdsArchive(builder, *keys, max_pixels)


def _builder(name, data_dir):
    try:
        return tfds.builder(name, data_dir=data_dir)
    except tfds.core.registered.DatasetNotFoundError as error:
        known = tfds.list_builders(with_community_datasets=False)
        near = difflib.get_close_matches(name.lower(), known)
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        raise UserError(
            f"`dataset` must be digits, an image folder, a CSV list or a tfds name. {hint}"
            f"Received: dataset={name!r}"
        ) from error
    except Exception as error:  # a bad version or configuration, by the set's own code
        raise UserError(f"tfds cannot open {name!r}: {_line(error)}") from error


def _line(error):
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _keys(builder):
    """The names of the image and of the label feature."""
    features, keys = builder.info.features, builder.info.supervised_keys
    if not (isinstance(keys, tuple) and len(keys) == 2 and all(k in features for k in keys)):
        raise UserError(
            f"{builder.name} is not an image-classification set: it has no supervised_keys "
            "of one image and one label"
        )
    image, label = features[keys[0]], features[keys[1]]
    if not isinstance(image, tfds.features.Image) or image.np_dtype == np.float32:
        raise UserError(
            f"{builder.name} is not an image-classification set: its input `{keys[0]}` is "
            f"{type(image).__name__} of {image.np_dtype}, not an image of uint8"
        )
    if type(label) is not tfds.features.ClassLabel:
        raise UserError(
            f"{builder.name} must have one class label an image. Its target `{keys[1]}` is "
            f"{type(label).__name__}"
        )
    return keys


class TfdsArchive:
    """A prepared tfds set, as `sources.Archive`; it reads what is asked for.

    Args:
        builder: tfds builder, prepared.
        image_key: Name of the image feature.
        label_key: Name of the label feature.
        max_pixels: Int. How many pixels an image may have by its header.
    """

    def __init__(self, builder, image_key, label_key, max_pixels):
        self.name = builder.name
        self._builder, self._image_key, self._label_key = builder, image_key, label_key
        self._max_pixels = max_pixels
        feature = builder.info.features[label_key]
        names = feature.names or range(feature.num_classes)
        self.class_names = tuple(str(name) for name in names)
        *sides, channels = builder.info.features[image_key].shape
        self._shape = (*sides, 1 if channels == 1 else 3)
        splits = builder.info.splits
        self.sizes = {s: splits[s].num_examples for s in splits if self._is_labelled(s)}

    def labels(self, split):
        """int64 labels of a split in its order, or `None` if it is too large for memory."""
        if self._bytes({split: range(self.sizes[split])}) > MEMORY_LIMIT:
            return None
        batches = self._read(split, with_image=False).batch(4096)
        return np.concatenate([batch[self._label_key] for batch in batches.as_numpy_iterator()])

    def sources(self, selections):
        """Turns each selection (dictionary from split to indices) into a source."""
        chosen = [pair for selection in selections.values() for pair in selection.items()]
        ends = {}  # the range to read of each split
        for split, indices in chosen:
            if len(indices):
                low, high = ends.get(split, (indices[0], indices[-1] + 1))
                ends[split] = (min(low, indices[0]), max(high, indices[-1] + 1))
        if self._bytes({split: range(*pair) for split, pair in ends.items()}) > MEMORY_LIMIT:
            return {part: self._streamed(selection) for part, selection in selections.items()}
        places, origins, start = {}, [], 0
        for split, (low, high) in ends.items():
            places[split] = np.arange(self.sizes[split]) - low + start
            origins += [(split, low - start)] * int(high - low)
            start += high - low
        images, labels = self._load(_specification(ends.items()), len(origins))

        def describe(place):
            split, shift = origins[place]
            return f"{self.name} {split}[{place + shift}]"

        archive = Archive(self.name, self.class_names, images, labels, places, describe)
        return archive.sources(selections)

    def _bytes(self, ranges):
        splits = self._builder.info.splits
        return sum(
            splits[s].num_bytes * len(part) / splits[s].num_examples for s, part in ranges.items()
        )

    def _is_labelled(self, split):
        size = self._builder.info.splits[split].num_examples
        if not size:
            return False
        first = next(iter(tfds.as_numpy(self._read(f"{split}[:1]", with_image=False))))
        return first[self._label_key] >= 0

    def _read(self, specification, with_image=True):
        features = {self._label_key: True}
        decoders = None
        if with_image:
            features[self._image_key] = True
            decoders = {self._image_key: tfds.decode.SkipDecoding()}
        return self._builder.as_dataset(
            split=specification,
            decoders=tfds.decode.PartialDecoding(features, decoders=decoders),
            read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
        )

    def _examples(self, specification):
        return self._read(specification).map(
            lambda example: {"data": example[self._image_key], "label": example[self._label_key]}
        )

    def _load(self, specification, count):
        examples = self._examples(specification)
        labels = np.empty(count, np.int64)
        if None in self._shape or count * np.prod(self._shape) > ARRAY_LIMIT:
            data = np.empty(count, object)
            for i, example in enumerate(examples.as_numpy_iterator()):
                data[i], labels[i] = example["data"], example["label"]
            return Images.encoded(data, self._shape, self._max_pixels), labels
        pixels = np.empty((count, *self._shape), np.uint8)
        decoded = examples.map(
            lambda e: (decode_image(e["data"], self._shape[-1], self._max_pixels), e["label"]),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        size = 1024
        try:
            for i, batch in enumerate(decoded.batch(size).as_numpy_iterator()):
                rows = slice(i * size, i * size + len(batch[1]))
                pixels[rows], labels[rows] = batch
        except tf.errors.InvalidArgumentError as error:
            raise UserError(f"{self.name} has a corrupt image: {_line(error)}") from error
        return Images.decoded(pixels), labels

    def _streamed(self, selection):
        runs = []
        for split, indices in selection.items():
            breaks = np.flatnonzero(np.diff(indices) != 1) + 1
            runs += [(split, (r[0], r[-1] + 1)) for r in np.split(indices, breaks) if len(r)]
        return StreamedSource(
            name=self.name,
            class_names=self.class_names,
            num_examples=sum(len(indices) for indices in selection.values()),
            shape=self._shape,
            examples=self._examples(_specification(runs)),
            max_pixels=self._max_pixels,
        )


def _specification(runs):
    return "+".join(f"{split}[{low}:{high}]" for split, (low, high) in runs)
