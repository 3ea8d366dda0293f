"""Weights that do not fit: one line each, and the network stays as it was."""

import numpy as np
import pytest
from slow import first
from weights_helpers import free, one_line

import keras_resnets
from keras_resnets import weights
from keras_resnets.errors import UserError
from keras_resnets.weights.files import write_safetensors


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: free(), "shortcut_pad='both' and not 'end'"),
        (lambda: free(shortcut="B"), "shortcut='A' and not 'B'"),
        (lambda: free(shortcut_pad="both", width=8), "width=16 and not 8"),
        (lambda: free(shortcut_pad="both", padding="tensorflow"), "padding='symmetric'"),
        (lambda: free(shortcut_pad="both", activation="full_preact"), "activation='original'"),
        (lambda: keras_resnets.ResNet32(shortcut_pad="both"), "layer1.3.conv1.weight"),
        (lambda: keras_resnets.ResNet18(), "ResNet20 in akamaster's names"),
        (lambda: keras_resnets.WideResNet16_4(), "ResNet20 in akamaster's names"),
    ],
)
def test_a_network_that_computes_something_else_is_refused(write, make, words):
    path = write(free(shortcut_pad="both"), "akamaster")
    network = make()
    before = network.get_weights()
    with pytest.raises(UserError, match="it is of ResNet20 in akamaster's names") as error:
        weights.load(network, path)
    assert words in one_line(error)
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("builder", "source"),
    first(2, [
        ("ResNet18", "ResNet34"),
        ("ResNet50V2", "ResNet50"),
        ("ResNet50", "ResNeXt50_32x4d"),
        ("ResNet50", "WideResNet50_2"),
        ("ResNet101", "ResNet50"),
    ]),
)
def test_another_variant_is_refused_and_the_right_one_named(write, builder, source):
    path = write(getattr(keras_resnets, source)(), "torchvision")
    with pytest.raises(UserError, match=f"it is of {source} in torchvision's names") as error:
        getattr(keras_resnets, builder)(weights=path)
    one_line(error)
    assert keras_resnets.resnet(weights=path).options["depth"] in (34, 50)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"drop": ("layer2.0.bn1.bias",)}, "1 tensors missing: layer2.0.bn1.bias"),
        ({"extra.weight": np.zeros(2, np.float32)}, "1 tensors left over: extra.weight"),
        (
            {"layer2.0.conv2.weight": np.zeros((32, 32, 1, 1), np.float32)},
            "1 tensors of other shapes: layer2.0.conv2.weight (32, 32, 1, 1) instead of",
        ),
        ({"bn1.running_mean": np.full(16, np.nan, np.float32)}, "bn1.running_mean is not finite"),
        ({"bn1.weight": np.full(16, np.inf, np.float32)}, "bn1.weight is not finite"),
        ({"bn1.weight": np.ones(16, np.int64)}, "bn1.weight holds int64"),
    ],
)
def test_damaged_weights_leave_the_network_as_it_was(write, change, words):
    network = free(shortcut_pad="both")
    path = write(free(shortcut_pad="both"), "akamaster", **change)
    before = network.get_weights()
    with pytest.raises(UserError) as error:
        weights.load(network, path)
    assert words in one_line(error)
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_at_most_ten_names_are_listed(write):
    path = write(free(shortcut_pad="both"), "akamaster")
    with pytest.raises(UserError) as error:
        keras_resnets.ResNet56(weights=path)
    listed = one_line(error).split("tensors missing: ")[1].split(", ")
    assert len(listed) == 11
    assert listed[-1] == "..."


def test_names_that_nobody_knows(write, tmp_path):
    write_safetensors(tmp_path / "x.safetensors", {"encoder.weight": np.zeros(2, np.float32)})
    words = "has the names of none of .*begins with: encoder"
    with pytest.raises(UserError, match=words) as error:
        weights.open(tmp_path / "x.safetensors")
    one_line(error)
    for value in (3, ["a"], True):
        with pytest.raises(UserError, match="must be a path or a name"):
            keras_resnets.ResNet20(weights=value)


@pytest.mark.parametrize(
    ("dialect", "key", "words"),
    [
        ("timm_dpn_b", "features.conv4_6.c1x1_a.conv.weight", "SiLU"),
        ("timm_resnetv2", "stages.0.blocks.0.norm1.weight", "standardize"),
    ],
)
def test_networks_of_the_same_names_that_compute_otherwise_are_refused(
    write, dialect, key, words
):
    if dialect == "timm_dpn_b":
        network = keras_resnets.dpn(
            variant_b=True, depths=(3, 4, 6, 3), increments=(16, 32, 32, 64), k_r=128,
            base_width=64, stem_width=10, stem_kernel=3,
        )
        path = write(network, dialect)
    else:
        network = keras_resnets.ResNet18V2(bare_stem=True, norm="group")
        path = write(network, dialect)
    with pytest.raises(UserError, match=words) as error:
        weights.open(path)
    one_line(error)
