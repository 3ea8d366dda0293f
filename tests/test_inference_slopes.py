"""Leaky ReLUs behind sums in the inference form, which oneDNN computes with another slope."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_resnets import layers
from keras_resnets.serving.inference import InferenceForm

ACTIVATIONS = {
    "ReLU": keras.layers.ReLU(negative_slope=0.1),
    "LeakyReLU": keras.layers.LeakyReLU(negative_slope=0.3),
    "Activation": keras.layers.Activation(keras.activations.leaky_relu),
    "Lambda": keras.layers.Lambda(lambda x: tf.nn.leaky_relu(x, 0.05)),
    "ELU": keras.layers.ELU(alpha=0.5),
    "ReLU6": keras.layers.ReLU(max_value=6),
}


def randomized(image, maps, rng):
    pooled = keras.layers.GlobalAveragePooling2D()(maps)
    model = keras.Model(image, keras.layers.Dense(5)(pooled))
    for variable in model.variables:
        is_near_1 = variable.name in ("gamma", "moving_variance")
        variable.assign(rng.uniform(0.3, 1.7, variable.shape) - (0 if is_near_1 else 1))
    return model


def difference(model, rng):
    images = rng.standard_normal((3, *model.input_shape[1:])).astype("float32")
    expected = model(images).numpy()
    return np.abs(InferenceForm(model)(images) - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("merge", [keras.layers.Add, layers.Merge])
def test_a_sum_before_an_activation(name, merge, rng):
    image = keras.Input((16, 8, 4))
    branch = layers.BatchNormalization()(layers.Conv2D(4, 3)(image))
    model = randomized(image, ACTIVATIONS[name](merge()([image, branch])), rng)
    assert difference(model, rng) < 1e-5


def test_a_sum_with_its_activation(rng):
    image = keras.Input((16, 8, 4))
    branch = layers.BatchNormalization()(layers.Conv2D(4, 3)(image))
    model = randomized(image, layers.Merge(activation="leaky_relu")([image, branch]), rng)
    model.layers[-3].activation = lambda x: tf.nn.leaky_relu(x, 0.07)
    assert difference(model, rng) < 1e-5
