"""keras.applications' networks with random weights, and ours with the same."""

import keras
import numpy as np
import pytest
import torch_nets
from weights_helpers import one_line

import keras_resnets
from keras_resnets.errors import UserError


def random_application(name, shape):
    model = getattr(keras.applications, name)(weights=None, input_shape=shape)
    for variable in model.weights:
        values = torch_nets.values(variable.path, tuple(variable.shape))
        if len(values.shape) == 4:
            values *= (np.prod(values.shape[1:]) / np.prod(values.shape[:3])) ** 0.5
        variable.assign(np.abs(values) + 0.5 if "variance" in variable.path else values)
    return model


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("ResNet50", ".weights.h5"),
        pytest.param("ResNet50", ".keras", marks=pytest.mark.slow),
        pytest.param("ResNet50", ".h5", marks=pytest.mark.slow),
        pytest.param("ResNet101", ".keras", marks=pytest.mark.slow),
        pytest.param("ResNet152", ".keras", marks=pytest.mark.slow),
    ],
)
def test_outputs_are_those_of_keras_applications(name, suffix, tmp_path, rng):
    model = random_application(name, (64, 64, 3))
    path = tmp_path / f"net{suffix}"
    (model.save_weights if suffix == ".weights.h5" else model.save)(path)
    network = getattr(keras_resnets, name)(
        weights=path, input_shape=(64, 64, 3), classifier_activation="softmax"
    )
    assert network.options["stride_in"] == "1x1"
    images = rng.uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    expected = model.predict(
        keras.applications.resnet.preprocess_input(images.copy()), verbose=0
    )
    found = network.predict(network.preprocessing.standardize(images), verbose=0)
    assert np.ptp(expected) > 0.1 * expected.max()
    assert np.abs(found - expected).max() <= 1e-4 * expected.max()


def test_version_2_of_keras_applications_is_refused(tmp_path):
    keras.applications.ResNet50V2(weights=None).save_weights(tmp_path / "v2.weights.h5")
    with pytest.raises(UserError, match="V2 nets have biases before their additions") as error:
        keras_resnets.ResNet50V2(weights=tmp_path / "v2.weights.h5")
    one_line(error)
