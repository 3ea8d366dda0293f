"""Batches: every example, in which order, and always the same."""

import dataclasses
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_resnets import Preprocessing, UserError
from keras_resnets.data import (
    evaluation_dataset,
    load_splits,
    pipeline,
    training_dataset,
)
from keras_resnets.data.operations import Context
from keras_resnets.data.sources import Images, Source

AS_PIXELS = Preprocessing(mean=(0.0,) * 3, std=(1 / 255,) * 3)  # leaves 0..255 as it is
ARTICLE = ["flip:p=0.5", "rotate", "translate", "erase:p=0.5", "pad_crop", "random_resized_crop"]


@pytest.fixture
def numbered():
    """Twenty-two images: image `i` has the value `10 * i` everywhere and class `i % 3`."""
    values = 10 * np.arange(22, dtype=np.uint8)
    return make_source(np.tile(values[:, None, None, None], (1, 6, 8, 3)))


def make_source(pixels):
    labels = np.arange(len(pixels)) % 3
    indices = np.arange(len(pixels))
    return Source("numbered", ("a", "b", "c"), Images.decoded(pixels), indices, labels, str)


@pytest.fixture
def noise():
    return make_source(np.random.default_rng(0).integers(0, 256, (22, 6, 8, 3)).astype(np.uint8))


@pytest.fixture
def photos(tmp_path):
    """Twenty photos of several sizes."""
    return write_photos(tmp_path, "png")


def write_photos(tmp_path, kind):
    generator = np.random.default_rng(0)
    for i in range(20):
        folder = tmp_path / "ab"[i % 2]
        folder.mkdir(exist_ok=True)
        shape = (*generator.integers(8, 20, 2), 3)
        pixels = generator.integers(0, 256, shape).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.{kind}")
    return load_splits(str(tmp_path), train_split="train").train


def batches(source, count, augment=(), batch_size=5, seed=0, preprocessing=AS_PIXELS, **options):
    dataset = training_dataset(
        source, preprocessing, augment, batch_size, seed, repeat=True, **options
    )
    return [tuple(map(np.array, batch)) for batch in dataset.take(count)]


def order(source, count, **options):
    """The numbers of the examples in the first batches."""
    values = [images[:, 0, 0, 0] for images, _ in batches(source, count, **options)]
    return np.round(np.concatenate(values) / 10).astype(int)


def assert_same(left, right):
    for (images, labels), (other_images, other_labels) in zip(left, right, strict=True):
        np.testing.assert_array_equal(images, other_images)
        np.testing.assert_array_equal(labels, other_labels)


def test_an_epoch_is_a_permutation_of_its_own(numbered):
    numbers = order(numbered, 8).reshape(2, 20)  # two epochs of four batches
    for epoch in numbers:
        assert len(set(epoch)) == 20 and set(epoch) <= set(range(22))
    assert not np.array_equal(*numbers)
    np.testing.assert_array_equal(order(numbered, 8).reshape(2, 20), numbers)
    assert not np.array_equal(order(numbered, 8, seed=1).reshape(2, 20), numbers)
    # The order itself does not depend on the batch size.
    np.testing.assert_array_equal(order(numbered, 2, batch_size=10), numbers[0])


def test_labels_belong_to_their_images(numbered):
    for images, labels in batches(numbered, 8):
        assert images.dtype == labels.dtype == np.float32 and labels.shape == (5, 3)
        numbers = np.round(images[:, 0, 0, 0] / 10).astype(int)
        np.testing.assert_array_equal(labels, np.eye(3)[numbers % 3])


@pytest.mark.parametrize("kind", ["noise", "photos"])
def test_same_batches_under_any_parallelism_and_start(kind, request):
    source = request.getfixturevalue(kind)
    options = {"augment": ARTICLE, "image_size": (7, 9)}
    whole = batches(source, 10, parallel_calls=1, **options)
    assert_same(whole, batches(source, 10, parallel_calls=8, **options))
    steps = source.num_examples // 5
    assert_same(whole[steps:], batches(source, 10 - steps, first_epoch=1, **options))
    assert whole[0][0].shape == (5, 7, 9, 3)


def test_an_image_is_augmented_alike_in_any_batch_size(noise):
    small = np.concatenate([images for images, _ in batches(noise, 4, ARTICLE[:5])])
    large = np.concatenate([images for images, _ in batches(noise, 2, ARTICLE[:5], batch_size=10)])
    np.testing.assert_array_equal(small, large)


def test_augmentation_changes_with_the_epoch(numbered):
    one = make_source(np.random.default_rng(0).integers(0, 256, (1, 6, 8, 3)).astype(np.uint8))
    epochs = [images for images, _ in batches(one, 12, ["pad_crop"], batch_size=1)]
    assert len({images.tobytes() for images in epochs}) > 6


