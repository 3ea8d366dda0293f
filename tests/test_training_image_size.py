"""A trained network at another image size."""

import keras
import numpy as np
import pytest

import keras_resnets
from keras_resnets import Preprocessing
from keras_resnets.errors import UserError
from keras_resnets.training.image_size import at_image_size


@pytest.mark.parametrize(
    "name, options",
    [
        ("resnet_cifar", {"depth": 8, "width": 4, "survival": 0.5, "head_dropout": 0.1}),
        ("wide_resnet", {"depth": 10, "widen": 1}),
        ("fractalnet", {"columns": 2, "blocks": 2, "width": 4}),
    ],
)
def test_the_same_weights_at_free_sides(name, options, rng):
    model = keras_resnets.create_model(name, input_shape=(16, 16, 3), num_classes=5, **options)
    model.preprocessing = Preprocessing((0.5,) * 3, (0.25,) * 3)
    model.class_names = "abcde"
    model.layers[1].trainable = False
    for weight in model.weights:
        weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    at = at_image_size(model, 24)
    assert at.preprocessing == Preprocessing((0.5,) * 3, (0.25,) * 3, resize=(24, 24))
    assert at.class_names == model.class_names and not at.layers[1].trainable
    images = rng.normal(size=(2, 16, 16, 3)).astype("float32")
    np.testing.assert_array_equal(at(images), model(images))
    assert at(rng.normal(size=(2, 24, 24, 3))).shape == (2, 5)


@pytest.mark.parametrize(
    "before, after",
    [
        ({"resize": 256, "crop": (224, 224)}, {"resize": 366, "crop": (320, 320)}),
        ({"resize": (8, 8)}, {"resize": (320, 320)}),
        ({"crop": (160, 160)}, {"crop": (320, 320)}),
        ({"resize": (200, 100), "crop": (80, 80)}, {"resize": (800, 400), "crop": (320, 320)}),
    ],
)
def test_resizing_and_crop_grow_alike(before, after):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
    model.preprocessing = Preprocessing((0.5,) * 3, (0.25,) * 3, **before)
    assert at_image_size(model, 320) is model
    assert model.preprocessing == Preprocessing((0.5,) * 3, (0.25,) * 3, **after)


def test_only_a_network_is_built_again():
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.Flatten()(image))
    model.preprocessing = Preprocessing((0.5,) * 3, (0.25,) * 3)
    assert at_image_size(model, 8) is model
    with pytest.raises(UserError, match=r"image_size=9, a keras.Model for images of \(8, 8\)"):
        at_image_size(model, 9)
