"""He 2016: the shortcut variants of Table 1 and the activations of Figure 4, unit by unit."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from residual_reference import Net, images, randomize, relu, sigmoid, zero_pad

import keras_resnets

SKIPS = {
    "identity": lambda x, f, g: x + f,
    "constant": lambda x, f, g: 0.5 * x + f,
    "exclusive_gate": lambda x, f, g: (1 - g) * x + g * f,
    "shortcut_gate": lambda x, f, g: (1 - g) * x + f,
    "conv": lambda x, f, g: x + f,
    "dropout": lambda x, f, g: x + f,
    "lambda": lambda x, f, g: 0.9 * x + f,
    "none": lambda x, f, g: f,
}
FIRST = ("stage1_block1", "stage2_block1", "stage3_block1")
BLOCKS = [f"stage{stage}_block{block}" for stage in (1, 2, 3) for block in (1, 2)]


def basic_unit(net, x, name, activation, add):
    """One unit of Figure 4, column by column; `add(x, f)` joins shortcut and branch."""
    stride = 2 if name in FIRST[1:] else 1

    def layer(kind, y, stride=1):
        if kind.startswith("conv"):
            return net.conv(y, f"{name}_{kind}", stride)
        return net.bn(y, f"{name}_{kind}")

    if activation == "original":
        f = layer("bn2", layer("conv2", relu(layer("bn1", layer("conv1", x, stride)))))
        return relu(add(x, f))
    if activation == "bn_after_add":
        f = layer("conv2", relu(layer("bn1", layer("conv1", x, stride))))
        return relu(layer("bn2", add(x, f)))
    if activation == "relu_before_add":
        f = layer("bn2", layer("conv2", relu(layer("bn1", layer("conv1", x, stride)))))
        return add(x, relu(f))
    if activation == "relu_preact":
        # The stem ends in the first ReLU; where the shape changes the ReLU is for both paths.
        y = x if name == FIRST[0] else relu(x)
        f = layer("bn2", layer("conv2", relu(layer("bn1", layer("conv1", y, stride)))))
        return add(y if name in FIRST else x, f)
    y = relu(layer("bn1", x))
    f = layer("conv2", relu(layer("bn2", layer("conv1", y, stride))))
    return add(y if name in FIRST else x, f)


def forward(model, x, activation, skip):
    net = Net(model)
    x = net.conv(x, "stem_conv")
    if activation != "full_preact":
        x = net.bn_relu(x, "stem_bn")
    for name in BLOCKS:
        stride = 2 if name in FIRST[1:] else 1

        def add(x, f, name=name, stride=stride):
            if f"{name}_shortcut_conv" in net:
                x = net.conv(x, f"{name}_shortcut_conv", stride)
                if f"{name}_shortcut_bn" in net:
                    x = net.bn(x, f"{name}_shortcut_bn")
            else:
                x = zero_pad(x, f.shape[-1], stride)
            gate = sigmoid(net.conv(x, f"{name}_gate")) if f"{name}_gate" in net else None
            return SKIPS[skip](x, f, gate)

        x = basic_unit(net, x, name, activation, add)
    if activation == "full_preact":
        x = net.bn_relu(x, "final_bn")
    if activation == "relu_preact":
        x = relu(x)
    return net.logits(x)


def small(**options):
    return keras_resnets.resnet_cifar(depth=14, width=4, input_shape=(9, 11, 3), **options)


CASES = [("original", skip, "A") for skip in SKIPS]
CASES += [
    (activation, "identity", shortcut)
    for activation in ("bn_after_add", "relu_before_add", "relu_preact", "full_preact")
    for shortcut in ("A", "B")
]
CASES += [("full_preact", "conv", "A"), ("original", "shortcut_gate", "B")]


@pytest.mark.parametrize(("activation", "skip", "shortcut"), CASES)
def test_every_variant_is_its_formula(activation, skip, shortcut):
    model = randomize(small(activation=activation, skip=skip, shortcut=shortcut))
    x = images(2, 9, 11, 3)
    expected = forward(model, x, activation, skip)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(model(x), expected, rtol=1e-5, atol=1e-5)


def test_the_numbers_of_the_variants_are_options():
    x = images(2, 9, 11, 3)
    base = randomize(small())
    same = {
        "constant": {"skip_scale": 1.0, "branch_scale": 1.0},
        "lambda": {"skip_lambda": 1.0},
        "shortcut_gate": {"gate_bias": -40.0},  # 1 - g = 1
    }
    for skip, numbers in same.items():
        model = small(skip=skip, **numbers)
        for layer in base.layers:
            model.get_layer(layer.name).set_weights(layer.get_weights())
        np.testing.assert_allclose(model(x), base(x), rtol=1e-5, atol=1e-6)
    # Constant scaling with shortcut 0 is the plain net (He 2016, Table 1).
    cut = small(skip="constant", skip_scale=0.0)
    plain = small(skip="none")
    for layer in plain.layers:
        if layer.weights:
            cut.get_layer(layer.name).set_weights(base.get_layer(layer.name).get_weights())
            layer.set_weights(base.get_layer(layer.name).get_weights())
    np.testing.assert_allclose(cut(x), plain(x), rtol=1e-5, atol=1e-6)
    assert float(np.abs(plain(x) - base(x)).max()) > 0.01
    half = small(skip="constant", branch_scale=0.5).get_layer("stage1_block1_merge")
    assert half.scales == (0.5, 0.5)


def test_gates_start_at_their_bias():
    model = small(skip="exclusive_gate", gate_bias=-3)
    gates = [layer for layer in model.layers if layer.name.endswith("_gate")]
    assert [layer.name for layer in gates] == [f"{name}_gate" for name in BLOCKS]
    for layer in gates:
        np.testing.assert_array_equal(layer.bias, np.full(layer.filters, -3.0))
        assert layer.kernel_size == (1, 1)


def test_dropout_is_on_every_shortcut_and_only_in_training():
    model = randomize(small(skip="dropout", skip_dropout=0.25))
    dropouts = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert [layer.name for layer in dropouts] == [f"{name}_shortcut_dropout" for name in BLOCKS]
    assert {layer.rate for layer in dropouts} == {0.25}
    x = images(4, 9, 11, 3)
    np.testing.assert_array_equal(model(x, training=False), model(x, training=False))
    probe = keras.Model(model.input, [dropouts[0].input, dropouts[0].output])
    before, after = (np.asarray(part) for part in probe(x, training=True))
    positive = before > 0
    ratios = after[positive] / before[positive]
    kept = ratios > 0
    np.testing.assert_allclose(ratios[kept], 4 / 3, rtol=1e-5)
    assert 0.7 < kept.mean() < 0.8


@pytest.mark.parametrize("skip", SKIPS)
def test_gradients_are_finite_and_reach_the_stem(skip):
    model = small(skip=skip)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(images(4, 9, 11, 3), training=True) ** 2)
    kernel = model.get_layer("stem_conv").kernel.value
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables] + [kernel])
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert np.abs(gradients[-1]).max() > 0


def test_any_family_and_block_takes_the_variants(tmp_path):
    model = randomize(
        keras_resnets.resnet(
            depth=18, width=4, stem="cifar", num_classes=3, input_shape=(16, 16, 3),
            skip="exclusive_gate", gate_bias=-2.0, activation="bn_after_add",
        )
    )
    assert model.get_layer("stage4_block2_gate").filters == 32
    model.save(tmp_path / "gated.keras")
    again = keras.saving.load_model(tmp_path / "gated.keras")
    assert again.options == model.options
    x = images(2, 16, 16, 3)
    np.testing.assert_array_equal(model(x), again(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skip": "highway"}, "`skip` must be one of ('identity', 'constant',"),
        ({"activation": "preact"}, "`activation` must be one of ('original', 'bn_after_add',"),
        ({"skip_dropout": 1.0}, "`skip_dropout` must be in [0, 1)"),
        ({"skip_scale": "half"}, "`skip_scale` must be a finite number"),
        ({"gate_bias": float("nan")}, "`gate_bias` must be a finite number"),
        ({"skip": "none", "zero_init_residual": True}, "`zero_init_residual` must be False"),
        (
            {"activation": "relu_before_add", "zero_init_residual": True},
            "`zero_init_residual` must be False with activation='relu_before_add'",
        ),
        ({"shortcut_pad": "left"}, "`shortcut_pad` must be one of ('end', 'both')"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError) as error:
        small(**options)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
