"""What cannot be written as OpenVINO or ONNX, and exports that are damaged."""

import contextlib
import json
import os

import keras
import pytest
from test_prediction import colour_model

from keras_resnets import Preprocessing, UserError
from keras_resnets.serving import Predictor, export, export_onnx, export_openvino
from keras_resnets.serving.difference import check_file
from keras_resnets.serving.formats import METADATA, read_metadata


def test_an_operation_that_onnx_does_not_have(tmp_path):
    pytest.importorskip("tf2onnx", reason="an extra")
    image = keras.Input((8, 8, 3))
    maps = keras.layers.Conv2D(4, 3, activation="gelu")(image)
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(maps))
    model.preprocessing = Preprocessing((0.5,) * 3, (0.25,) * 3)
    words = "has an operation that ONNX cannot express, so give another format: .*Erfc"
    with pytest.raises(UserError, match=words) as caught:
        export_onnx(model, "net", tmp_path)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_a_file_that_computes_something_else_is_not_left(tmp_path):
    """OpenVINO reads what Keras quantizes by the image, and computes something else."""
    pytest.importorskip("openvino", reason="an extra")
    model = small_model()
    model.quantize("int8")
    with pytest.raises(UserError, match="away from that of the model: .* give another format"):
        export_openvino(model, "net", tmp_path)
    assert os.listdir(tmp_path) == []
    assert read_metadata(export(model, "net", tmp_path))["difference"]["probabilities"] < 1e-5


@pytest.mark.parametrize(
    ("precision", "found", "largest", "is_fine"),
    [
        ("float32", 9e-4, 0.5, True),
        ("float32", 2e-3, 0.5, False),
        ("float32", 2e-3, 10.0, True),
        ("float32", float("nan"), 10.0, False),
        ("bfloat16", 0.2, 0.5, True),
        ("bfloat16", 0.3, 0.5, False),
        ("int8", 0.9, 0.5, True),
    ],
)
def test_how_far_a_file_may_be_from_its_model(precision, found, largest, is_fine):
    with contextlib.nullcontext() if is_fine else pytest.raises(UserError):
        check_file({"probabilities": found}, precision, largest)


@pytest.mark.parametrize(
    ("size", "reason"), [(None, "Empty weights data in bin file"), (4, "Incorrect weights in bin")]
)
def test_openvinos_own_reason_is_told(size, reason, tmp_path):
    pytest.importorskip("openvino", reason="an extra")
    path = export_openvino(small_model(), "net", tmp_path)
    weights = os.path.join(path, "model.bin")
    if size is None:
        os.remove(weights)
    else:
        os.truncate(weights, size)
    with pytest.raises(UserError, match=f"so export the model again: {reason}") as caught:
        Predictor(path)
    assert "\n" not in str(caught.value)


def small_model():
    image = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image))
    model = keras.Model(image, keras.layers.Dense(3)(x))
    model.preprocessing = Preprocessing((0.5,) * 3, (0.25,) * 3)
    return model


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    return export(colour_model(), "net", tmp_path_factory.mktemp("root"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("input", {}),
        ("input", {"shape": [None, 8, 8, "3"]}),
        ("max_pixels", "many"),
        ("max_pixels", -1),
        ("class_names", 3),
    ],
)
def test_metadata_that_is_damaged(saved_model, key, value):
    """It is looked at before the format's own file, in every format."""
    path = os.path.join(saved_model, METADATA)
    right = read_metadata(saved_model)
    try:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(right | {key: value}, file)
        words = rf"metadata\.json: `{key}` must be .*Received: {key}="
        with pytest.raises(UserError, match=words) as told:
            Predictor(saved_model)
        assert "\n" not in str(told.value)
    finally:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(right, file)