def test_erased_pixels_are_zero_after_standardization(noise):
    preprocessing = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    plain = batches(noise, 4, preprocessing=preprocessing)
    erased = batches(noise, 4, ["erase:p=1"], preprocessing=preprocessing)
    changed = 0
    for (before, _), (after, _) in zip(plain, erased, strict=True):
        mask = (before != after).any(-1)
        changed += mask.any((1, 2)).sum()
        np.testing.assert_allclose(after[mask], 0, atol=1e-5)
        np.testing.assert_array_equal(after[~mask], before[~mask])
    assert changed >= 15


def test_images_are_standardized(noise):
    preprocessing = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    pixels = np.concatenate([images for images, _ in batches(noise, 4)])
    expected = (pixels / 255 - (0.4, 0.5, 0.6)) / (0.2, 0.3, 0.4)
    got = np.concatenate([images for images, _ in batches(noise, 4, preprocessing=preprocessing)])
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_input_size_without_an_operation_that_makes_it(noise, photos):
    native = batches(noise, 1)[0][0]
    resized = batches(noise, 1, image_size=(12, 4))[0][0]
    expected = tf.image.resize(native, (12, 4), antialias=True)
    np.testing.assert_allclose(resized, expected, atol=1e-3)
    assert batches(photos, 1, ["flip"], image_size=(10, 12))[0][0].shape == (5, 10, 12, 3)
    with pytest.raises(ValueError, match="`image_size` is needed"):
        batches(photos, 1)


@pytest.mark.parametrize("sides", [(8, 9), (30, 14), (60, 61), (1, 40), (90, 2)])
@pytest.mark.parametrize("size", [(10, 12), (17, 5)])
def test_photos_are_covered_as_if_resized_whole(sides, size, rng):
    image = rng.integers(0, 256, (1, *sides, 3)).astype(np.uint8)
    fitted = pipeline._Fit(exact=False)(tf.constant(image), None, Context(size, (0.0,) * 3))
    scale = max(np.float32(size) / np.float32(sides))
    covering = np.ceil(np.float32(sides) * scale).astype(int)
    whole = tf.image.resize(image, covering, antialias=True)
    expected = tf.image.resize_with_crop_or_pad(whole, *size)
    np.testing.assert_allclose(fitted, expected, atol=1e-2)


def test_a_thin_photo_is_not_resized_whole():
    image = tf.zeros((1, 1, 60_000, 3), tf.uint8)  # 224x13,440,000, 36 GB
    context = Context((224, 224), (0.0,) * 3)
    assert pipeline._Fit(exact=False)(image, None, context).shape == (1, 224, 224, 3)


@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_a_random_area_is_that_of_the_whole_photo(kind, tmp_path, monkeypatch):
    source = write_photos(tmp_path, kind)
    options = dict(augment="random_resized_crop,flip", image_size=(6, 6))
    cut = batches(source, 8, **options)
    monkeypatch.setattr(type(source), "loads_windows", False)
    assert_same(cut, batches(source, 8, **options))
    (tmp_path / "a" / f"0.{kind}").write_bytes(b"broken")
    monkeypatch.undo()
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"0.{kind} is not a whole"):
        batches(source, 4, **options)


def test_operations_before_the_resize_work_at_the_images_own_size(noise):
    after = batches(noise, 1, ["pad_crop:padding=2", "resize"], image_size=(12, 16))[0][0]
    native = batches(noise, 1, ["pad_crop:padding=2"])[0][0]
    np.testing.assert_allclose(after, tf.image.resize(native, (12, 16), antialias=True), atol=1e-3)


@pytest.mark.parametrize("batch_size", [0, 23])
def test_bad_batch_size(noise, batch_size):
    with pytest.raises(ValueError, match=f"^`batch_size` must be .* batch_size={batch_size}"):
        batches(noise, 1, batch_size=batch_size)


@pytest.mark.parametrize("batch_size", [0, "64", 64.0, 10**20])
def test_bad_batch_size_of_an_evaluation(noise, batch_size):
    with pytest.raises(UserError, match=f"positive integer .* batch_size={batch_size!r}$"):
        evaluation_dataset(noise, AS_PIXELS, batch_size)


@pytest.mark.parametrize("make", [training_dataset, evaluation_dataset])
def test_what_is_no_source_and_no_preprocessing(noise, make):
    with pytest.raises(UserError, match="^`source` must be .* splits.train. Received: tuple$"):
        make((noise,), AS_PIXELS)
    with pytest.raises(UserError, match="^`preprocessing` must be .* Received: None$"):
        make(noise, None)


def test_channels_must_fit(noise):
    grey = Preprocessing(mean=(0.5,), std=(0.5,))
    for make in (
        lambda: training_dataset(noise, grey, (), 5, 0),
        lambda: evaluation_dataset(noise, grey, 5),
    ):
        with pytest.raises(ValueError, match="3 channels of numbered. Received: 1 channels"):
            make()


