"""digits, tfds sets, their splits and statistics."""

import dataclasses
import re

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from keras_resnets import Preprocessing, UserError, data
from keras_resnets.data import load_splits, moments, streaming, tfds_archive

PIXELS = np.random.default_rng(0).integers(0, 256, (50, 6, 5, 3)).astype(np.uint8)
IMAGE, LABEL = tfds.features.Image(shape=(6, 5, 3)), tfds.features.ClassLabel(names=["cat", "dog"])


def make_set(set_name, data_dir, splits, image=IMAGE, label=LABEL, keys=("image", "label")):
    """Prepares a tfds set; `splits` maps a split to the labels of its images, PIXELS in order."""

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = set_name
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = tfds.features.FeaturesDict({"image": image, "label": label})
            return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=keys)

        def _split_generators(self, manager):
            return {split: self._generate_examples(labels) for split, labels in splits.items()}

        def _generate_examples(self, labels):
            for i, value in enumerate(labels):
                yield i, {"image": PIXELS[i], "label": value}

    Builder(data_dir=data_dir).download_and_prepare()
    return {"dataset": set_name, "data_dir": str(data_dir)}


def read_all(source):
    """[(image bytes, label)] of a source through tf.data, in order."""
    loaded = source.in_order().map(source.load).as_numpy_iterator()
    return [(image.tobytes(), int(label)) for image, label in loaded]


def sizes(parts):
    return [part.num_examples for part in parts]


LABELS = [0] * 20 + [1] * 30
KNOWN = {PIXELS[i].tobytes(): label for i, label in enumerate(LABELS)}


def test_digits_are_the_scans_scaled_to_255():
    parts = load_splits("digits")
    assert sizes(parts) == [1293, 144, 360]
    assert parts.train.image_shape == (8, 8, 1) and parts.train.class_names[3] == "3"
    from sklearn.datasets import load_digits

    expected = {
        (np.round(scan * 255 / 16).astype(np.uint8).tobytes(), int(label))
        for scan, label in zip(load_digits().images, load_digits().target, strict=True)
    }
    assert {pair for part in parts for pair in read_all(part)} == expected
    for part in parts:  # stratified: 10 % of each class, to within rounding
        share = np.bincount(part.labels) / part.num_examples
        assert np.abs(share - np.bincount(parts.train.labels) / 1293).max() < 0.007
    np.testing.assert_array_equal(load_splits("digits", seed=9).test.indices, parts.test.indices)


def test_slices_express_any_division():
    given = {"train_split": "train[:1000]", "validation_split": "train[1000:]"}
    parts = load_splits("digits", **given)
    assert sizes(parts) == [1000, 437, 360]
    assert len(np.intersect1d(parts.train.indices, parts.validation.indices)) == 0
    for spec, size in [
        ("train[90%:]", 1437 - 1293),
        ("train[-100:]", 100),
        ("train[:10%]+test[:5]", 149),
        ("train[:10]+train[5:20]", 20),
        ("test", 360),
    ]:
        assert load_splits("digits", validation_split=spec).validation.num_examples == size


def test_only_explicit_splits_overlap():
    parts = load_splits("digits", validation_split="train[:100]")
    assert sizes(parts) == [1337, 100, 360]
    parts = load_splits("digits", train_split="train[:100]")
    assert sizes(parts) == [100, 10, 360]
    assert len(np.intersect1d(parts.train.indices, parts.validation.indices)) == 0
    assert sizes(load_splits("digits", validation_split="test")) == [1437, 360, 360]
    both = load_splits("digits", train_split="train", validation_split="train")
    assert sizes(both) == [1437, 1437, 360]
    only = load_splits("digits", splits=("test",))
    assert only.train is None and only.validation is None and only.test.num_examples == 360


@pytest.mark.parametrize("spec", ["trian", "train[:x]", "train[5]", "train[5:5]", "train[", ""])
def test_bad_slices(spec):
    with pytest.raises(ValueError, match="^[^\n]*`validation_split` must[^\n]*$"):
        load_splits("digits", validation_split=spec or "+")


