"""Dual Path Networks against a forward pass in raw TensorFlow, and their widths."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_resnets.layers import BatchNormalization
from keras_resnets.layers.split import SplitChannels
from keras_resnets.models import create_model
from keras_resnets.models.dpn import dpn

DEPTHS, INCREMENTS = (2, 1, 3), (3, 5, 2)
SMALL = {
    "depths": DEPTHS,
    "increments": INCREMENTS,
    "k_r": 8,
    "groups": 4,
    "base_width": 6,
    "stem_width": 5,
    "num_classes": 4,
    "input_shape": (37, 33, 3),
}


def small(**options):
    return dpn(**{**SMALL, **options})


def images(*shape):
    return np.random.default_rng(0).normal(size=shape or (3, 37, 33, 3)).astype("float32")


def shake(model):
    random = np.random.default_rng(1)
    for variable in model.trainable_variables + model.non_trainable_variables:
        low, high = (-0.5, 0.5) if "kernel" in variable.path else (0.5, 1.5)
        variable.assign(random.uniform(low, high, variable.shape))
    return model


class Reference:
    """The network once more: its weights by layer names, everything else in raw TensorFlow."""

    def __init__(self, model, groups):
        self.model, self.groups = model, groups

    def conv(self, x, name, stride=1, groups=1):
        kernel = self.model.get_layer(name).kernel.numpy()
        pad = kernel.shape[0] // 2
        x = np.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        parts = zip(np.split(x, groups, -1), np.split(kernel, groups, -1), strict=True)
        return np.concatenate(
            [tf.nn.conv2d(part, weights, stride, "VALID") for part, weights in parts], -1
        )

    def norm(self, x, name, activation=lambda x: np.maximum(x, 0)):
        bn = self.model.get_layer(name)
        x = (x - bn.moving_mean.numpy()) / np.sqrt(bn.moving_variance.numpy() + 1e-3)
        return activation(x * bn.gamma.numpy() + bn.beta.numpy())

    def stem(self, x, stem):
        x = self.conv(x, "stem_conv", 2 if stem == "imagenet" else 1)
        x = self.norm(x, "stem_bn")
        if stem == "cifar":
            return x
        x = np.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])  # zeros do after a ReLU
        return tf.nn.max_pool2d(x, 3, 2, "VALID").numpy()

    def block(self, x, name, residual, increment, stride, first, variant_b):
        """`x` is all channels of both paths; so is the output."""
        if first:
            shortcut = self.norm(x, f"{name}_shortcut_bn")
            shortcut = self.conv(shortcut, f"{name}_shortcut_conv", stride)
            assert shortcut.shape[-1] == residual + 2 * increment
        else:
            shortcut = x
        y = self.conv(self.norm(x, f"{name}_bn1"), f"{name}_conv1")
        y = self.conv(self.norm(y, f"{name}_bn2"), f"{name}_conv2", stride, self.groups)
        y = self.norm(y, f"{name}_bn3")
        parts = [self.conv(y, f"{name}_conv3")]
        if variant_b:
            parts.append(self.conv(y, f"{name}_dense_conv"))
        y = np.concatenate(parts, -1)
        added = shortcut[..., :residual] + y[..., :residual]
        return np.concatenate([added, shortcut[..., residual:], y[..., residual:]], -1)

    def __call__(self, x, stem, variant_b, head_activation):
        x = self.stem(x, stem)
        for stage, (depth, increment) in enumerate(zip(DEPTHS, INCREMENTS, strict=True)):
            for index in range(depth):
                first = index == 0
                stride = 2 if first and stage > 0 else 1
                name = f"stage{stage + 1}_block{index + 1}"
                x = self.block(x, name, 6 * 2**stage, increment, stride, first, variant_b)
        activations = {
            "relu": lambda x: np.maximum(x, 0),
            "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
        }
        x = self.norm(x, "final_bn", activations[head_activation]).mean((1, 2))
        dense = self.model.get_layer("logits")
        return x @ dense.kernel.numpy() + dense.bias.numpy()


@pytest.mark.parametrize(
    "options",
    [
        {"stem": "imagenet", "variant_b": False, "head_activation": "relu"},
        {"stem": "imagenet", "variant_b": True, "head_activation": "elu", "stem_kernel": 3},
        {"stem": "cifar", "variant_b": False, "head_activation": "elu"},
    ],
)
def test_forward_equals_the_reference(options):
    model = shake(small(**options))
    options.pop("stem_kernel", None)
    x = images()
    expected = Reference(model, SMALL["groups"])(x, **options)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(model(x) / scale, expected / scale, atol=1e-5)


@pytest.mark.parametrize("name", ["dpn68b", "dpn92"])
def test_widths_by_block(name):
    """After k blocks of a stage the dense path has k + 2 increments; both restart in the next."""
    model = create_model(name, input_shape=(32, 32, 3), include_top=False)
    table = {
        "dpn92": ((3, 4, 20, 3), (16, 32, 24, 128), 256, 96),
        "dpn68": ((3, 4, 12, 3), (16, 32, 32, 64), 64, 128),
    }
    depths, increments, base_width, k_r = table[name.rstrip("b")]
    for stage, (depth, increment) in enumerate(zip(depths, increments, strict=True)):
        for k in range(1, depth + 1):
            block = f"stage{stage + 1}_block{k}"
            side = 8 // 2**stage
            residual = model.get_layer(f"{block}_merge").output
            dense = model.get_layer(f"{block}_dense").output
            assert residual.shape == (None, side, side, base_width * 2**stage)
            assert dense.shape == (None, side, side, (k + 2) * increment)
            assert model.get_layer(f"{block}_conv2").filters == k_r * 2**stage
            assert model.get_layer(f"{block}_conv2").groups == 32
    assert model.output_shape == (None, 1, 1, base_width * 8 + (depths[-1] + 2) * increments[-1])


def test_every_batch_norm_has_mxnets_epsilon_and_the_stems_differ():
    model = small()
    norms = [layer for layer in model.layers if isinstance(layer, BatchNormalization)]
    assert len(norms) == 1 + 3 * sum(DEPTHS) + len(DEPTHS) + 1
    assert {norm.epsilon for norm in norms} == {1e-3}
    assert model.get_layer("stem_conv").kernel_size == (7, 7)
    assert create_model("dpn68", input_shape=(32, 32, 3)).get_layer("stem_conv").kernel.shape == (
        (3, 3, 3, 10)
    )


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_gradients_are_finite_and_reach_every_weight(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = small(input_shape=(None, None, 2), variant_b=policy != "float32")
    finally:
        keras.config.set_dtype_policy(before)

    @tf.function
    def gradients(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(x, training=True) ** 2)
        return tape.gradient(loss, model.trainable_variables)

    grads = gradients(images(4, 45, 38, 2))
    for variable, grad in zip(model.trainable_variables, grads, strict=True):
        assert np.isfinite(grad).all() and grad.numpy().any(), variable.path


def test_saves_and_loads(tmp_path):
    model = shake(small(variant_b=True, depths=[1, 1], increments=[2, 2], pooling="max"))
    model.save(tmp_path / "dpn.keras")
    loaded = keras.models.load_model(tmp_path / "dpn.keras")
    assert loaded.options == model.options
    np.testing.assert_array_equal(loaded(images()), model(images()))


def test_split_channels():
    layer = SplitChannels((2, 3))
    x = images(2, 3, 3, 5)
    first, second = SplitChannels.from_config(layer.get_config())(x)
    np.testing.assert_array_equal(first, x[..., :2])
    np.testing.assert_array_equal(second, x[..., 2:])
    with pytest.raises(ValueError, match="`sizes` must add up to the input's 6 channels"):
        layer(keras.Input((3, 3, 6)))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("depths", (2, 0, 3)),
        ("depths", 3),
        ("depths", (2, 2)),
        ("increments", ()),
        ("increments", (1, 2.5, 1)),
        ("k_r", 0),
        ("groups", 3),
        ("groups", True),
        ("base_width", -6),
        ("stem_width", "wide"),
        ("stem_kernel", 4),
        ("variant_b", "b"),
        ("head_activation", "gelu"),
    ],
)
def test_bad_options(option, value):
    with pytest.raises(ValueError, match=rf"`{option}`.* must .* Received: .*{option}=") as info:
        small(**{option: value})
    assert "\n" not in str(info.value)
