"""The inference form: the same function as the model, with fewer operations."""

import collections

import keras
import numpy as np
import pytest
import tensorflow as tf
from inference_helpers import MEMBERS, assert_same, count, images_for, member, randomize
from slow import first

import keras_resnets
from keras_resnets import create_model, list_models
from keras_resnets.serving import export
from keras_resnets.serving.inference import InferenceForm
from keras_resnets.serving.operations import Convolution, Dense, LayerCall, Scale, Sum


@pytest.mark.parametrize("name", MEMBERS)
def test_every_family_computes_the_same(name):
    model = member(name)
    form = assert_same(model, images_for(model))
    layers_left = {type(one.call.layer) for one in form.operations if isinstance(one, LayerCall)}
    assert not any(issubclass(kind, keras.layers.BatchNormalization) for kind in layers_left)
    assert not any(issubclass(kind, keras.layers.Dropout) for kind in layers_left)
    if "V2" not in name and name not in ("wide", "dpn", "bn after add", "relu-only preact"):
        assert count(form, Scale) == 0  # each batch norm follows a convolution


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_every_network_computes_the_same(name):
    narrow = {"width": 16} if name == "fractalnet160" else {}  # its 337 million weights take 20 GB
    model = randomize(create_model(name, **narrow))
    assert_same(model, images_for(model, 1), tolerance=1e-4)


def test_pre_activated_nets_fold_from_convolution_to_convolution():
    form = InferenceForm(member("V2"))
    # Of 3 a block and the last one, only those that read a sum are left: one a block, and the last.
    assert count(form, Scale) == 3 + 1 - 1  # the first block reads the stem's convolution alone


def test_a_survival_is_inside_the_kernel():
    for name in ("stochastic depth", "stochastic depth V2", "fractalnet"):
        form = InferenceForm(member(name))
        factors = {factor for one in form.operations if isinstance(one, Sum)
                   for factor in one.factors}
        assert factors == {1.0}, name


def test_a_keras_application():
    model = keras.applications.ResNet50(
        weights=None, input_shape=(64, 64, 3), classes=5, classifier_activation=None
    )
    form = assert_same(randomize(model), images_for(model))
    assert (count(form, Convolution), count(form, Scale), count(form, Dense)) == (53, 0, 1)


@pytest.mark.parametrize("side", [32, 33, 37])
@pytest.mark.parametrize("options", [{}, {"padding": "tensorflow"}, {"output_stride": 8}])
def test_paddings_and_dilations_at_odd_sides(side, options):
    size = (2 * side, 2 * side + 1, 3)
    model = create_model("resnet", depth=18, width=4, num_classes=5, input_shape=size, **options)
    assert_same(randomize(model), images_for(model))


def test_images_of_any_size():
    model = randomize(create_model("resnet_cifar", depth=8, width=4, input_shape=(None, None, 3)))
    for side in (32, 47):
        images = np.random.default_rng(2).standard_normal((2, side, side, 3)).astype("float32")
        assert_same(model, images)


def test_bfloat16_keeps_two_digits_and_the_head_float32():
    for name in ("resnet_cifar B", "V2", "dpn", "fractalnet", "resnext"):
        model = member(name)
        form = assert_same(model, images_for(model), tolerance=0.05, precision="bfloat16")
        assert form.features(images_for(model)).dtype == tf.float32
        assert not np.array_equal(form(images_for(model)), InferenceForm(model)(images_for(model)))


def nodes(model, precision="float32"):
    form = InferenceForm(model, precision)
    definition = form._compute.graph.as_graph_def()
    functions = [function.node_def for function in definition.library.function]
    return [node for group in (definition.node, *functions) for node in group]


def test_no_training_no_xla_and_no_padding_in_the_graph():
    for name in ("resnext", "stochastic depth", "fractalnet", "resnet imagenet stem"):
        model = member(name)
        found = nodes(model)
        kinds = collections.Counter(node.op for node in found)
        assert not any("_XlaMustCompile" in node.attr for node in found), name
        assert not set(kinds) & {"FusedBatchNormV3", "StatelessIf", "If", "Switch", "VarHandleOp",
                                 "StatelessRandomUniformV2", "AssignVariableOp"}, name
        shortcuts = sum(isinstance(x, keras_resnets.layers.ZeroPadShortcut) for x in model.layers)
        assert kinds["Pad"] == shortcuts, name


def test_many_forms_are_no_retracing(monkeypatch):
    """TensorFlow would warn of it, as of one function that is traced for each call."""
    said = []
    monkeypatch.setattr(tf.get_logger(), "warning", lambda text, *_: said.append(text))
    model = member("resnet_cifar B")
    for _ in range(6):
        InferenceForm(model)(images_for(model))
    assert said == []


def test_features_are_the_pooled_last_map():
    model = member("resnet cifar stem", head_dropout=0.5)
    images = images_for(model)
    pooled = keras.Model(model.input, model.get_layer("pool").output)(images)
    np.testing.assert_allclose(InferenceForm(model).features(images), pooled, rtol=1e-4, atol=1e-6)


WITHOUT_ONEDNN = """
import numpy as np, tensorflow as tf
data = np.load({data!r})
predict = tf.saved_model.load({path!r}).signatures["predict_images"]
answer = predict(image=tf.constant(data["images"]))
np.testing.assert_allclose(answer["probabilities"], data["expected"], atol=1e-5)
print("same")
"""


@pytest.mark.parametrize("name", first(1, ["resnext", "dpn"]))
def test_grouped_convolutions_on_machines_without_onednn(name, rng, run_python, tmp_path):
    """There TensorFlow would fuse a grouped convolution into one that it cannot compute."""
    model = member(name)
    model.preprocessing = keras_resnets.Preprocessing((0.5,) * 3, (0.25,) * 3)
    images = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    expected = tf.nn.softmax(model(model.preprocessing(images), training=False))
    data = str(tmp_path / "data.npz")
    np.savez(data, images=images, expected=expected)
    code = WITHOUT_ONEDNN.format(path=export(model, name, tmp_path), data=data)
    assert "same" in run_python(code, TF_ENABLE_ONEDNN_OPTS="0").stdout
