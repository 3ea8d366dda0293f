"""The inference form: the same function as the model, with fewer operations."""

import collections

import keras
import numpy as np
import pytest
import tensorflow as tf
from slow import first

import keras_resnets
from keras_resnets import create_model, list_models
from keras_resnets.serving import export
from keras_resnets.serving.inference import InferenceForm
from keras_resnets.serving.operations import Convolution, Dense, LayerCall, Scale, Sum

MEMBERS = {
    "resnet imagenet stem": ("resnet", dict(depth=50, width=4)),
    "resnet stride in the first": ("resnet", dict(depth=50, width=4, stride_in="1x1")),
    "resnet cifar stem": ("resnet", dict(depth=18, width=4, stem="cifar")),
    "wide bottleneck": ("resnet", dict(depth=50, width=16, width_per_group=32)),
    "resnet_cifar A": ("resnet_cifar", dict(depth=8, width=4)),
    "resnet_cifar B": ("resnet_cifar", dict(depth=8, width=4, shortcut="B")),
    "V2": ("resnet_cifar", dict(depth=11, block="bottleneck", width=4,
                                activation="full_preact")),
    "relu before add": ("resnet_cifar", dict(depth=8, width=4, activation="relu_before_add")),
    "bn after add": ("resnet_cifar", dict(depth=8, width=4, activation="bn_after_add")),
    "relu-only preact": ("resnet_cifar", dict(depth=8, width=4, activation="relu_preact")),
    "resnext": ("resnet_cifar", dict(depth=11, block="bottleneck", width=16, groups=4,
                                     width_per_group=16)),
    "plain": ("resnet_cifar", dict(depth=8, width=4, skip="none")),
    "stochastic depth": ("resnet_cifar", dict(depth=8, width=4, survival=0.5)),
    "stochastic depth V2": ("resnet_cifar", dict(depth=11, block="bottleneck", width=4,
                                                 activation="full_preact", survival=0.5)),
    "by the image": ("resnet_cifar", dict(depth=8, width=4, survival=0.5,
                                          survival_draw="sample")),
    "wide": ("wide_resnet", dict(depth=10, widen=2, width=4, dropout=0.3)),
    "dpn": ("dpn", dict(depths=(1, 1, 1, 1), increments=(4, 4, 4, 4), k_r=8, groups=2,
                        base_width=16, stem_width=8, stem="cifar")),
    "fractalnet": ("fractalnet", dict(columns=3, blocks=3, width=4)),
    "fractalnet without drop-path": ("fractalnet", dict(columns=3, blocks=3, width=4,
                                                        drop_path=0.0)),
    "fractalnet by the image": ("fractalnet", dict(columns=2, blocks=3, width=4,
                                                   drop_path_draw="sample")),
    **{f"fusenet {kind}": ("fusenet", dict(kind=kind, depth=26, width=4))
       for kind in ("cross", "half", "side", "fuse3", "ensemble")},
    "fusenet_imagenet": ("fusenet_imagenet", dict(blocks=(1, 1, 1, 1), width=8, stem="cifar")),
}


def randomize(model, seed=0):
    """Statistics, factors and summands as no initializer makes them.

    The factors of a thousand layers are small, or their maps grow beyond float32.
    """
    rng = np.random.default_rng(seed)
    gain = 1.0 if len(model.layers) < 1500 else 0.2
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            for variable in layer.weights:
                low = 0.3 if "variance" in variable.name or "gamma" in variable.name else -0.7
                values = rng.uniform(low, low + 1.4, variable.shape)
                variable.assign(gain * values if "gamma" in variable.name else values)
    return model


def images_for(model, count=3, seed=1):
    shape = [side or 33 for side in model.input_shape[1:]]
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype("float32")


def assert_same(model, images, tolerance=1e-5, precision="float32"):
    logits = model(images, training=False).numpy()
    form = InferenceForm(model, precision)
    outputs = form(images)
    assert outputs.dtype == tf.float32
    assert np.abs(outputs - logits).max() <= tolerance * np.abs(logits).max()
    return form


def member(name, **options):
    family, own = MEMBERS[name]
    size = (64, 64, 3) if own.get("stem") != "cifar" and "resnet " in name else (32, 32, 3)
    return randomize(create_model(family, num_classes=7, input_shape=size, **own, **options))


def count(form, kind):
    return sum(type(operation) is kind for operation in form.operations)


