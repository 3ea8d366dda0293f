"""Whose weights a network takes: files of its own, of what computes the same, and no others."""

import json

import h5py
import keras
import numpy as np
import pytest

import keras_resnets
from keras_resnets import create_model


def small(**options):
    return keras_resnets.ResNet20(**{"width": 4, "input_shape": (16, 16, 3), **options})


OTHERS = {
    "V2": ("resnet20_v2", {}, "activation='original' there, activation='full_preact' here"),
    "plain": ("plain20", {}, "skip='identity' there, skip='none' here"),
    "placement": ("resnet20", {"activation": "relu_before_add"}, "activation="),
    "padding": ("resnet20", {"padding": "tensorflow"}, "padding='symmetric' there"),
    "shortcut": ("resnet20", {"shortcut": "B"}, "shortcut='A' there, shortcut='B' here"),
    "zeros": ("resnet20", {"shortcut_pad": "both"}, "shortcut_pad='end' there"),
    "width": ("resnet20", {"width": 8}, "width=4 there, width=8 here"),
    "family": ("wide_resnet16_4", {"width": 4}, "of the family resnet_cifar, not of wide_resnet"),
}


@pytest.mark.parametrize("file", ["x.keras", "x.weights.h5"])
@pytest.mark.parametrize("other", OTHERS)
def test_weights_do_not_enter_a_differently_wired_net(tmp_path, other, file):
    source = small()
    (source.save if file == "x.keras" else source.save_weights)(tmp_path / file)
    name, options, words = OTHERS[other]
    target = create_model(name, **{"width": 4, "input_shape": (16, 16, 3), **options})
    before = target.get_weights()
    for skip_mismatch in (False, True):
        with pytest.raises(ValueError) as caught:
            target.load_weights(tmp_path / file, skip_mismatch=skip_mismatch)
        assert words in str(caught.value) and "\n" not in str(caught.value)
        assert file in str(caught.value)
    for old, new in zip(before, target.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("file", ["x.keras", "x.weights.h5"])
@pytest.mark.parametrize(
    "options",
    [{"survival": 0.5}, {"head_dropout": 0.5}, {"include_top": False}, {"norm": "sync_batch"},
     {"input_shape": (None, None, 3)}, {"classifier_activation": "softmax"},
     {"zero_init_residual": True}, {"shortcut": "A"}, {"name": "other"}],
    ids=str,
)
def test_weights_enter_what_computes_the_same(tmp_path, options, file):
    source, target = small(), small(**options)
    (source.save if file == "x.keras" else source.save_weights)(tmp_path / file)
    target.load_weights(tmp_path / file)
    for name in ("stem_conv", "stage3_block3_bn2"):
        for a, b in zip(
            source.get_layer(name).get_weights(), target.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("file", ["x.keras", "x.weights.h5"])
def test_another_number_of_classes_is_one_line(tmp_path, file):
    source, target = small(), small(num_classes=3)
    (source.save if file == "x.keras" else source.save_weights)(tmp_path / file)
    with pytest.raises(ValueError, match="logits has variables of other shapes") as caught:
        target.load_weights(tmp_path / file)
    assert "\n" not in str(caught.value)
    kernel = target.get_layer("logits").get_weights()[0]
    with pytest.warns(UserWarning, match="could not be loaded"):
        target.load_weights(tmp_path / file, skip_mismatch=True)
    np.testing.assert_array_equal(target.get_layer("logits").get_weights()[0], kernel)
    np.testing.assert_array_equal(
        target.get_layer("stem_conv").kernel, source.get_layer("stem_conv").kernel
    )


@pytest.mark.parametrize("file", ["x.keras", "x.weights.h5"])
def test_a_file_without_the_classifier_is_one_line(tmp_path, file):
    source, target = small(include_top=False, input_shape=(16, 16, 3)), small()
    (source.save if file == "x.keras" else source.save_weights)(tmp_path / file)
    with pytest.raises(keras_resnets.UserError, match="has no variables for logits") as caught:
        target.load_weights(tmp_path / file)
    assert "\n" not in str(caught.value) and "skip_mismatch=True" in str(caught.value)
    with pytest.warns(UserWarning, match="could not be loaded"):
        target.load_weights(tmp_path / file, skip_mismatch=True)
    np.testing.assert_array_equal(
        target.get_layer("stem_conv").kernel, source.get_layer("stem_conv").kernel
    )


def test_files_without_a_stamp_go_by_their_layers(tmp_path):
    model = small()
    model.save_weights(tmp_path / "x.weights.h5")
    with h5py.File(tmp_path / "x.weights.h5", "a") as file:
        stamp = json.loads(file.attrs["keras_resnets"])
        del file.attrs["keras_resnets"]
    assert stamp["family"] == "resnet_cifar" and stamp["wiring"]["depth"] == 20
    small().load_weights(tmp_path / "x.weights.h5")
    keras.Model(model.input, model.output).save_weights(tmp_path / "plain.weights.h5")
    small().load_weights(tmp_path / "plain.weights.h5")
    v2 = create_model("resnet20_v2", width=4, input_shape=(16, 16, 3))
    with pytest.raises(ValueError, match="stand in another order"):
        v2.load_weights(tmp_path / "x.weights.h5")


def test_networks_with_skippable_branches_take_their_own_files(tmp_path, rng):
    source, target = small(survival=0.5), small(survival=0.5)
    source.save(tmp_path / "x.keras")
    source.save_weights(tmp_path / "x.weights.h5")
    for file in ("x.keras", "x.weights.h5"):
        for variable in target.trainable_variables:
            variable.assign(rng.standard_normal(variable.shape))
        target.load_weights(tmp_path / file)
        for a, b in zip(source.weights, target.weights, strict=True):
            np.testing.assert_array_equal(a, b)


def test_files_that_cannot_say_whose_they_are_are_refused(tmp_path):
    model = small()
    for name in ("x.h5", "x.weights.json", "x"):
        with pytest.raises(ValueError, match="must be a .keras or a .weights.h5 file"):
            model.save_weights(tmp_path / name)
        with pytest.raises(ValueError, match="must be a .keras or a .weights.h5 file"):
            model.load_weights(tmp_path / name)


def test_a_declined_overwrite_leaves_the_stamp(tmp_path, monkeypatch):
    path = tmp_path / "x.weights.h5"
    other = create_model("resnet20_v2", width=4, input_shape=(16, 16, 3))
    other.save_weights(path)
    monkeypatch.setattr("builtins.input", lambda *_: "n")
    small().save_weights(path, overwrite=False)
    other.load_weights(path)


def test_the_same_net_said_in_other_words_takes_the_weights(tmp_path):
    for one, other in (
        (dict(skip="conv"), dict(shortcut="C")),
        (dict(shortcut="A"), dict()),
    ):
        small(**one).save_weights(tmp_path / "x.weights.h5")
        small(**other).load_weights(tmp_path / "x.weights.h5")
    wide = dict(depth=10, widen=1, width=4)
    keras_resnets.wide_resnet(**wide).save_weights(tmp_path / "x.weights.h5")
    keras_resnets.wide_resnet(block_type=(3, 3), **wide).load_weights(tmp_path / "x.weights.h5")


def test_dilation_is_part_of_the_wiring_of_a_classifier(tmp_path):
    options = dict(width=4, input_shape=(64, 64, 3))
    keras_resnets.ResNet18(**options).save_weights(tmp_path / "x.weights.h5")
    with pytest.raises(ValueError, match="output_stride=None there, output_stride=8 here"):
        keras_resnets.ResNet18(output_stride=8, **options).load_weights(tmp_path / "x.weights.h5")
    bare = keras_resnets.ResNet18(output_stride=8, include_top=False, **options)
    bare.load_weights(tmp_path / "x.weights.h5")
