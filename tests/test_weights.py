"""Trained weights into networks: options that follow, heads, channels, our own files."""

import numpy as np
import pytest
import torch_nets
from slow import first
from weights_helpers import assert_same, free, one_line

import keras_resnets
from keras_resnets import weights
from keras_resnets.errors import UserError


def test_options_follow_the_file_unless_given(write):
    source = free(shortcut_pad="both", classes=7)
    path = write(source, "akamaster")
    network = keras_resnets.ResNet20(weights=path, input_shape=(None, None, 3))
    assert network.options["shortcut_pad"] == "both"
    assert network.options["num_classes"] == 7
    assert network.class_names is None
    assert_same(network, source)
    assert_same(weights.open(path), source, (32, 32))
    assert_same(keras_resnets.create_model("resnet20", weights=str(path)), source, (32, 32))
    assert "weights" not in network.options
    assert "weights" not in network.get_config()["options"]
    with_survival = keras_resnets.ResNet20(weights=path, survival=0.5, input_shape=(None, None, 3))
    assert with_survival.options["survival"] == 0.5
    assert_same(with_survival, source.copy_with(survival=0.5))
    with pytest.raises(UserError, match="has shortcut_pad='both' and not 'end'") as error:
        keras_resnets.ResNet20(weights=path, shortcut_pad="end")
    one_line(error)


def test_npz_and_prefixes(write, tmp_path, capsys):
    source = free(shortcut_pad="both")
    tensors = weights.read(write(source, "akamaster")).tensors
    arrays = {f"module.model.{key}": tensor.read() for key, tensor in tensors.items()}
    np.savez(tmp_path / "net.npz", **arrays)
    assert_same(weights.open(tmp_path / "net.npz"), source, (32, 32))
    said = capsys.readouterr().out
    assert "`module.` was taken off" in said
    assert "`model.` was taken off" in said


def test_a_keras_file_never_looks_for_the_weights(write, tmp_path):
    network = keras_resnets.ResNet20(weights=write(free(), "akamaster", "gone.safetensors"))
    network.save(tmp_path / "x.keras")
    (tmp_path / "gone.safetensors").unlink()
    assert_same(keras_resnets.load_model(tmp_path / "x.keras"), network, (32, 32))


def test_class_names_and_preprocessing_come_with_published_networks(write):
    for classes, last in ((10, "truck"), (100, "worm")):
        network = weights.open(write(free(classes, shortcut_pad="both"), "akamaster"))
        assert network.class_names[-1] == last
        assert network.preprocessing.mean == (0.485, 0.456, 0.406)
    network = weights.open(write(keras_resnets.ResNet18(), "torchvision"))
    assert network.class_names[:2] == ("tench", "goldfish")
    assert network.class_names[-1] == "toilet tissue"
    assert (network.preprocessing.resize, network.preprocessing.crop) == (256, (224, 224))
    smaller = keras_resnets.ResNet18(
        weights=write(keras_resnets.ResNet18(), "torchvision"), input_shape=(112, 112, 3)
    )
    assert (smaller.preprocessing.resize, smaller.preprocessing.crop) == (128, (112, 112))


def test_what_timm_writes_beside_a_file_decides_its_images(write, tmp_path):
    path = write(keras_resnets.ResNet18(), "torchvision")
    (tmp_path / "config.json").write_text(
        '{"pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2], "crop_pct": 0.95,'
        ' "interpolation": "bicubic"}}'
    )
    found = weights.open(path).preprocessing
    assert (found.mean, found.std) == ((0.5,) * 3, (0.2,) * 3)
    assert (found.resize, found.crop, found.interpolation) == (235, (224, 224), "bicubic")


def test_another_number_of_classes_keeps_the_rest_and_says_so(write, capsys):
    source = free(shortcut_pad="both")
    path = write(source, "akamaster")
    network = keras_resnets.ResNet20(weights=path, num_classes=3, input_shape=(None, None, 3))
    assert "10 classes there, 3 here: the classifier starts anew" in capsys.readouterr().out
    assert network.class_names is None
    for layer in network.layers:
        others = source.get_layer(layer.name).weights
        for variable, other in zip(layer.weights, others, strict=True):
            if layer.name != "logits":
                np.testing.assert_array_equal(variable, other)
    kernel = np.asarray(network.get_layer("logits").kernel)
    assert 0 < np.abs(kernel).max() <= 1 / 8