@pytest.mark.parametrize("name", MEMBERS)
def test_every_family_computes_the_same(name):
    model = member(name)
    form = assert_same(model, images_for(model))
    layers_left = {type(one.call.layer) for one in form.operations if isinstance(one, LayerCall)}
    assert not any(issubclass(kind, keras.layers.BatchNormalization) for kind in layers_left)
    assert not any(issubclass(kind, keras.layers.Dropout) for kind in layers_left)
    if "V2" not in name and name not in ("wide", "dpn", "bn after add", "relu-only preact"):
        assert count(form, Scale) == 0  # each batch norm follows a convolution


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_every_network_computes_the_same(name):
    narrow = {"width": 16} if name == "fractalnet160" else {}  # its 337 million weights take 20 GB
    model = randomize(create_model(name, **narrow))
    assert_same(model, images_for(model, 1), tolerance=1e-4)


def test_pre_activated_nets_fold_from_convolution_to_convolution():
    form = InferenceForm(member("V2"))
    # Of 3 a block and the last one, only those that read a sum are left: one a block, and the last.
    assert count(form, Scale) == 3 + 1 - 1  # the first block reads the stem's convolution alone


def test_a_survival_is_inside_the_kernel():
    for name in ("stochastic depth", "stochastic depth V2", "fractalnet"):
        form = InferenceForm(member(name))
        factors = {factor for one in form.operations if isinstance(one, Sum)
                   for factor in one.factors}
        assert factors == {1.0}, name


def test_what_is_read_twice_is_left_alone():
    """A batch norm may not move into a convolution whose map others read as well."""
    image = keras.Input((8, 8, 3))
    x = keras_resnets.layers.Conv2D(4, 3)(image)
    y = keras_resnets.layers.BatchNormalization()(x)
    z = keras_resnets.layers.Merge(scales=(1.0, 0.5))([y, x])
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(z))
    model = randomize(keras.Model(image, keras.layers.Dense(2)(pooled)))
    form = assert_same(model, images_for(model))
    assert count(form, Scale) == 1
    assert [one.factors for one in form.operations if isinstance(one, Sum)] == [(1.0, 0.5)]


def test_a_relu_with_a_bound_is_not_passed_by_a_factor():
    image = keras.Input((8, 8, 3))
    x = keras_resnets.layers.Conv2D(4, 3)(image)
    bounded = keras.layers.ReLU(max_value=0.3)(x)
    y = keras_resnets.layers.Merge(scales=(0.5, 2.0))([keras.layers.ReLU()(
        keras_resnets.layers.Conv2D(4, 1)(image)), bounded])
    pooled = keras.layers.GlobalAveragePooling2D()(y)
    model = keras.Model(image, keras.layers.Dense(2)(pooled))
    form = assert_same(model, images_for(model))
    assert [one.factors for one in form.operations if isinstance(one, Sum)] == [(1.0, 2.0)]


def test_networks_inside_models_and_kerass_own_layers():
    """Models called as layers, twice even, and layers that are not ours."""
    inner = member("resnet_cifar B")
    image = keras.Input((32, 32, 3))
    flipped = keras.layers.Permute((2, 1, 3))(image)
    both = keras.layers.Average()([inner(image), inner(flipped)])
    model = keras.Model(image, both)
    assert_same(model, images_for(model))
    stock = keras.Sequential([
        keras.Input((17, 19, 3)),
        keras.layers.ZeroPadding2D(((1, 2), (3, 0))),
        keras.layers.Conv2D(5, 3, strides=2),
        keras.layers.BatchNormalization(momentum=0.5),
        keras.layers.Conv2D(5, 3, activation="relu"),
        keras.layers.Conv2D(8, 4, strides=2, padding="same"),
        keras.layers.BatchNormalization(scale=False),
        keras.layers.Activation("swish"),
        keras.layers.DepthwiseConv2D(3),
        keras.layers.BatchNormalization(center=False),
        keras.layers.GroupNormalization(2),
        keras.layers.GlobalMaxPooling2D(),
        keras.layers.Dense(6, activation="relu"),
        keras.layers.Dense(3),
    ])
    form = assert_same(randomize(stock), images_for(stock))
    assert form.features(images_for(stock)).shape == (3, 6)
    assert "ZeroPadding2D" not in {
        type(one.call.layer).__name__ for one in form.operations if isinstance(one, LayerCall)
    }


