"""The inference form of graphs that users wire: what is folded, left alone and refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from inference_helpers import assert_same, count, images_for, member, randomize

import keras_resnets
from keras_resnets.serving.inference import InferenceForm
from keras_resnets.serving.operations import Dense, LayerCall, Scale, Sum


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
