"""The core: counts, names, options, errors, and the model that remembers how it was built."""

import json
import pathlib
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnets
from keras_resnets import Preprocessing, create_model, list_models
from keras_resnets.analysis import complexity

ROWS = json.loads((pathlib.Path(__file__).parent / "parameter_counts.json").read_text())


def rows():
    """All rows. Slow are large nets, and a net that is there with another number of classes."""
    seen = set()
    for row in ROWS:
        net = (row["model"], row["input"][0], *row["options"].values())
        is_large = row["macs"] > 1 or row["total"] > 5e6
        marks = [pytest.mark.slow] if net in seen or is_large else []
        seen.add(net)
        yield pytest.param(row, marks=marks, id="-".join(map(str, (*net, row["num_classes"]))))


@pytest.mark.parametrize("row", rows())
def test_counts_equal_the_published_ones(row):
    model = create_model(
        row["model"],
        num_classes=row["num_classes"],
        input_shape=row["input"],
        **row["options"],
    )
    cost = complexity(model)
    trainable = sum(np.prod(v.shape) for v in model.trainable_variables)
    assert (trainable, model.count_params()) == (row["trainable"], row["total"])
    assert (cost.trainable, cost.total) == (row["trainable"], row["total"])
    assert cost.macs / 1e9 == pytest.approx(row["macs"], rel=1e-3)


def test_the_readme_line():
    model = keras_resnets.ResNet50(num_classes=100)
    assert cost_of(model) == (23_712_932, 23_766_052)
    assert model.input_shape == (None, 224, 224, 3)
    assert model.input.name == "image"


def cost_of(model):
    cost = complexity(model)
    return cost.trainable, cost.total


def test_names_of_layers_are_stable():
    names = [layer.name for layer in keras_resnets.ResNet20(shortcut="B").layers]
    assert len(set(names)) == len(names)
    expected = ["image", "stem_conv", "stem_bn", "stem_relu", "stage1_block1_conv1"]
    assert names[:5] == expected
    block = {name for name in names if name.startswith("stage2_block1_")}
    assert block == {
        f"stage2_block1_{part}"
        for part in ("conv1", "bn1", "relu1", "conv2", "bn2", "shortcut_conv", "shortcut_bn",
                     "merge")
    }
    assert names[-2:] == ["pool", "logits"]


def test_batch_norms_and_convolutions_have_the_papers_defaults():
    for layer in keras_resnets.ResNet18().layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            assert (layer.momentum, layer.epsilon) == (0.9, 1e-5)
        if isinstance(layer, keras.layers.Conv2D):
            assert not layer.use_bias
            assert layer.padding == "same"


def test_classifier_starts_uniform_and_the_seed_decides(rng):
    kernels = []
    for _ in range(2):
        keras.utils.set_random_seed(7)
        model = keras_resnets.ResNet20(num_classes=1000)
        kernels.append(model.get_layer("logits").get_weights()[0])
    np.testing.assert_array_equal(*kernels)
    assert np.abs(kernels[0]).max() == pytest.approx(1 / 8, rel=1e-3)
    convs = [model.get_layer(f"stage1_block1_conv{i}").get_weights()[0] for i in (1, 2)]
    assert not np.array_equal(*convs)