def test_a_keras_application():
    model = keras.applications.ResNet50(
        weights=None, input_shape=(64, 64, 3), classes=5, classifier_activation=None
    )
    form = assert_same(randomize(model), images_for(model))
    assert (count(form, Convolution), count(form, Scale), count(form, Dense)) == (53, 0, 1)


@pytest.mark.parametrize("side", [32, 33, 37])
@pytest.mark.parametrize("options", [{}, {"padding": "tensorflow"}, {"output_stride": 8}])
def test_paddings_and_dilations_at_odd_sides(side, options):
    size = (2 * side, 2 * side + 1, 3)
    model = create_model("resnet", depth=18, width=4, num_classes=5, input_shape=size, **options)
    assert_same(randomize(model), images_for(model))


def test_images_of_any_size():
    model = randomize(create_model("resnet_cifar", depth=8, width=4, input_shape=(None, None, 3)))
    for side in (32, 47):
        images = np.random.default_rng(2).standard_normal((2, side, side, 3)).astype("float32")
        assert_same(model, images)


def test_bfloat16_keeps_two_digits_and_the_head_float32():
    for name in ("resnet_cifar B", "V2", "dpn", "fractalnet", "resnext"):
        model = member(name)
        form = assert_same(model, images_for(model), tolerance=0.05, precision="bfloat16")
        assert form.features(images_for(model)).dtype == tf.float32
        assert not np.array_equal(form(images_for(model)), InferenceForm(model)(images_for(model)))


def nodes(model, precision="float32"):
    form = InferenceForm(model, precision)
    concrete = form._compute.get_concrete_function()
    definition = concrete.graph.as_graph_def()
    functions = [function.node_def for function in definition.library.function]
    return [node for group in (definition.node, *functions) for node in group]


def test_no_training_no_xla_and_no_padding_in_the_graph():
    for name in ("resnext", "stochastic depth", "fractalnet", "resnet imagenet stem"):
        model = member(name)
        found = nodes(model)
        kinds = collections.Counter(node.op for node in found)
        assert not any("_XlaMustCompile" in node.attr for node in found), name
        assert not set(kinds) & {"FusedBatchNormV3", "StatelessIf", "If", "Switch", "VarHandleOp",
                                 "StatelessRandomUniformV2", "AssignVariableOp"}, name
        shortcuts = sum(isinstance(x, keras_resnets.layers.ZeroPadShortcut) for x in model.layers)
        assert kinds["Pad"] == shortcuts, name


def test_features_are_the_pooled_last_map():
    model = member("resnet cifar stem", head_dropout=0.5)
    images = images_for(model)
    pooled = keras.Model(model.input, model.get_layer("pool").output)(images)
    np.testing.assert_allclose(InferenceForm(model).features(images), pooled, rtol=1e-4, atol=1e-6)


def test_a_model_without_a_dense_end_has_no_features():
    image = keras.Input((8, 8, 3))
    maps = keras_resnets.layers.Conv2D(4, 3)(image)
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(maps))
    assert not assert_same(model, images_for(model)).has_features


def test_what_has_no_inference_form():
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    class Doubled(keras.Model):  # functional, but its graph is not what it computes
        def call(self, inputs):
            return super().call(2 * inputs)

    image = keras.Input((8, 8, 3))
    with pytest.raises(ValueError, match="Own whose layers are not known"):
        InferenceForm(keras.Model(image, Own()(image)))
    doubled = Doubled(image, keras.layers.Flatten()(image))
    for model in (doubled, keras.Model(image, doubled(image)), keras.Sequential([image, doubled])):
        with pytest.raises(ValueError, match="Doubled whose layers are not known"):
            InferenceForm(model)
    with pytest.raises(ValueError, match="1 inputs and 2 outputs"):
        InferenceForm(keras.Model(image, [image, image]))
    with pytest.raises(ValueError, match="precision"):
        InferenceForm(keras.Model(image, image), "float16")


class Tripled(keras.layers.Identity):
    def call(self, inputs):
        return 3 * inputs


class Capped(keras.layers.ReLU):
    def call(self, inputs):
        return keras.ops.minimum(super().call(inputs), 0.5)


class AlwaysDropped(keras.layers.Dropout):
    def call(self, inputs, training=False):
        return 2 * inputs


