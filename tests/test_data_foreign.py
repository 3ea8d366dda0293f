"""Layers of Keras and keras-cv and functions as augmentation: repeatable, keyed by the image."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_resnets import Preprocessing, UserError, data
from keras_resnets.data import augment, operations, parse_augment

CONTEXT = operations.Context(image_size=(12, 12), mean=(10.0, 20.0, 30.0))
LAYERS = [
    "aug_mix:severity=0.5",
    "grid_mask:rotation_factor=0.1",
    "channel_shuffle",
    "channel_shift:factor=0.3",
    "jpeg_quality:factor=(20, 60)",
    "keras_cv:RandomShear:x_factor=0.3",
    "keras:RandomRotation:factor=0.2",
    "keras:RandAugment",
]


JITTER = (
    "keras_cv:RandomColorJitter:brightness_factor=0.2:contrast_factor=0.2:"
    "saturation_factor=(0.4, 0.6):hue_factor=0.1"
)


@pytest.fixture
def photos(rng):
    small = rng.integers(0, 256, (5, 4, 4, 3)).astype(np.float32)
    return np.clip(np.round(tf.image.resize(small, (12, 12), "bicubic")), 0, 255).astype(np.uint8)


def run(chosen, images, epoch=0):
    numbers = augment.draw(chosen, 3, tf.constant(epoch, tf.int64), len(images))
    return augment.apply(chosen, tf.constant(images), numbers, CONTEXT).numpy()


@pytest.mark.parametrize("description", LAYERS)
def test_layers_are_keyed_by_the_image(description, photos):
    chosen = parse_augment([description])
    assert str(chosen[0]) == description
    made = run(chosen, photos)
    assert made.shape == photos.shape and np.abs(made - photos).max() > 1
    assert made.min() > -1 and made.max() < 256
    np.testing.assert_array_equal(run(parse_augment([description]), photos), made)
    np.testing.assert_array_equal(run(chosen, photos[:2]), made[:2])
    assert (run(chosen, photos, epoch=1) != made).any()
    same = np.stack([photos[0]] * 5)
    assert len({image.tobytes() for image in run(chosen, same)}) > 1  # by image, not by batch


@pytest.mark.parametrize("description", [JITTER, "keras:AugMix"])
def test_earlier_layers_do_not_matter(description, photos):
    """The first layer of its kind makes variables, and is traced more often than later ones."""
    first = run(parse_augment([description]), photos)
    random.seed(1)
    np.testing.assert_array_equal(run(parse_augment([description]), photos), first)


def test_jpeg_quality_keeps_the_range(photos):
    smooth = np.broadcast_to(photos[:, :1, :1], photos.shape)
    made = run(parse_augment(["jpeg_quality:factor=(95, 100)"]), smooth)
    assert np.abs(made - smooth).max() < 6


def test_each_turn_of_a_loop_draws_anew(photos):
    def add(image):
        def body(turn, total):
            return turn + 1, total + tf.random.uniform(())

        return image + tf.while_loop(lambda turn, _: turn < 3, body, (0, 0.0))[1]

    def once(image):
        return image + 3 * tf.random.uniform(())

    added = run(parse_augment([add]), photos) - photos
    assert len(np.unique(added.round(4))) == len(photos)
    # The sum of three numbers varies less than three times one.
    many = np.zeros((300, 2, 2, 1), np.uint8)
    assert run(parse_augment([add]), many).std() < 0.7 * run(parse_augment([once]), many).std()
    fresh = tf.random.uniform((100,))  # others draw as ever
    assert (fresh != tf.random.uniform((100,))).numpy().any()


class Grey(keras.layers.Layer):
    def call(self, images):
        return tf.repeat(tf.reduce_mean(images, -1, keepdims=True), 3, -1)


def test_layers_and_functions_of_ones_own(photos):
    made = run(parse_augment(["flip:p=1", Grey(), lambda image: 255 - image]), photos)
    expected = 255 - photos[:, :, ::-1].mean(-1, keepdims=True).repeat(3, -1)
    np.testing.assert_allclose(made, expected, atol=1e-3)


def test_probability(photos):
    many = np.concatenate([photos] * 40)
    changed = (run(parse_augment("keras_cv:Grayscale:output_channels=3:p=0.3"), many) != many)
    assert 40 <= changed.any((1, 2, 3)).sum() <= 80


def test_in_the_pipeline_threads_do_not_matter(photos):
    source = data.from_arrays(np.concatenate([photos] * 4), np.arange(20) % 3)

    def batches(parallel_calls, first_epoch=0):
        dataset = data.training_dataset(
            source, Preprocessing((0.5,) * 3, (0.25,) * 3),
            ["aug_mix:severity=0.5", keras.layers.RandomFlip()], 5, 4, first_epoch,
            parallel_calls=parallel_calls, repeat=2,
        )
        return np.stack([images for images, _ in dataset.as_numpy_iterator()])

    one = batches(1)
    np.testing.assert_array_equal(batches(4), one)
    np.testing.assert_array_equal(batches(2, first_epoch=1)[:4], one[4:])


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("keras_cv", "must name a layer of keras_cv.layers. Received: 'keras_cv'"),
        ("keras_cv:AugMax", "must name a layer of keras_cv.layers"),
        ("keras:Layers", "must name a layer of keras.layers"),
        ("keras_cv:MixUp:alpha=0.2", "`mix` takes mixup and cutmix"),
        ("aug_mix:depth=3", "'aug_mix:depth=3' of `augment` cannot be made"),
        ("jpeg_quality:p=0.5", "give the factor of jpeg_quality, as in jpeg_quality:factor=(50, 9"),
        ("keras_cv:RandomChannelShift", "as in keras_cv:RandomChannelShift:factor=0.3. Received"),
        ("aug_mix:p=2", "`p` of aug_mix:p=2 must be in 0..1"),
        ("flop", "aug_mix, grid_mask, channel_shuffle"),
        (Grey, "Received: <class"),
        (keras.layers.MixUp(), "`mix` takes mixup and cutmix. Received: 'MixUp'"),
        (keras.layers.CutMix(), "`mix` takes mixup and cutmix. Received: 'CutMix'"),
    ],
)
def test_bad_descriptions_in_one_line(description, message):
    with pytest.raises(UserError, match="^[^\n]+$") as error:
        parse_augment([description])
    assert message in str(error.value)


class Refusing(keras.layers.Layer):
    def call(self, image, training=False):
        raise ValueError("No such image")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda image: tf.image.random_flip_left_right(image), "it draws by RandomUniform"),
        (lambda image: image[0], "must stay one of"),
        (lambda image: image + "a", "cannot be applied to images of 12x12x3"),
        (Refusing(), "of 12x12x3: ValueError: No such image"),
    ],
)
def test_what_cannot_be_used_in_one_line(function, message):
    with pytest.raises(UserError, match="^[^\n]+$") as error:
        augment.check(parse_augment([function]), (12, 12, 3), CONTEXT)
    assert message in str(error.value)


def test_keras_cv_is_imported_only_when_asked_for(run_code):
    run_code(
        "import sys; from keras_resnets import data; data.parse_augment('flip,rand-m9');"
        "assert 'keras_cv' not in sys.modules"
    )


def test_descriptions_do_not_start_tensorflow(run_code):
    """It then no longer splits a CPU or connects workers, which a run does after its recipe."""
    code = """
import tensorflow as tf
from keras_resnets import data
text = "keras:RandomRotation:factor=0.1,aug_mix,grid_mask,jpeg_quality:factor=(50, 90)"
operations = data.parse_augment(text)
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)
print(len(operations), len(tf.config.list_logical_devices("CPU")))
"""
    assert run_code(code).stdout.split() == ["4", "3"]