@pytest.mark.parametrize("precision", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_logits_are_float32_under_every_precision(precision):
    keras.config.set_dtype_policy(precision)
    outputs = keras_resnets.ResNet20(width=4)(tf.zeros((1, 32, 32, 3)))
    assert outputs.dtype == "float32"
    assert outputs.shape == (1, 10)


def test_head_options():
    def shape(**options):
        return keras_resnets.ResNet20(width=4, **options).output_shape

    assert shape(include_top=False) == (None, None, None, 16)
    assert shape(include_top=False, input_shape=(32, 32, 3)) == (None, 8, 8, 16)
    assert shape(include_top=False, pooling="avg") == (None, 16)
    assert shape(include_top=False, input_shape=(None, None, 1)) == (None, None, None, 16)
    assert shape(input_shape=(9, 8, 5)) == (None, 10)
    model = keras_resnets.ResNet20(width=4, classifier_activation="softmax", head_dropout=0.5)
    assert model.get_layer("head_dropout").rate == 0.5
    np.testing.assert_allclose(tf.reduce_sum(model(tf.ones((2, 32, 32, 3))), -1), 1, rtol=1e-5)


def test_imagenet_stem_and_stride_make_the_papers_maps():
    model = keras_resnets.ResNet50(width=4, input_shape=(224, 200, 3))
    maps = [model.get_layer(f"stage{i}_block1_merge").output.shape[1:3] for i in (1, 2, 3, 4)]
    assert maps == [(56, 50), (28, 25), (14, 13), (7, 7)]
    strides = {
        stride_in: [
            model.get_layer(f"stage2_block1_conv{i}").strides[0] for i in (1, 2)
        ]
        for stride_in in ("3x3", "1x1")
        if (model := keras_resnets.ResNet50(width=4, stride_in=stride_in))
    }
    assert strides == {"3x3": [1, 2], "1x1": [2, 1]}


def test_zero_init_residual_starts_as_the_shortcuts(rng):
    model = keras_resnets.ResNet50(width=4, zero_init_residual=True, input_shape=(64, 64, 3))
    x = rng.standard_normal((2, 64, 64, 3)).astype("float32")
    names = ("stage1_block1_merge", "stage1_block2_merge")
    taps = keras.Model(model.input, [model.get_layer(name).output for name in names])
    first, second = taps(x)
    np.testing.assert_allclose(first, second)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: create_model("resnet-50"), ["resnet50", "list_models"]),
        (lambda: create_model("resnet20", num_clases=3), ["num_clases", "num_classes"]),
        (lambda: keras_resnets.ResNet50(depth=18), ["fixes", "depth"]),
        (lambda: keras_resnets.resnet(depth=49), ["depth", "49", "50"]),
        (lambda: keras_resnets.resnet_cifar(depth=27), ["6n+2", "27"]),
        (lambda: keras_resnets.resnet_cifar(depth=2), ["6n+2"]),
        (lambda: keras_resnets.resnet_cifar(depth=28, block="bottleneck"), ["9n+2"]),
        (lambda: keras_resnets.resnet_cifar(block="wide"), ["basic", "bottleneck", "wide"]),
        (lambda: keras_resnets.ResNet50(input_shape=(16, 16, 3)), ["input_shape", "32"]),
        (lambda: keras_resnets.ResNet50(input_shape=(224, 224)), ["input_shape", "channels"]),
        (lambda: keras_resnets.ResNet20(input_shape=(7, 8, 3)), ["input_shape", "8"]),
        (lambda: keras_resnets.ResNet20(input_shape=(32, 32, 0)), ["input_shape", "channels"]),
        (lambda: keras_resnets.ResNet20(num_classes=0), ["num_classes"]),
        (lambda: keras_resnets.ResNet20(num_classes=2.5), ["num_classes"]),
        (lambda: keras_resnets.ResNet20(shortcut="D"), ["shortcut", "'D'"]),
        (lambda: keras_resnets.ResNet20(stem="imagnet"), ["stem", "cifar"]),
        (lambda: keras_resnets.ResNet20(width=0), ["width"]),
        (lambda: keras_resnets.ResNet20(pooling="mean"), ["pooling", "avg"]),
        (lambda: keras_resnets.ResNet20(head_dropout=1), ["head_dropout"]),
        (lambda: keras_resnets.ResNet20(classifier_activation="sotfmax"), ["activation"]),
        (lambda: keras_resnets.ResNet50(stride_in="2x2"), ["stride_in", "3x3", "1x1"]),
    ],
)
def test_wrong_options_end_in_one_line(build, words):
    with pytest.raises(ValueError) as caught:
        build()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_saved_model_comes_back_in_a_fresh_process(tmp_path, run_python, rng):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = create_model("resnet20", width=4, num_classes=3, input_shape=(16, 16, 1))
    keras.config.set_dtype_policy("float32")
    model.preprocessing = Preprocessing((0.5,), (0.25,), resize=16, crop=(16, 16))
    model.class_names = ["cat", "dog", "emu"]
    model.get_layer("stem_conv").trainable = False
    x = rng.standard_normal((2, 16, 16, 1)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    model.save(tmp_path / "model.keras")
    code = """
import json, keras, numpy as np, keras_resnets
model = keras.saving.load_model("model.keras")
np.save("y.npy", model(np.load("x.npy")))
print(json.dumps([model.registry_name, model.options["width"], model.class_names,
    model.preprocessing.get_config(), model.get_layer("stem_conv").trainable,
    model.get_layer("stage1_block1_conv1").compute_dtype, keras.config.dtype_policy().name]))
"""
    loaded = json.loads(run_python(code).stdout)
    assert loaded == ["resnet20", 4, ["cat", "dog", "emu"],
                      {"mean": [0.5], "std": [0.25], "resize": 16, "crop": [16, 16],
                       "interpolation": "bilinear"}, False, "bfloat16", "float32"]
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), model(x), atol=1e-6)
    without = code.replace(", keras_resnets\n", "\n")  # the README has the error and its cure
    error = "Could not locate class 'Network'"
    assert error in run_python(without, check=False).stderr
    assert error in (pathlib.Path(__file__).parents[1] / "README.md").read_text()


def test_class_names_must_fit():
    model = keras_resnets.ResNet20(width=4)
    with pytest.raises(ValueError, match="10 outputs"):
        model.class_names = ["cat", "dog"]


def test_every_builder_is_in_the_package():
    builders = keras_resnets.models.public_builders()
    assert len(list_models()) == len(set(list_models())) < len(builders)
    for name, builder in builders.items():
        assert getattr(keras_resnets, name) is builder
        assert "num_classes" in builder.__doc__
    assert list_models("RESNET18*")[:1] == ["resnet18"]


@pytest.mark.parametrize("setting", ["KERAS_BACKEND", "image_data_format"])
def test_another_backend_is_refused_in_one_line(run_python, tmp_path, setting):
    (tmp_path / "keras").mkdir()
    config = {"backend": "tensorflow", "image_data_format": "channels_first"}
    if setting == "image_data_format":
        (tmp_path / "keras" / "keras.json").write_text(json.dumps(config))
        environment = {"KERAS_HOME": str(tmp_path / "keras")}
    else:
        environment = {"KERAS_BACKEND": "numpy"}
    done = run_python("import keras_resnets", check=False, **environment)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: keras_resnets needs the TensorFlow backend")


@pytest.mark.slow
def test_resnet1202_builds_under_the_default_recursion_limit(run_python):
    assert sys.getrecursionlimit() <= 3000
    code = """
import sys, keras_resnets
assert sys.getrecursionlimit() == 1000
print(keras_resnets.ResNet1202().count_params())
"""
    assert run_python(code).stdout.strip() == "19510906"
    assert keras_resnets.ResNet1202().count_params() == 19_510_906
