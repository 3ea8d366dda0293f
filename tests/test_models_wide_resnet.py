"""Wide ResNets: an independent forward pass, the paper's tables, initialisation and options."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnets.models.wide_resnet  # noqa: F401  (registers the family)
from keras_resnets import create_model

# Zagoruyko 2016, Table 2: block type, depth and millions of parameters of nets with k = 2.
TABLE_2 = [
    ("B(1,3,1)", 40, 1.4),
    ("B(3,1)", 40, 1.2),
    ("B(1,3)", 40, 1.3),
    ("B(3,1,1)", 40, 1.3),
    ("B(3,3)", 28, 1.5),
    ("B(3,1,3)", 22, 1.1),
]


def randomize(model, rng):
    """Weights under which every layer matters, also the batch norms in inference."""
    for weight in model.weights:
        scale = 0.5 / np.sqrt(np.prod(weight.shape[:-1])) if len(weight.shape) > 1 else 0.2
        values = rng.normal(0, scale, weight.shape)
        is_near_1 = weight.name in ("gamma", "moving_variance")
        weight.assign(np.abs(1 + values) if is_near_1 else values)


def convolve(model, name, x, stride=1):
    kernel = model.get_layer(name).kernel.numpy()
    pad = kernel.shape[0] // 2
    x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
    return tf.nn.conv2d(x, kernel, stride, "VALID").numpy()


def norm_relu(model, name, x):
    layer = model.get_layer(name)
    gamma, beta, mean, variance = (w.numpy() for w in layer.weights)
    return np.maximum((x - mean) / np.sqrt(variance + 1e-5) * gamma + beta, 0)


def forward(model, x, kernels, blocks):
    """`pytorch/resnet.py` of the authors' repository, with the kernels of a block as a list."""
    x = convolve(model, "stem_conv", x)
    for stage in (1, 2, 3):
        for block in range(1, blocks + 1):
            name = f"stage{stage}_block{block}"
            stride = 2 if stage > 1 and block == 1 else 1
            o = norm_relu(model, f"{name}_bn1", x)
            z = convolve(model, f"{name}_conv1", o, stride)
            for number in range(2, len(kernels) + 1):
                z = norm_relu(model, f"{name}_bn{number}", z)
                z = convolve(model, f"{name}_conv{number}", z)
            if o.shape != z.shape:
                x = convolve(model, f"{name}_shortcut_conv", o, stride)
            x = x + z
    x = norm_relu(model, "final_bn", x).mean((1, 2))
    kernel, bias = model.get_layer("logits").get_weights()
    return x @ kernel + bias


@pytest.mark.parametrize(
    ("block_type", "kernels", "depth", "widen", "shape"),
    [
        ("B(3,3)", (3, 3), 10, 2, (16, 16, 3)),
        ("B(3,3)", (3, 3), 16, 1, (19, 14, 2)),
        ("B(3,1)", (3, 1), 10, 1.5, (13, 16, 3)),
        ("B(1,3)", (1, 3), 10, 2, (16, 13, 1)),
        ("B(1,3,1)", (1, 3, 1), 10, 2, (16, 16, 3)),
        ("B(3,1,1)", (3, 1, 1), 10, 2, (9, 9, 3)),
        ("B(3,1,3)", (3, 1, 3), 16, 2, (16, 16, 3)),
        ((3,), (3,), 10, 2, (16, 16, 3)),
        ((3, 3, 3), (3, 3, 3), 13, 2, (16, 16, 5)),
    ],
)
def test_forward_equals_an_independent_one(block_type, kernels, depth, widen, shape, rng):
    model = create_model(
        "wide_resnet", depth=depth, widen=widen, block_type=block_type, width=4, input_shape=shape
    )
    randomize(model, rng)
    blocks = (depth - 4) // (6 if 1 in kernels else 3 * len(kernels))
    x = rng.normal(size=(2, *shape)).astype("float32")
    expected = forward(model, x, kernels, blocks)
    np.testing.assert_allclose(model(x).numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("block_type", "depth", "millions"), TABLE_2)
def test_block_types_have_the_parameters_of_table_2(block_type, depth, millions):
    model = create_model("wide_resnet", depth=depth, widen=2, block_type=block_type)
    count = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert round(count / 1e6, 1) == millions


@pytest.mark.parametrize("convolutions", [1, 2, 3, 4])
def test_blocks_of_table_3_have_the_same_parameters(convolutions):
    model = create_model("wide_resnet40_2", block_type=(3,) * convolutions)
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == 2_243_546


