"""Sources made of any `tf.data.Dataset`, and splits made of any sources."""

import dataclasses

import numpy as np
import tensorflow as tf

from keras_resnets.checks import must
from keras_resnets.data.own import from_arrays
from keras_resnets.data.sources import ARRAY_LIMIT, Examples, Source
from keras_resnets.data.splits import HELD_OUT, Splits
from keras_resnets.data.streaming import SHUFFLE_BUFFER, StreamedSource
from keras_resnets.errors import UserError
from keras_resnets.images.attempts import require


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class DatasetSource(StreamedSource):
    """A stream whose references hold the decoded image itself, as bytes where they differ in size.

    References are put into batches before they are loaded.
    """

    loads_windows = False  # which spares decoding, of which there is none

    def load(self, reference):
        """The uint8 image and int64 label of one example."""
        image = reference["data"]
        image = tf.io.parse_tensor(image, tf.uint8) if image.dtype == tf.string else image
        return tf.ensure_shape(image, self.shape), reference["label"]

    @property
    def shuffle_buffer(self):
        """Int. As many images as fit into 1 GiB, by an estimate where they differ in size."""
        pixels = np.prod([side or 512 for side in self.shape])
        return int(max(1, min(SHUFFLE_BUFFER, ARRAY_LIMIT // pixels)))


def from_dataset(dataset, class_names, name="dataset"):
    """Makes a source of a `tf.data.Dataset` of (image, label), which is read anew in each epoch.

    It is shuffled within a buffer of up to 1 GiB of images. An example is told from another by its
    place: the dataset must give the same examples in the same order each time, unshuffled,
    unbatched and not repeated. One whose cardinality is unknown is read once to be counted.

    Args:
        dataset: `tf.data.Dataset` of uint8 images `(height, width, 1 or 3)` and integer labels. A
            label that has no class name is found when it is read.
        class_names: Sequence of strings, by label.
        name: String, what the source is called. Defaults to `"dataset"`.

    Returns:
        A source, as `load_splits` gives for sets that are too large for memory.

    Raises:
        UserError: If the elements are something else, or there are none, or no end of them.
    """
    kinds = tf.nest.flatten(getattr(dataset, "element_spec", None))
    is_pair = len(kinds) == 2 and kinds[0].dtype == tf.uint8 and kinds[1].dtype.is_integer
    is_pair = is_pair and kinds[0].shape.rank == 3 and kinds[1].shape.rank == 0
    if not is_pair or kinds[0].shape[-1] not in (1, 3):
        raise UserError(
            "`dataset` must be a tf.data.Dataset of uint8 images (height, width, 1 or 3) and "
            f"integer labels, one by one. Received: {getattr(dataset, 'element_spec', dataset)}"
        )
    count = int(dataset.cardinality())
    must("dataset", count, count != tf.data.INFINITE_CARDINALITY, "finite: leave out repeat()")
    if count < 0:
        count = sum(1 for _ in dataset)
    must("dataset", count, count > 0, "of one example or more")
    names = tuple(map(str, class_names))
    shape = tuple(kinds[0].shape)
    kept = tf.io.serialize_tensor if None in shape else tf.identity
    examples = dataset.map(
        lambda image, label: {"data": kept(image), "label": _checked(label, name, len(names))}
    )
    return DatasetSource(name, names, count, shape, examples)


def _checked(label, name, classes):
    """A label as int64, which must be one of the classes: another would be one of none, or fail."""
    label = tf.cast(label, tf.int64)
    legal = f"labels of {name} must be in 0..{classes - 1}, the places of its class names"
    text = f"{legal}. Received: ", tf.strings.as_string(label)
    return require((label >= 0) & (label < classes), text, label)


def make_splits(train, validation=None, test=None, class_names=None, seed=0):
    """The parts of a set that are in hand already, for `training.train`.

    Args:
        train: A source; a pair of arrays (images, labels), as `from_arrays` takes them; or a
            `tf.data.Dataset`, as `from_dataset` takes it.
        validation: As `train`. Defaults to a tenth of the training images, held out: the last ones
            of a stream, drawn by `seed` from others.
        test: As `train`. Defaults to the validation images.
        class_names: Sequence of strings, needed with a `tf.data.Dataset`. Defaults to the names or
            numbers among the training labels.
        seed: Int. Defaults to 0.

    Returns:
        `Splits`.

    Raises:
        UserError: If a part is none of these, or the parts have different classes or channels.
    """
    train = _source("train", train, class_names)
    names = train.class_names
    if validation is None:
        train, validation = _hold_out(train, seed)
    else:
        validation = _source("validation", validation, names)
    test = validation if test is None else _source("test", test, names)
    for part in (validation, test):
        same = (part.class_names, part.channels) == (names, train.channels)
        must("splits", part, same, f"of the {len(names)} classes and {train.channels} channels")
    return Splits(train, validation, test)


def _source(part, images, class_names):
    if isinstance(images, Examples):
        return images
    if isinstance(images, tf.data.Dataset):
        if class_names is None:
            raise UserError(
                "`class_names` is needed with a tf.data.Dataset: give it to data.make_splits. "
                "Received: None"
            )
        return from_dataset(images, class_names, part)
    if isinstance(images, list | tuple) and len(images) == 2:
        return from_arrays(*images, class_names)
    raise UserError(
        f"`{part}` must be a source, a pair of arrays (images, labels) or a tf.data.Dataset. "
        f"Received: {type(images).__name__}"
    )


def _hold_out(source, seed):
    held = max(1, round(HELD_OUT * source.num_examples))
    must("train", source, held < source.num_examples, "of two images or more")
    if not isinstance(source, Source):
        return source[:-held], source[-held:]
    order = np.random.default_rng(seed).permutation(source.num_examples)
    return source[np.sort(order[held:])], source[np.sort(order[:held])]
