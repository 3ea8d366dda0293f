"""What the tests of trained weights share: files in the names of others, and how they compare."""

import numpy as np
import pytest
import torch_nets

import keras_resnets
from keras_resnets import weights
from keras_resnets.weights.files import write_safetensors

DIALECTS = {dialect.name: dialect for dialect in weights.DIALECTS}


@pytest.fixture
def write(tmp_path):
    """Writes a network's weights in the names of others, less what is refused: path of the file."""

    def written(network, dialect, name="net.safetensors", drop=(), **changed):
        for variable in network.weights:
            values = torch_nets.values(variable.path, tuple(variable.shape))
            variable.assign(np.abs(values) + 0.5 if "variance" in variable.path else values)
        slots = DIALECTS[dialect].table(network)
        tensors = {slot.key: slot.give(np.asarray(slot.variable)) for slot in slots}
        tensors = {key: v for key, v in tensors.items() if key not in drop} | changed
        (tmp_path / name).unlink(missing_ok=True)
        write_safetensors(tmp_path / name, tensors)
        return tmp_path / name

    return written


def assert_same(network, other, sides=(40, 40)):
    image = torch_nets.image(sides)[..., : network.input_shape[-1]]
    np.testing.assert_array_equal(
        network.predict(image, verbose=0), other.predict(image, verbose=0)
    )


def free(classes=10, **options):
    return keras_resnets.ResNet20(num_classes=classes, input_shape=(None, None, 3), **options)


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)