@pytest.mark.parametrize(
    ("batch_size", "replicas"), [(5, 1), (6, 3), (9, 3), (22, 3), (40, 2), (5, 3)]
)
def test_evaluation_sees_every_example_once(numbered, batch_size, replicas):
    dataset = evaluation_dataset(numbered, AS_PIXELS, batch_size, replicas)
    found = [tuple(map(np.array, batch)) for batch in dataset]
    assert len(found) == dataset.cardinality() == -(-22 // batch_size)
    assert all(len(weights) % replicas == 0 for _, _, weights in found)
    images, labels, weights = (np.concatenate(column) for column in zip(*found, strict=True))
    real = weights == 1
    assert real.sum() == 22 and weights.sum() == 22 and weights.dtype == np.float32
    np.testing.assert_allclose(images[real][:, 0, 0, 0], np.arange(22) * 10, atol=1e-3)
    np.testing.assert_array_equal(labels[real], np.eye(3)[np.arange(22) % 3])


def test_evaluation_prepares_photos_alone(photos):
    preprocessing = dataclasses.replace(AS_PIXELS, resize=10, crop=(8, 8))
    dataset = evaluation_dataset(photos, preprocessing, 7, replicas=2)
    images = np.concatenate([images[weights == 1] for images, _, weights in dataset])
    for index, image in enumerate(images):
        expected = preprocessing(photos.load(tf.constant(index, tf.int64))[0])
        np.testing.assert_allclose(image, expected, atol=1e-4)
    assert len(images) == photos.num_examples
    with pytest.raises(ValueError, match="must resize or crop to one"):
        evaluation_dataset(photos, dataclasses.replace(AS_PIXELS, resize=10), 7)


def epochs(dataset):
    """The numbers of the examples each time that the dataset is iterated."""
    values = np.concatenate([images[:, 0, 0, 0] for images, _ in dataset])
    return np.round(values / 10).astype(int).tolist()


@pytest.mark.parametrize("kind", ["numbered", "photos"])
def test_each_time_is_the_next_epoch(kind, request):
    source = request.getfixturevalue(kind)
    options = {"batch_size": 5, "seed": 3, "image_size": (6, 8)}
    endless = training_dataset(source, AS_PIXELS, "flip", repeat=True, **options)
    steps = source.num_examples // 5
    whole = epochs(endless.take(4 * steps))
    stream = [whole[start : start + 5 * steps] for start in range(0, 20 * steps, 5 * steps)]
    one = training_dataset(source, AS_PIXELS, "flip", **options)
    assert one.cardinality() == steps
    assert [epochs(one) for _ in range(3)] == stream[:3]
    two = training_dataset(source, AS_PIXELS, "flip", repeat=2, first_epoch=1, **options)
    assert two.cardinality() == 2 * steps
    assert epochs(two) == stream[1] + stream[2] and epochs(two)[: 5 * steps] == stream[3]


class Seen(keras.callbacks.Callback):
    """Counts the batches of each epoch."""

    def __init__(self):
        super().__init__()
        self.steps = []

    def on_epoch_begin(self, epoch, logs=None):
        self.steps.append(0)

    def on_train_batch_end(self, batch, logs=None):
        self.steps[-1] += 1


@pytest.mark.parametrize("labels", ["one_hot", "sparse"])
def test_fit_ends_its_epochs_by_itself(numbered, labels):
    image = keras.Input((6, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(image)
    model = keras.Model(image, keras.layers.Dense(3)(x))
    loss = {"one_hot": "categorical_crossentropy", "sparse": "sparse_categorical_crossentropy"}
    model.compile("sgd", loss[labels], metrics=["accuracy"])
    train = training_dataset(numbered, AS_PIXELS, (), 5, labels=labels)
    test = evaluation_dataset(numbered, AS_PIXELS, 5, labels=labels)
    seen = Seen()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*ran out of data")
        model.fit(train, epochs=3, validation_data=test, verbose=0, callbacks=[seen])
        model.fit(train, epochs=2, steps_per_epoch=4, verbose=0, callbacks=[seen])
    assert seen.steps == [4] * 5
    # Each of fit's epochs was another one: what comes now is none of those seen.
    assert epochs(train) not in [order(numbered, 4, first_epoch=k).tolist() for k in range(5)]


def test_sparse_labels_are_the_class_numbers(numbered):
    for images, labels in training_dataset(numbered, AS_PIXELS, (), 5, labels="sparse"):
        assert labels.dtype == tf.int64 and labels.shape == (5,)
        np.testing.assert_array_equal(labels, np.round(images[:, 0, 0, 0] / 10).astype(int) % 3)
    dataset = evaluation_dataset(numbered, AS_PIXELS, 5, replicas=2, labels="sparse")
    labels = np.concatenate([labels[weights > 0] for _, labels, weights in dataset])
    np.testing.assert_array_equal(labels, np.arange(22) % 3)


@pytest.mark.parametrize(
    "options",
    [{"labels": "onehot"}, {"repeat": 1.5}, {"repeat": 0}, {"image_size": 16},
     {"image_size": (16, 0)}],
)
def test_bad_options(numbered, options):
    (name,) = options
    with pytest.raises(ValueError, match=f"^`{name}` must be .* Received: {name}="):
        training_dataset(numbered, AS_PIXELS, batch_size=5, **options)