def test_what_subclasses_compute_is_left_to_them():
    for own in (Tripled(), Capped(), AlwaysDropped(0.5)):
        image = keras.Input((8, 8, 3))
        maps = keras_resnets.layers.Conv2D(4, 3, use_bias=True)(image)
        x = own(maps)
        joined = keras_resnets.layers.StochasticMerge(survival=0.5)([maps, x])
        model = keras.Model(image, keras.layers.Dense(5)(keras.layers.Flatten()(joined)))
        assert_same(model, images_for(model))


class HalvedMerge(keras_resnets.layers.SkippingMerge):
    def call(self, inputs, training=None):
        return 0.5 * super().call(inputs, training=training)


def test_a_subclass_computes_its_branch_once():
    maps = keras.Input((8, 8, 3))
    branch = keras.Model(maps, keras_resnets.layers.Conv2D(3, 3, padding="same")(maps) + 1.0)
    image = keras.Input((8, 8, 3))
    x = HalvedMerge(branch, survival=0.5)([image, image])
    model = keras.Model(image, keras.layers.Flatten()(x))
    assert_same(model, images_for(model))


@pytest.mark.parametrize("is_drawn", [False, True])
def test_a_join_that_is_called_by_keyword(is_drawn):
    image = keras.Input((8, 8, 3))
    columns = [keras_resnets.layers.Conv2D(4, 3)(image) for _ in range(2)]
    drawn = {"drawn": keras_resnets.layers.ColumnDraw(2)(image)} if is_drawn else {}
    x = keras_resnets.layers.FractalJoin()(inputs=columns, **drawn)
    model = keras.Model(image, keras.layers.Flatten()(x))
    assert_same(model, images_for(model))


def test_a_quantized_layer_is_left_as_it_is():
    image = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(keras_resnets.layers.Conv2D(4, 3)(image))
    model = keras.Model(image, keras.layers.Dense(5)(keras.layers.Dense(9)(x)))
    model.quantize("int8")
    assert count(assert_same(model, images_for(model)), Dense) == 0


def test_own_operations_compute_in_float32():
    image = keras.Input((8, 8, 3))
    x = keras_resnets.layers.Conv2D(4, 3)(image) * tf.constant(0.5)
    x = keras.layers.Lambda(lambda maps: maps + tf.ones((8, 8, 1)), output_shape=(8, 8, 4))(x)
    model = keras.Model(image, keras.layers.Dense(5)(keras.layers.Flatten()(x)))
    assert_same(model, images_for(model), tolerance=0.03, precision="bfloat16")


def test_features_are_vectors_behind_which_nothing_is_learned():
    image = keras.Input((8, 8, 3))
    pool, dense = keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(4)
    for output, width in (
        (pool(dense(image)), None),  # a dense layer of maps
        (keras.layers.BatchNormalization()(dense(pool(image))), None),
        (keras.layers.Softmax()(keras.layers.Dropout(0.5)(dense(pool(image)))), 3),
    ):
        form = InferenceForm(keras.Model(image, output))
        assert form.has_features == (width is not None)
        assert width is None or form.features(np.ones((2, 8, 8, 3), "float32")).shape == (2, width)


def test_a_fixed_batch_is_no_limit():
    image = keras.Input(batch_shape=(4, 8, 8, 3))
    model = keras.Model(image, keras.layers.Flatten()(image))
    assert InferenceForm(model)(np.ones((7, 8, 8, 3), "float32")).shape == (7, 192)


WITHOUT_ONEDNN = """
import numpy as np, tensorflow as tf
data = np.load({data!r})
predict = tf.saved_model.load({path!r}).signatures["predict_images"]
answer = predict(image=tf.constant(data["images"]))
np.testing.assert_allclose(answer["probabilities"], data["expected"], atol=1e-5)
print("same")
"""


@pytest.mark.parametrize("name", first(1, ["resnext", "dpn"]))
def test_grouped_convolutions_on_machines_without_onednn(name, rng, run_python, tmp_path):
    """There TensorFlow would fuse a grouped convolution into one that it cannot compute."""
    model = member(name)
    model.preprocessing = keras_resnets.Preprocessing((0.5,) * 3, (0.25,) * 3)
    images = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    expected = tf.nn.softmax(model(model.preprocessing(images), training=False))
    data = str(tmp_path / "data.npz")
    np.savez(data, images=images, expected=expected)
    code = WITHOUT_ONEDNN.format(path=export(model, name, tmp_path), data=data)
    assert "same" in run_python(code, TF_ENABLE_ONEDNN_OPTS="0").stdout
