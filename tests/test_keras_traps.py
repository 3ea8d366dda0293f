"""What the README says of Keras' own traps still holds; a failure here means: rewrite it."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnets

X = np.random.default_rng(0).normal(size=(8, 16, 16, 3)).astype("float32")
Y = np.zeros((8, 10), "float32")


def small():
    return keras_resnets.ResNet20(width=4, input_shape=(16, 16, 3))


def compiled(model):
    model.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=False)
    return model


def test_an_exported_sequential_augments(tmp_path):
    flip = keras.layers.RandomRotation(0.5)
    model = keras.Sequential([keras.Input((16, 16, 3)), flip, small()])
    model.export(tmp_path / "x", verbose=False)
    served = tf.saved_model.load(tmp_path / "x")
    assert np.abs(served.serve(X) - model(X, training=False)).max() > 1e-3


def moved_statistics(net):
    image = keras.Input((16, 16, 3))
    outputs = net(image, training=False)
    before = net.get_layer("stem_bn").get_weights()[2]
    compiled(keras.Model(image, outputs)).fit(X, Y, verbose=0)
    return np.abs(net.get_layer("stem_bn").get_weights()[2] - before).max() > 0


def test_training_false_is_overridden_once_a_net_is_unfrozen():
    assert moved_statistics(small())
    kept = small()
    for layer in kept.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    assert not moved_statistics(kept)


def test_rematerialization_scopes():
    model = compiled(small())
    with keras.RematScope(mode="full"):
        model.fit(X, Y, verbose=0)
    assert all(layer._remat_mode is None for layer in model.layers)
    with keras.RematScope(mode="full"):
        model = compiled(small())
    with pytest.raises(ValueError, match="custom_gradient"):
        model.fit(X, Y, verbose=0)


def test_fit_warns_of_shuffling_a_dataset():
    dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4)
    model = compiled(small())
    with pytest.warns(UserWarning, match="will be ignored"):
        model.fit(dataset, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.fit(dataset, verbose=0, shuffle=False)