def test_initialisation_is_by_fan_in_and_differs_between_layers():
    model = create_model("wide_resnet", depth=16, widen=8)
    for name in ("stem_conv", "stage2_block1_conv1", "stage2_block1_shortcut_conv"):
        kernel = model.get_layer(name).kernel.numpy()
        deviation = np.sqrt(2 / np.prod(kernel.shape[:3]))
        np.testing.assert_allclose(kernel.std(), deviation, rtol=0.08)
    one, other = (model.get_layer(f"stage1_block2_conv{n}").kernel.numpy() for n in (1, 2))
    assert one.shape == other.shape and np.abs(one - other).max() > 0.01


def test_dropout_is_between_the_convolutions_after_bn_and_relu():
    model = create_model("wide_resnet16_4", dropout=0.3)
    dropouts = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert len(dropouts) == 6
    for dropout in dropouts:
        block = dropout.name.removesuffix("_dropout2")
        assert dropout.rate == 0.3
        assert dropout.input is model.get_layer(f"{block}_relu2").output
        assert model.get_layer(f"{block}_conv2").input is dropout.output
    plain = create_model("wide_resnet16_4")
    assert not any(isinstance(layer, keras.layers.Dropout) for layer in plain.layers)
    assert [w.path for w in plain.trainable_weights] == [w.path for w in model.trainable_weights]


def test_the_projection_starts_from_the_shared_activation_and_has_no_batch_norm():
    model = create_model("wide_resnet", depth=10, widen=2)
    relu = model.get_layer("stage2_block1_relu1").output
    assert model.get_layer("stage2_block1_conv1").input is relu
    assert model.get_layer("stage2_block1_shortcut_conv").input is relu
    assert not any("stem_bn" in layer.name or "shortcut_bn" in layer.name for layer in model.layers)


def test_width_1_has_no_projection_in_the_first_stage():
    names = {layer.name for layer in create_model("wide_resnet40_1").layers}
    assert "stage1_block1_shortcut_conv" not in names and "stage2_block1_shortcut_conv" in names


def test_gradients_are_finite_and_reach_the_stem(rng):
    model = create_model("wide_resnet", depth=16, widen=2, dropout=0.3)
    x = rng.normal(size=(4, 32, 32, 3)).astype("float32")
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(x, training=True) ** 2)
    gradients = tape.gradient(loss, [w.value for w in model.trainable_weights])
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert model.trainable_weights[0].path.startswith("stem_conv")
    assert np.abs(gradients[0]).max() > 0


def test_sizes_stems_and_tops():
    model = create_model("wide_resnet", depth=10, widen=2, input_shape=(None, None, 4))
    assert model(np.zeros((1, 33, 21, 4), "float32")).shape == (1, 10)
    shapes = {"cifar": (8, 8, 128), "imagenet": (14, 14, 128)}
    for stem, shape in shapes.items():
        side = {"cifar": 32, "imagenet": 224}[stem]
        model = create_model(
            "wide_resnet", depth=10, widen=2, stem=stem, include_top=False,
            input_shape=(side, side, 3),
        )  # fmt: skip
        assert model.output_shape == (None, *shape)
        assert model.output is model.get_layer("final_relu").output


def test_a_saved_net_keeps_its_block_type(tmp_path, rng):
    model = create_model("wide_resnet", depth=13, widen=1.5, block_type=[3, 3, 3], dropout=0.1)
    model.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    x = rng.normal(size=(2, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(model(x), loaded(x))
    assert loaded.options["block_type"] == (3, 3, 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"depth": 27}, "`depth` must be 6n+4 (10, 16, 22, 28, ...)"),
        ({"depth": 4}, "`depth` must be 6n+4"),
        ({"depth": 28.0}, "`depth` must be 6n+4"),
        ({"depth": 22, "block_type": (3, 3, 3, 3)}, "`depth` must be 12n+4"),
        ({"depth": 20, "block_type": "B(3,1,3)"}, "`depth` must be 6n+4"),
        ({"widen": 0}, "`widen` must be"),
        ({"widen": 0.01}, "`widen` must be"),
        ({"widen": "2"}, "`widen` must be"),
        ({"dropout": 1.0}, "`dropout` must be in [0, 1)"),
        ({"dropout": -0.1}, "`dropout` must be in [0, 1)"),
        ({"block_type": "B(2,3)"}, "`block_type` must be"),
        ({"block_type": "B()"}, "`block_type` must be"),
        ({"block_type": "basic"}, "`block_type` must be"),
        ({"block_type": ()}, "`block_type` must be"),
        ({"block_type": 3}, "`block_type` must be"),
        ({"width": 0}, "`width` must be"),
    ],
)
def test_wrong_options_end_in_one_line(options, words):
    with pytest.raises(ValueError) as error:
        create_model("wide_resnet", **options)
    message = str(error.value)
    assert words in message and "Received: " in message and "\n" not in message
