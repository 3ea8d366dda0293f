"""What holds for every family: names, head options, channels, odd sizes, feature maps, costs."""

import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnets
from keras_resnets import complexity, create_model, feature_extractor, list_models

ROWS = json.loads(pathlib.Path(__file__).with_name("parameter_counts.json").read_text())
SPELLED = {
    "resnet50_v2": "ResNet50V2",
    "resnet164_v2": "ResNet164V2",
    "resnet1001": "ResNet1001",
    "wide_resnet28_10": "WideResNet28_10",
    "wide_resnet50_2": "WideResNet50_2",
    "resnext29_8x64d": "ResNeXt29_8x64d",
    "resnext50_32x4d": "ResNeXt50_32x4d",
    "dpn92": "DPN92",
    "dpn68b": "DPN68b",
    "fractalnet20": "FractalNet20",
    "dfn_mr1": "DFNMR1",
    "plain56": "Plain56",
}
# A small member of each family, with the strides of its feature maps at the cifar stem.
SMALL = {
    "resnet": (dict(depth=18, width=4, stem="cifar"), (1, 2, 4, 8)),
    "resnet_cifar": (dict(depth=8, width=4), (1, 2, 4)),
    "resnet_cifar V2": (dict(depth=11, block="bottleneck", width=4, activation="full_preact"),
                        (1, 2, 4)),
    "resnet_cifar ResNeXt": (dict(depth=11, block="bottleneck", width=16, groups=4,
                                  width_per_group=16), (1, 2, 4)),
    "resnet_cifar plain": (dict(depth=8, width=4, skip="none"), (1, 2, 4)),
    "resnet_cifar stochastic": (dict(depth=8, width=4, survival=0.5), (1, 2, 4)),
    "wide_resnet": (dict(depth=10, widen=1, width=4), (1, 2, 4)),
    "dpn": (dict(depths=(1, 1, 1, 1), increments=(4, 4, 4, 4), k_r=8, groups=2, base_width=16,
                 stem_width=8, stem="cifar"), (1, 2, 4, 8)),
    "fractalnet": (dict(columns=2, blocks=3, width=4), (2, 4, 8)),
    "fusenet": (dict(kind="cross", depth=26, width=4), (1, 2, 4)),
    "fusenet_imagenet": (dict(blocks=(1, 1, 1, 1), width=8, stem="cifar"), (1, 2, 4, 8)),
}
small = pytest.mark.parametrize("name", SMALL)


def build(name, **options):
    return create_model(name.split()[0], **{**SMALL[name][0], **options})


def test_every_name_of_the_counts_exists_in_both_spellings():
    assert set(list_models()) >= {row["model"] for row in ROWS} | set(SPELLED)
    for public in SPELLED.values():
        builder = getattr(keras_resnets, public)
        assert builder is keras_resnets.models.public_builders()[public]
        assert builder.__name__ == public


def test_the_readme_has_every_network_with_its_published_counts():
    readme = pathlib.Path(__file__).parents[1].joinpath("README.md").read_text()
    cells = [line.split("|")[1:-1] for line in readme.splitlines() if line.startswith("| `")]
    shown = {row[0].strip(" `"): [cell.strip() for cell in row[1:]] for row in cells}
    assert set(list_models()) <= set(shown)
    compared = 0
    for row in ROWS:
        size, outputs, trainable, total, gmacs, _ = shown[row["model"]]
        own = (int(outputs), size) == (row["num_classes"], "x".join(map(str, row["input"])))
        if own and not row["options"]:
            assert (trainable, total) == (f"{row['trainable']:,}", f"{row['total']:,}")
            assert float(gmacs) == pytest.approx(row["macs"], abs=6e-4)
            compared += 1
    assert compared > 40


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_every_variant_builds(name):
    model = create_model(name, num_classes=7)
    assert model.output_shape == (None, 7)
    assert model.registry_name == name


@small
def test_head_channels_and_sizes(name, rng):
    model = build(name, num_classes=3, input_shape=(None, None, 5))
    for side in (32, 37):
        x = rng.standard_normal((2, side, side + 4, 5)).astype("float32")
        assert model(x).shape == (2, 3)
    bare = build(name, include_top=False, input_shape=(40, 33, 1))
    assert len(bare.output_shape) == 4
    pooled = build(name, include_top=False, pooling="max", input_shape=(40, 33, 1))
    assert pooled.output_shape == (None, bare.output_shape[-1])