@pytest.mark.parametrize("splits", [("trian",), "train"])
def test_bad_parts(splits):
    received = re.escape(f"splits={splits!r}")
    with pytest.raises(UserError, match=f"^`splits` must be a tuple .* Received: {received}$"):
        load_splits("digits", splits=splits)


def test_no_image_left_for_training():
    with pytest.raises(ValueError, match="no image is left for training"):
        load_splits("digits", validation_split="train", test_split="test")


def test_tfds_set_with_only_train(tmp_path):
    name = make_set("only_train", tmp_path, {"train": LABELS})
    parts = load_splits(**name)
    assert sizes(parts) == [40, 5, 5]
    assert [np.bincount(part.labels).tolist() for part in parts] == [[16, 24], [2, 3], [2, 3]]
    pairs = [pair for part in parts for pair in read_all(part)]
    assert dict(pairs) == KNOWN and len(pairs) == 50
    assert parts.train.class_names == ("cat", "dog") and parts.train.image_shape == (6, 5, 3)
    assert read_all(load_splits(**name).test) == read_all(parts.test)
    assert read_all(load_splits(**name, seed=1).test) != read_all(parts.test)


def test_tfds_slices_are_those_of_tfds(tmp_path):
    name = make_set("sliced", tmp_path, {"train": LABELS, "test": LABELS[15:25]})
    parts = load_splits(**name, train_split="train[:30]", validation_split="train[60%:]")
    builder = tfds.builder("sliced", data_dir=tmp_path)
    slices = ("train[:30]", "train[60%:]", "test")
    for part, spec in zip(parts, slices, strict=True):
        expected = builder.as_dataset(split=spec, as_supervised=True).as_numpy_iterator()
        assert read_all(part) == [(image.tobytes(), label) for image, label in expected]
    assert parts.validation.file_name(3) == "sliced train[33]"
    assert parts.test.file_name(3) == "sliced test[3]"


def test_unlabelled_test_split_gives_way_to_validation(tmp_path):
    splits = {"train": LABELS, "validation": LABELS[15:25], "test": [-1] * 4}
    name = make_set("unlabelled", tmp_path, splits)
    assert sizes(load_splits(**name)) == [45, 5, 10]
    with pytest.raises(ValueError, match="labelled splits train, validation. Received"):
        load_splits(**name, test_split="test")
    parts = load_splits(**name, train_split="train+validation")
    assert sizes(parts) == [48, 6, 6]
    splits["test"] = [0, 1]
    name = make_set("labelled", tmp_path, splits)
    assert sizes(load_splits(**name)) == [50, 10, 2]


def test_set_without_train(tmp_path):
    name = make_set("no_train", tmp_path, {"test": LABELS})
    assert load_splits(**name, splits=("test",)).test.num_examples == 50
    with pytest.raises(ValueError, match="no image is left for training in test"):
        load_splits(**name)


def test_images_of_unknown_shape_stay_encoded(tmp_path):
    image = tfds.features.Image(shape=(None, None, 3))
    name = make_set("photos", tmp_path, {"train": LABELS}, image=image)
    parts = load_splits(**name)
    assert parts.train.image_shape is None and not parts.train.loads_batches
    assert dict(pair for part in parts for pair in read_all(part)) == KNOWN


