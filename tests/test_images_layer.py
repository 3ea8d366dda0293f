"""The preprocessing as a layer: saved, loaded and exported inside a functional model."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnets
from keras_resnets import Preprocessing


@pytest.mark.parametrize(
    ("preprocessing", "shape"),
    [
        (Preprocessing((0.5,) * 3, (0.25,) * 3), (None, 21, 17, 3)),
        (Preprocessing((0.5,) * 3, (0.25,) * 3, resize=(12, 10)), (None, 12, 10, 3)),
        (Preprocessing((0.1,) * 3, (0.2,) * 3, resize=20, crop=(16, 16)), (None, 16, 16, 3)),
        (Preprocessing((0.1,) * 3, (0.2,) * 3, resize=20, interpolation="bicubic"),
         (None, None, None, 3)),
    ],
)
def test_the_layer_is_the_preprocessing(rng, preprocessing, shape):
    layer = preprocessing.as_layer(name="prepare")
    image = keras.Input((21, 17, 3), dtype="uint8")
    assert layer(image).shape == shape
    images = rng.integers(0, 256, (2, 21, 17, 3), dtype=np.uint8)
    np.testing.assert_array_equal(layer(images), preprocessing(images))
    again = type(layer).from_config(layer.get_config())
    assert again.preprocessing == preprocessing and again.name == "prepare"


def test_a_model_from_pixels_is_saved_loaded_and_exported(rng, tmp_path, run_code):
    net = keras_resnets.ResNet20(width=4, input_shape=(16, 16, 3))
    net.preprocessing = Preprocessing((0.4,) * 3, (0.2,) * 3, resize=20, crop=(16, 16))
    image = keras.Input((None, None, 3), dtype="uint8", name="image")
    model = keras.Model(image, net(net.preprocessing.as_layer()(image)))
    images = rng.integers(0, 256, (2, 31, 25, 3), dtype=np.uint8)
    expected = net(net.preprocessing(images))
    np.testing.assert_allclose(model(images), expected, atol=1e-6)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images)
    code = """
import keras, numpy as np, keras_resnets
model = keras.saving.load_model("model.keras")
np.save("outputs.npy", model(np.load("images.npy")))
"""
    run_code(code)
    np.testing.assert_allclose(np.load(tmp_path / "outputs.npy"), expected, atol=1e-6)
    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served")
    np.testing.assert_allclose(served.serve(tf.constant(images)), expected, atol=1e-5)
