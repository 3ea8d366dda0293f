"""Errors out of pipelines, through every way of running one."""

import os
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_resnets import Preprocessing, data
from keras_resnets.data import error_line, operations, parse_augment

AS_PIXELS = Preprocessing((0.0,) * 3, (1 / 255,) * 3, resize=(8, 8))


@pytest.fixture
def photos(tmp_path):
    """Twelve photos of two classes, the shorter side of each 8 to 13 pixels."""
    for i in range(12):
        path = tmp_path / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((8 + i % 6, 20, 3), i, np.uint8)).save(path)
    return data.load_splits(str(tmp_path), train_split="train").train


def make_training(source, augment=()):
    return data.training_dataset(
        source, AS_PIXELS, parse_augment(augment), 5, seed=0, image_size=(8, 8)
    )


def model():
    image = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(image)
    network = keras.Model(image, keras.layers.Dense(2)(x))
    network.compile("sgd", "mse")
    return network


WAYS = {
    "iterate": list,
    "fit": lambda dataset: model().fit(dataset.take(2), verbose=0),
    "evaluate": lambda dataset: model().evaluate(dataset.take(2), verbose=0),
    "predict": lambda dataset: model().predict(dataset.take(2).map(lambda x, *_: x), verbose=0),
}


WAYS_OF_WHICH_TWO_ARE_SLOW = [
    way if way in ("iterate", "fit") else pytest.param(way, marks=pytest.mark.slow) for way in WAYS
]


def line_of(way, dataset):
    with pytest.raises(tf.errors.OpError) as error:
        WAYS[way](dataset.take(2))
    line = error_line(error.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("way", WAYS_OF_WHICH_TWO_ARE_SLOW)
@pytest.mark.parametrize("change", ["remove", "overwrite"])
def test_a_photo_that_is_gone_or_overwritten_is_named(photos, way, change):
    names = [photos.file_name(index) for index in range(photos.num_examples)]
    for name in names:  # whichever comes first
        pathlib.Path(name).unlink()
        if change == "overwrite":
            pathlib.Path(name).write_bytes(b"text")
    lines = [f"Cannot read {name}: No such file or directory" for name in names]
    if change == "overwrite":
        lines = [f"{name} is not a whole JPEG, PNG, GIF, BMP or WebP image" for name in names]
    for dataset in (make_training(photos), data.evaluation_dataset(photos, AS_PIXELS, 5)):
        assert line_of(way, dataset) in lines


@pytest.mark.parametrize("way", WAYS_OF_WHICH_TWO_ARE_SLOW)
def test_a_photo_that_is_gone_and_whose_name_is_no_text(tmp_path, way):
    for i in range(12):
        path = tmp_path / "ab"[i % 2] / os.fsdecode(b"%d\xe4.png" % i)
        path.parent.mkdir(exist_ok=True)
        with open(path, "wb") as file:
            Image.fromarray(np.full((8 + i % 6, 20, 3), i, np.uint8)).save(file, "PNG")
    photos = data.load_splits(str(tmp_path), train_split="train").train
    dataset = make_training(photos)
    assert len(list(dataset)) == 2
    for path in tmp_path.glob("*/*"):
        path.unlink()
    line = line_of(way, dataset)
    assert line.startswith(f"Cannot read {tmp_path}") and line.endswith(".png: it is gone or empty")


@pytest.mark.parametrize("way", WAYS_OF_WHICH_TWO_ARE_SLOW)
def test_an_operation_that_fails_is_named(photos, way):
    dataset = make_training(photos, ["flip", "pad_crop:padding=12:mode=reflect", "resize"])
    line = line_of(way, dataset)
    assert line.startswith("`pad_crop` of `augment` failed: paddings must be less than")


def test_what_can_be_known_before_is_said_before(photos):
    pixels = np.zeros((12, 8, 8, 3), np.uint8)
    images = data.sources.Images.decoded(pixels)
    labels = np.arange(12) % 2
    small = data.Source("small", ("a", "b"), images, np.arange(12), labels, str)
    augment = ["flip", "pad_crop:padding=9:mode=reflect"]
    for source in (small, photos):  # photos are brought to 8x8 first
        with pytest.raises(ValueError, match="^[^\n]+$") as error:
            make_training(source, augment)
        assert (
            "`augment`: pad_crop:padding=9:mode=reflect cannot be applied to images of 8x8x3"
            in str(error.value)
        )


class Grey(operations.Operation):
    def __call__(self, images, numbers, context):
        return tf.image.rgb_to_grayscale(images)


class Wrong(operations.Operation):
    def __call__(self, images, numbers, context):
        return images + "text"


@pytest.mark.parametrize(
    ("operation", "message"),
    [(Grey(), r"grey must return images \(batch, height, width, 3\). Received: \(1, 8, 8, 1\)"),
     (Wrong(p=0.5), "wrong:p=0.5 cannot be applied to images of 8x8x3")],
)
def test_an_operation_of_ones_own_is_checked(photos, operation, message):
    with pytest.raises(ValueError, match=f"^`augment`: {message}[^\n]*$"):
        data.training_dataset(photos, AS_PIXELS, [operation], 5, 0, image_size=(8, 8))


class Huge(operations.Operation):
    def __call__(self, images, numbers, context):
        return tf.zeros((2**40, 2**10))


def test_out_of_memory_is_no_mistake_of_an_operation(photos):
    with pytest.raises(tf.errors.ResourceExhaustedError):
        data.training_dataset(photos, AS_PIXELS, [Huge()], 5, 0, image_size=(8, 8))


def test_the_first_of_several_errors_is_said():
    message = (
        "Graph execution error:\n\n2 root error(s) found.\n"
        "  (0) NOT_FOUND:  {{function_node f_12}} /x/a.png; No such file or directory\n"
        "\t [[{{node ReadFile}}]]\n\t [[RemoteCall]]\n\t [[IteratorGetNext]]\n"
        "  (1) CANCELLED:  Function was cancelled before it was started\n"
        "0 successful operations.\n1 derived errors ignored. [Op:__inference_train_8]"
    )
    error = tf.errors.NotFoundError(None, None, message)
    assert error_line(error) == "Cannot read /x/a.png: No such file or directory"


def test_where_a_step_was_defined_is_no_reason():
    message = (
        "Graph execution error:\n\nDetected at node IteratorGetNext defined at (most recent call "
        'last):\n  File "/x/train.py", line 3, in <module>\n\n  File "/x/trainer.py", line 7, in '
        "fit\n\nCannot batch tensors with different shapes in component 1.\n"
        "\t [[{{node IteratorGetNext}}]] [Op:__inference_multi_step_on_iterator_2988]"
    )
    error = tf.errors.InvalidArgumentError(None, None, message)
    assert error_line(error) == "Cannot batch tensors with different shapes in component 1."


def test_other_errors_keep_their_reason():
    with pytest.raises(tf.errors.OpError) as error:
        tf.function(lambda: tf.reshape(tf.zeros(tf.random.uniform((), 6, 7, tf.int32)), (4, 4)))()
    assert error_line(error.value).startswith("Input to reshape is a tensor with 6 values, but")