def test_set_beyond_memory_is_streamed(tmp_path, monkeypatch):
    name = make_set("huge", tmp_path, {"train": LABELS})
    monkeypatch.setattr(tfds_archive, "MEMORY_LIMIT", 0)
    monkeypatch.setattr(streaming, "SHUFFLE_BUFFER", 16)
    parts = load_splits(**name)
    assert sizes(parts) == [40, 5, 5] and parts.train.labels is None
    pairs = [pair for part in parts for pair in read_all(part)]
    assert dict(pairs) == KNOWN and len(pairs) == 50

    def order(seed, epoch):
        shuffled = parts.train.shuffled(seed, tf.constant(epoch, tf.int64))
        return [example["data"] for _, example in shuffled.as_numpy_iterator()]

    preprocessing = Preprocessing(mean=(0.0,) * 3, std=(1.0,) * 3)

    def batches(count, **options):
        stream = data.training_dataset(
            parts.train, preprocessing, "pad_crop,flip", 8, repeat=True, **options
        )
        return [images.numpy() for images, _ in stream.take(count)]

    whole = batches(10)
    np.testing.assert_array_equal(batches(5, first_epoch=1, parallel_calls=8), whole[5:])
    weights = [w for _, _, w in data.evaluation_dataset(parts.train, preprocessing, 16, replicas=3)]
    assert sum(map(np.sum, weights)) == 40 and [len(w) for w in weights] == [18, 18, 9]

    first = order(0, 0)
    assert order(0, 0) == first and len(set(first)) == 40
    assert order(0, 1) != first and sorted(order(0, 1)) == sorted(first) != first
    assert order(1, 0) != first


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"label": tfds.features.Sequence(LABEL)}, "must have one class label"),
        ({"label": tfds.features.Scalar(np.int64)}, "must have one class label"),
        ({"image": tfds.features.Tensor(shape=(6, 5, 3), dtype=np.uint8)}, "is Tensor of uint8"),
        ({"keys": None}, "no supervised_keys"),
    ],
)
def test_other_tasks_are_refused(tmp_path, features, message):
    labels = [[0, 1]] * 3 if isinstance(features.get("label"), tfds.features.Sequence) else [0, 1]
    name = make_set("other_task", tmp_path, {"train": labels}, **features)
    with pytest.raises(ValueError, match=f"^other_task [^\n]*{message}[^\n]*$"):
        load_splits(**name)


def test_an_empty_data_dir_is_tfds_own():
    """Recipes have an empty string where no folder was given."""
    with pytest.raises(ValueError, match="not prepared in .*tensorflow_datasets"):
        load_splits("emnist", data_dir="")


def test_unprepared_and_unknown_sets(tmp_path):
    with pytest.raises(ValueError, match="^[^\n]+$") as error:
        load_splits("cifar10", data_dir=str(tmp_path))
    assert f"not prepared in {tmp_path}" in str(error.value)
    assert f"tfds.load('cifar10', data_dir='{tmp_path}')" in str(error.value)
    with pytest.raises(ValueError, match="^[^\n]*Did you mean [^\n]*cifar10[^\n]*$"):
        load_splits("cifar1O")
    with pytest.raises(ValueError, match="^[^\n]+Received: dataset='zzz'$"):
        load_splits("zzz")


def test_statistics_are_exact(tmp_path, monkeypatch):
    name = make_set("measured", tmp_path, {"train": LABELS})
    source = load_splits(**name, train_split="train", validation_split="train").train
    pixels = np.array([np.frombuffer(image, np.uint8) for image, _ in read_all(source)])
    pixels = pixels.reshape(-1, 3) / 255
    mean, std = data.statistics(source)
    np.testing.assert_allclose(mean, pixels.mean(0), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std(0), rtol=1e-12)
    monkeypatch.setattr(tfds_archive, "MEMORY_LIMIT", 0)
    monkeypatch.setattr(moments, "SAMPLE", 10)
    streamed = load_splits(**name, train_split="train[:20]").train
    assert data.statistics(streamed) == data.statistics(
        load_splits(**name, train_split="train[:10]").train
    )


def test_statistics_of_known_sets_and_constant_channels(tmp_path, monkeypatch):
    grey = dataclasses.replace(load_splits("digits").train, name="mnist")
    assert data.statistics(grey) == ((0.1307,), (0.3081,))
    monkeypatch.setitem(globals(), "PIXELS", np.full_like(PIXELS, 51))
    source = load_splits(**make_set("constant", tmp_path, {"train": LABELS})).train
    assert data.statistics(source) == ((0.2,) * 3, (1.0,) * 3)


def test_tfds_is_imported_only_for_its_sets(run_python):
    code = "import sys; from keras_resnets import data; data.load_splits('digits');"
    assert run_python(code + "print('tensorflow_datasets' in sys.modules)").stdout == "False\n"
