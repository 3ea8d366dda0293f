"""Blocks and runs of blocks against sums made by hand, and gradients against products."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnets
from keras_resnets import analysis
from keras_resnets.errors import UserError


def net(depth=20, **options):
    options = {"activation": "full_preact", "input_shape": (8, 8, 3)} | options
    return keras_resnets.resnet_cifar(depth=depth, width=4, **options)


def noise(rng, batch=3):
    return rng.standard_normal((batch, 8, 8, 3), "float32")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shortcut": "B"},
        {"activation": "relu_preact"},
        {"activation": "relu_before_add"},
        {"survival": 0.5},
        {"survival": 0.5, "survival_draw": "sample"},
        {"norm": "sync_batch", "survival": 0.5},
    ],
)
def test_blocks_are_sums(options, rng):
    rows = analysis.residual_sums(net(**options), noise(rng))
    assert [row.name for row in rows[:9]] == [
        f"stage{stage}_block{index}" for stage in (1, 2, 3) for index in (1, 2, 3)
    ]
    assert [row.name for row in rows[9:]] == [
        "stage1_block1 to stage1_block3",
        "stage2_block1 to stage2_block3",
        "stage3_block1 to stage3_block3",
    ]
    assert [row.blocks for row in rows] == [1] * 9 + [3] * 3
    for row in rows:
        assert row.error < 1e-6
        assert row.branches > 0.1  # the sum is no identity by itself


def test_a_run_by_hand(rng):
    """Stage 2 of ResNet-20 V2, its branches computed by the layers' names one after the other."""
    model, images = net(), noise(rng)
    for layer in model.layers:  # as if it had been trained
        if isinstance(layer, keras_resnets.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    start, end = (
        keras.Model(model.input, model.get_layer(f"stage2_block{index}_merge").output)(images)
        for index in (1, 3)
    )
    x, total = start, 0.0
    for index in (2, 3):
        y = x
        for name in ("bn1", "relu1", "conv1", "bn2", "relu2", "conv2"):
            y = model.get_layer(f"stage2_block{index}_{name}")(y)
        x, total = x + y, total + y
    np.testing.assert_allclose(end, start + total, rtol=1e-4, atol=1e-5)
    rows = {row.name: row for row in analysis.residual_sums(model, images)}
    share = np.linalg.norm(x - model_shortcut(model, images)) / np.linalg.norm(x)
    assert rows["stage2_block1 to stage2_block3"].branches == pytest.approx(share, rel=1e-4)


def model_shortcut(model, images):
    """What shortcut A makes of the activated input of stage 2."""
    layers = [model.get_layer(f"stage2_block1_{name}") for name in ("relu1", "shortcut_pad")]
    x = keras.Model(model.input, layers[0].output)(images)
    return np.pad(x[:, ::2, ::2], [(0, 0), (0, 0), (0, 0), (0, 4)])


def test_a_wrong_sum_shows(rng):
    """An error that is put in between the branch and the addition is the one that is found."""
    model = net(depth=8)
    merge = model.blocks[1].branches[0].merge
    add = merge.call
    merge.call = lambda inputs: add(inputs) * 1.01
    rows = analysis.residual_sums(model, noise(rng))
    assert rows[1].error == pytest.approx(0.01 / 1.01, rel=1e-3)
    assert rows[0].error < 1e-6 and rows[2].error < 1e-6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"activation": "original"}, "after the addition"),
        ({"activation": "bn_after_add"}, "after the addition"),
        ({"skip": "none"}, "has no shortcut"),
        ({"skip": "lambda"}, "scaled or gated"),
        ({"skip": "constant"}, "scaled or gated"),
        ({"skip": "shortcut_gate"}, "scaled or gated"),
        ({"skip": "dropout"}, "not the identity"),
        ({"skip": "conv"}, "not the identity"),
        ({"shortcut": "C"}, "not the identity"),
    ],
)
def test_nets_that_are_no_sums_are_refused(options, words, rng):
    with pytest.raises(UserError, match=words) as caught:
        analysis.residual_sums(net(depth=8, **options), noise(rng))
    assert "\n" not in str(caught.value)


def test_other_things_are_refused(rng):
    images = noise(rng)
    paths = keras_resnets.fusenet(kind="cross", depth=26, width=4, input_shape=(8, 8, 3))
    with pytest.raises(UserError, match="several paths"):
        analysis.residual_sums(paths, images)
    dense = keras_resnets.dpn(depths=(1, 1), increments=(4, 4), stem="cifar", input_shape=(8, 8, 3))
    with pytest.raises(UserError, match="`network` must add one branch"):
        analysis.residual_sums(dense, images)
    x = keras.Input((8, 8, 3))
    with pytest.raises(UserError, match="must be a keras_resnets.Network"):
        analysis.residual_sums(keras.Model(x, x), images)
    with pytest.raises(UserError, match="`images` must have the shape"):
        analysis.residual_sums(net(depth=8), images[..., :1])


def test_the_product_of_lambdas_is_in_the_gradient():
    lambdas = (1.5, 0.25, 1.0)
    rows = analysis.lambda_gradients(lambdas, depth=14, width=4)
    assert [row.skip_lambda for row in rows] == [0.25, 1.0, 1.5]
    for row in rows:
        assert row.blocks == 5
        by_hand = row.skip_lambda * row.skip_lambda * row.skip_lambda**3
        assert row.product == pytest.approx(by_hand)
        assert row.shortcuts == pytest.approx(by_hand, rel=1e-5)
        assert math.isfinite(row.whole) and row.whole > row.shortcuts
    assert rows[1:2] == analysis.lambda_gradients(np.array([1.0]), depth=14, width=4)


def test_the_lambda_option_scales_the_shortcuts_gradient(rng):
    """In a network of the registry: the gradient through a block with branch 0 is lambda."""
    model = net(depth=14, skip="lambda", skip_lambda=0.7, zero_init_residual=True)
    start, end = model.blocks[0].output, model.blocks[1].output
    x = tf.constant(rng.standard_normal((2, 8, 8, 4)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = keras.Model(start, end)(x, training=True)
    gradient = tape.gradient(y, x)
    np.testing.assert_allclose(gradient, 0.7, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([],), "`lambdas` must be numbers above 0"),
        (([0.5, 0.0],), "`lambdas` must be numbers above 0"),
        (([math.nan],), "`lambdas` must be numbers above 0"),
        (([1.0], 15), "`depth` must be 6n"),
        (([1.0], 14, 4, 0), "`side` must be"),
    ],
)
def test_lambda_gradients_refuse(arguments, words):
    with pytest.raises(UserError, match=words):
        analysis.lambda_gradients(*arguments)


def test_the_figure_over_lambda(tmp_path):
    rows = [analysis.LambdaGradient(x, 5, x**5, x**5, x**5 + 1) for x in (0.5, 1.0, 1.5)]
    analysis.plot_lambda_gradients(rows, tmp_path / "lambda.png")
    assert (tmp_path / "lambda.png").stat().st_size > 1000
    with pytest.raises(UserError, match="`rows` must be"):
        analysis.plot_lambda_gradients([], tmp_path / "none.png")