@small
def test_saves_and_loads(name, rng, tmp_path):
    model = build(name)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = rng.standard_normal((2, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(loaded(x), model(x))
    assert loaded.options == model.options


def gradients_of(model, steps, rng):
    """The largest absolute gradient of each trainable variable over some training steps."""
    variables = [v.value for v in model.trainable_variables]

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(x, training=True) ** 2)
        return [tf.reduce_max(tf.abs(g)) for g in tape.gradient(loss, variables)]

    shape = (4, *(side or 32 for side in model.input_shape[1:]))
    found = [step(rng.standard_normal(shape).astype("float32")) for _ in range(steps)]
    return dict(zip([v.path for v in model.trainable_variables], np.max(found, 0), strict=True))


@small
def test_every_variable_gets_a_gradient(name, rng):
    found = gradients_of(build(name), 16 if "stochastic" in name or "fractal" in name else 1, rng)
    assert all(0 < value < np.inf for value in found.values()), found


@pytest.mark.parametrize("survival", [1.0, pytest.param(0.5, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "options",
    [{"activation": name} for name in ("bn_after_add", "relu_before_add", "relu_preact")]
    + [{"skip": name} for name in ("exclusive_gate", "shortcut_gate", "conv", "lambda")]
    + [{"zero_init_residual": True}],
    ids=str,
)
def test_every_variable_of_every_wiring_gets_a_gradient(options, survival, rng):
    model = create_model("resnet_cifar", depth=8, width=4, survival=survival, **options)
    if "zero_init_residual" in options:  # after a step; at first nothing behind a 0 gets one
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.gamma.assign(layer.gamma + 0.1)
    found = gradients_of(model, 16 if survival < 1 else 1, rng)
    assert all(0 < value < np.inf for value in found.values()), found


@small
def test_feature_maps(name, rng):
    strides = SMALL[name][1]
    model = build(name, input_shape=(64, 48, 3))
    maps = feature_extractor(model)
    assert tuple(maps) == strides
    x = rng.standard_normal((2, 64, 48, 3)).astype("float32")
    for stride, computed in maps(x).items():
        assert computed.shape[:3] == (2, 64 // stride, 48 // stride)
        assert computed.shape == (2, *maps[stride].shape[1:])
    pooled = model.get_layer("pool")(maps(x)[strides[-1]])
    np.testing.assert_allclose(model.get_layer("logits")(pooled), model(x), atol=1e-5)
    any_size = feature_extractor(build(name, input_shape=(None, None, 3)))
    assert tuple(any_size) == strides


def test_feature_maps_follow_the_activation():
    maps = feature_extractor(build("resnet_cifar V2"))
    names = [tensor._keras_history.operation.name for tensor in maps.values()]
    assert names == ["stage2_block1_relu1", "stage3_block1_relu1", "final_relu"]
    maps = feature_extractor(create_model("resnet18", width=4))
    assert tuple(maps) == (2, 4, 8, 16, 32)
    assert maps[2]._keras_history.operation.name == "stem_relu"


def numpy_macs(model):
    """Multiply-accumulates by counting on the graph that TensorFlow really runs."""
    shape = (1, *model.input_shape[1:])
    graph = tf.function(lambda x: model(x)).get_concrete_function(tf.TensorSpec(shape)).graph
    macs = 0
    for operation in graph.get_operations():
        if operation.type in ("Conv2D", "MatMul"):
            kernel = operation.inputs[1].shape.num_elements()
            macs += kernel * operation.outputs[0].shape[:-1].num_elements()
    return macs


@pytest.mark.parametrize("name", [name for name in SMALL if "stochastic" not in name])
def test_complexity_counts_what_tensorflow_runs(name):
    model = build(name, input_shape=(40, 36, 3))
    cost = complexity(model)
    assert cost.macs == numpy_macs(model)
    assert cost.total == model.count_params()
    assert cost.trainable == sum(np.prod(v.shape) for v in model.trainable_variables)
    assert cost.macs == sum(part.macs for part in cost.stages.values())
    assert cost.flops == 2 * cost.macs


@pytest.mark.parametrize("name", ["dpn", "resnet_cifar ResNeXt"])
def test_grouped_nets_train_without_xla(name):
    model = build(name)

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(x, training=True))
        return tape.gradient(loss, [v.value for v in model.trainable_variables])

    graph = step.get_concrete_function(tf.TensorSpec((2, 32, 32, 3))).graph.as_graph_def()
    assert "Conv2DBackpropFilter" in str(graph)
    assert "_XlaMustCompile" not in str(graph)


def test_complexity_at_another_size():
    fixed, free = (build("resnet", input_shape=shape) for shape in ((64, 64, 3), (None, None, 3)))
    assert complexity(free, (64, 64)).macs == complexity(fixed).macs
    assert complexity(fixed, (32, 32)).macs < complexity(fixed).macs
    assert complexity(build("resnet_cifar stochastic")).macs == complexity(
        build("resnet_cifar")
    ).macs
    assert "stage2" in str(complexity(fixed))
    with pytest.raises(ValueError, match="input_shape"):
        complexity(free)
    for wrong in (32, (-3, -3), (32, 0), (32,)):
        with pytest.raises(keras_resnets.UserError, match="^`input_shape` must be .* positive int"):
            complexity(fixed, wrong)


@pytest.mark.parametrize("depth", [20, 34])
def test_plain_nets_have_the_parameters_of_their_resnets_without_projections(depth):
    plain = create_model(f"plain{depth}")
    assert plain.count_params() == create_model(f"resnet{depth}", shortcut="A").count_params()


@pytest.mark.parametrize(
    ("name", "options"),
    [("wide_resnet", {"depth": 27}), ("resnet", {"output_stride": 4}),
     ("resnet", {"groups": 0}), ("resnet_cifar", {"skip": "residual"}),
     ("resnet_cifar", {"activation": "preact"}), ("fractalnet", {"columns": 0}),
     ("fusenet", {"kind": "merge"}), ("dpn", {"groups": 7}), ("resnet", {"survival": 0}),
     ("resnet", {"norm": "layer"}), ("resnet_cifar", {"depth": 29, "block": "bottleneck",
                                                      "groups": -8})],
)
def test_wrong_options_end_in_one_line(name, options):
    with pytest.raises(ValueError, match="Received") as caught:
        create_model(name, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert next(reversed(options)) in message