def test_a_trunk_takes_the_weights_of_a_classifier(write):
    source = free(shortcut_pad="both")
    trunk = keras_resnets.ResNet20(weights=write(source, "akamaster"), include_top=False)
    assert_same(trunk, source.copy_with(include_top=False))
    assert trunk.class_names is None
    headless = write(trunk, "akamaster", "trunk.safetensors")
    opened = weights.open(headless)
    assert not opened.options["include_top"]
    words = r"2 tensors missing: linear\.weight, linear\.bias"
    with pytest.raises(UserError, match=words) as error:
        keras_resnets.ResNet20(weights=headless)
    one_line(error)


@pytest.mark.parametrize("channels", first(1, [1, 2, 4, 6]))
def test_the_stem_is_adapted_to_other_channels(write, channels, capsys):
    source = free(shortcut_pad="both")
    path = write(source, "akamaster")
    network = keras_resnets.ResNet20(weights=path, input_shape=(None, None, channels))
    said = f"images of 3 channels there, {channels} here: the stem is adapted"
    assert said in capsys.readouterr().out
    kernel = np.asarray(source.get_layer("stem_conv").kernel)
    found = np.asarray(network.get_layer("stem_conv").kernel)
    if channels == 1:
        grey = torch_nets.image((40, 40))[..., :1]
        logits = source.predict(np.repeat(grey, 3, -1), verbose=0)
        np.testing.assert_allclose(network.predict(grey, verbose=0), logits, rtol=1e-4, atol=1e-4)
    else:
        for place in range(channels):
            np.testing.assert_array_equal(
                found[:, :, place], kernel[:, :, place % 3] * np.float32(3 / channels)
            )
    assert network.preprocessing.channels == channels
    back = keras_resnets.ResNet20(weights=write(network, "akamaster", "back.safetensors"))
    assert back.input_shape[-1] == channels


def test_load_into_a_network_that_is_there(write):
    source = free(shortcut_pad="both")
    network = free(shortcut_pad="both", survival=0.5)
    weights.load(network, write(source, "akamaster"))
    assert_same(network, source.copy_with(survival=0.5))
    assert network.preprocessing and network.class_names
    kept = free(shortcut_pad="both")
    kept.preprocessing = keras_resnets.Preprocessing((0.1,) * 3, (0.2,) * 3)
    weights.load(kept, write(source, "akamaster"))
    assert kept.preprocessing.mean == (0.1,) * 3


def test_layers_that_were_changed_by_hand_stay_whole(tmp_path):
    network = free()
    network.get_layer("stem_bn").epsilon = 0.1
    network.save(tmp_path / "x.keras")
    assert_same(weights.open(tmp_path / "x.keras"), network)
    with pytest.raises(UserError, match="such as stem_bn: take it whole with load_model"):
        keras_resnets.ResNet20(weights=tmp_path / "x.keras")


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("fractalnet10", ".safetensors"),
        ("resnet20_v2", ".weights.h5"),
        ("resnet20_v2", ".keras"),
        *(
            pytest.param(name, suffix, marks=SLOW)
            for name in ("dfn_mr1", "dpn68", "wide_resnet16_4")
            for suffix in (".keras", ".weights.h5", ".safetensors")
        ),
    ],
)
def test_every_family_opens_from_its_own_files(name, suffix, tmp_path):
    network = keras_resnets.create_model(name, num_classes=4)
    path = tmp_path / f"net{suffix}"
    if suffix == ".safetensors":
        weights.save(network, path, "keras_resnets")
    else:
        (network.save if suffix == ".keras" else network.save_weights)(path)
    opened = weights.open(path)
    assert_same(opened, network, network.input_shape[1:3])
