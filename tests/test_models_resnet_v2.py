"""ResNet V2: the released wirings written out in NumPy, depth of graph, and saving."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from residual_reference import Net, images, max_pool, randomize, zero_pad

import keras_resnets


def preact_net(model, x, depths, strides, *, kernels, stride_at, opening):
    """resnet-1k-layers (`opening="stem"`: conv) and fb preresnet (conv, BN, ReLU, max-pool).

    `kernels` is the number of convolutions of a block, `stride_at` the one with the stride.
    """
    net = Net(model)
    if opening == "imagenet":
        x = max_pool(net.bn_relu(net.conv(x, "stem_conv", 2), "stem_bn"))
    else:
        x = net.conv(x, "stem_conv")
    for stage, (depth, stage_stride) in enumerate(zip(depths, strides, strict=True), 1):
        for block in range(1, depth + 1):
            name = f"stage{stage}_block{block}"
            stride = stage_stride if block == 1 else 1
            y = x
            if not (name == "stage1_block1" and opening == "imagenet"):
                y = net.bn_relu(x, f"{name}_bn1")
            shared = y if block == 1 else x
            f = y
            for number in range(1, kernels + 1):
                if number > 1:
                    f = net.bn_relu(f, f"{name}_bn{number}")
                f = net.conv(f, f"{name}_conv{number}", stride if number == stride_at else 1)
            if f"{name}_shortcut_conv" in net:
                x = net.conv(shared, f"{name}_shortcut_conv", stride) + f
            else:
                x = zero_pad(shared, f.shape[-1], stride) + f
    return net.logits(net.bn_relu(x, "final_bn"))


CIFAR = {"strides": (1, 2, 2), "opening": "cifar"}
NETS = {
    "basic A": (
        lambda: keras_resnets.resnet_cifar(
            depth=14, activation="full_preact", width=4, input_shape=(9, 12, 2)
        ),
        {"depths": (2, 2, 2), "kernels": 2, "stride_at": 1, **CIFAR},
    ),
    "basic B": (
        lambda: keras_resnets.resnet_cifar(
            depth=14, activation="full_preact", shortcut="B", width=4, input_shape=(9, 12, 2)
        ),
        {"depths": (2, 2, 2), "kernels": 2, "stride_at": 1, **CIFAR},
    ),
    "bottleneck": (
        lambda: keras_resnets.resnet_cifar(
            depth=20, block="bottleneck", activation="full_preact", width=4, input_shape=(9, 12, 2)
        ),
        {"depths": (2, 2, 2), "kernels": 3, "stride_at": 1, **CIFAR},
    ),
    "imagenet basic": (
        lambda: keras_resnets.ResNet18V2(width=4, input_shape=(45, 34, 2)),
        {"depths": (2,) * 4, "kernels": 2, "stride_at": 1, "strides": (1, 2, 2, 2),
         "opening": "imagenet"},
    ),
    "imagenet bottleneck": (
        lambda: keras_resnets.ResNet50V2(width=4, input_shape=(45, 34, 2)),
        {"depths": (3, 4, 6, 3), "kernels": 3, "stride_at": 2, "strides": (1, 2, 2, 2),
         "opening": "imagenet"},
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_wiring_is_that_of_the_released_code(name):
    build, wiring = NETS[name]
    model = randomize(build())
    x = images(2, *model.input_shape[1:])
    expected = preact_net(model, x, **wiring)
    error = np.abs(model(x) - expected).max() / np.abs(expected).max()
    assert error < 1e-5


def test_v2_has_no_norm_on_shortcuts_and_ends_in_an_activation():
    model = keras_resnets.ResNet20V2(shortcut="B", include_top=False)
    names = [layer.name for layer in model.layers]
    assert not any("shortcut_bn" in name for name in names)
    assert names[-2:] == ["final_bn", "final_relu"]
    assert "stem_bn" not in names
    assert sum(isinstance(layer, keras.layers.ReLU) for layer in model.layers) == 2 * 9 + 1
    # The first blocks of the stages share their activation; its output feeds branch and shortcut.
    for stage in (2, 3):
        shared = model.get_layer(f"stage{stage}_block1_relu1").output
        assert model.get_layer(f"stage{stage}_block1_conv1").input is shared
        assert model.get_layer(f"stage{stage}_block1_shortcut_conv").input is shared


def test_zero_init_makes_every_block_its_shortcut():
    model = keras_resnets.resnet_cifar(
        depth=14, activation="full_preact", zero_init_residual=True, input_shape=(8, 8, 3)
    )
    x = images(2, 8, 8, 3)
    ends = [model.get_layer(f"stage2_block{block}_merge").output for block in (1, 2)]
    first, second = keras.Model(model.input, ends)(x)
    assert float(tf.reduce_max(abs(first))) > 0
    np.testing.assert_array_equal(first, second)


def test_gradients_are_finite_and_reach_the_stem():
    model = keras_resnets.resnet_cifar(
        depth=20, block="bottleneck", activation="full_preact", input_shape=(8, 8, 3)
    )
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(images(4, 8, 8, 3), training=True) ** 2)
    kernel = model.get_layer("stem_conv").kernel.value
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables] + [kernel])
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert np.abs(gradients[-1]).max() > 0


def test_saved_and_loaded_it_is_the_same(tmp_path):
    model = randomize(keras_resnets.ResNet20V2(num_classes=3))
    model.save(tmp_path / "v2.keras")
    again = keras.saving.load_model(tmp_path / "v2.keras")
    assert (again.registry_name, again.options) == (model.registry_name, model.options)
    x = images(2, 32, 32, 3)
    np.testing.assert_array_equal(model(x), again(x))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet164_v2", {"activation": "original"}, "fixes `activation` at 'full_preact'"),
        ("resnet_cifar", {"depth": 163, "block": "bottleneck"}, "`depth` must be 9n+2"),
        ("resnet", {"depth": 1001}, "`depth` must be one of (18, 34, 50, 101, 152, 200)"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(ValueError) as error:
        keras_resnets.create_model(name, **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


SCRIPT = """
import sys
assert sys.getrecursionlimit() == 1000
import keras, numpy as np, keras_resnets
model = keras_resnets.create_model({name!r})
images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
if {train}:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, jit_compile=False)
    assert np.isfinite(model.train_on_batch(images, np.array([0, 1])))
model.save("deep.keras")
again = keras.saving.load_model("deep.keras")
for ours, theirs in zip(model.get_weights(), again.get_weights(), strict=True):
    np.testing.assert_array_equal(ours, theirs)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "train"),
    [("resnet1001_v2", True), ("resnet1001", False), ("resnet1202", False)],
)
def test_a_thousand_layers_live_within_pythons_recursion_limit(name, train, tmp_path):
    script = SCRIPT.format(name=name, train=train)
    paths = [os.path.dirname(os.path.dirname(keras_resnets.__file__)), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2000:]
