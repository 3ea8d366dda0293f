"""Maps that are read in strides alone are computed in strides alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from inference_helpers import assert_same, count, images_for, randomize

import keras_resnets
from keras_resnets import create_model
from keras_resnets.serving.inference import InferenceForm
from keras_resnets.serving.operations import Convolution
from keras_resnets.serving.strides import Subsampling


def strided(form):
    """The sizes and strides of the convolutions that skip positions, in order."""
    return [
        (one.kernel.shape[0], one.strides[0])
        for one in form.operations
        if isinstance(one, Convolution) and max(one.strides) > 1
    ]


def multiplications(form, side):
    """Of one image, from the shapes in the graph that TensorFlow computes."""
    image = tf.TensorSpec([1, side, side, 3])
    graph = tf.function(form._run).get_concrete_function(image).graph
    return sum(
        int(np.prod(one.outputs[0].shape) * np.prod(one.inputs[1].shape[:3]))
        for one in graph.get_operations()
        if one.type == "Conv2D"
    )


@pytest.mark.parametrize("side", [224, 65, 97])
def test_the_first_papers_bottlenecks(side):
    shape = (side, side, 3)
    model = create_model("resnet", depth=50, width=8, stride_in="1x1", input_shape=shape)
    form = assert_same(randomize(model), images_for(model, 2))
    assert strided(form) == [(7, 2), (3, 2), (3, 2), (3, 2)]  # before: six of 1x1
    assert count(form, Subsampling) == 3  # the shortcut of each stage's last block
    whole = InferenceForm(model, in_strides=False)
    assert strided(whole) == [(7, 2)] + [(1, 2)] * 6


def test_a_tenth_of_resnet50_is_never_read():
    """Three times three fourths of a 3x3 convolution and of an expansion (He 2015, Table 1)."""
    form = InferenceForm(keras_resnets.ResNet50(stride_in="1x1"))
    expansion, whole = 56 * 56 * 64 * 256, 3_855_925_248
    saved = 3 * 3 * (56 * 56 * 9 * 64 * 64 + expansion) // 4
    assert multiplications(form, 224) == whole - saved
    v15 = InferenceForm(keras_resnets.ResNet50())
    assert strided(v15) == [(7, 2)] + [(3, 2), (1, 2)] * 3  # whose heads read everything
    assert multiplications(v15, 224) == 4_087_136_256


def test_keras_applications_stride_too():
    model = keras.applications.ResNet50(
        weights=None, input_shape=(75, 75, 3), classes=5, classifier_activation=None
    )
    form = assert_same(randomize(model), images_for(model))
    assert strided(form) == [(7, 2), (3, 2), (3, 2), (3, 2)]


def conv(filters, size, strides=1, **options):
    return keras.layers.Conv2D(filters, size, strides, use_bias=True, **options)


def form_of(build, side=11):
    image = keras.Input((side, side + 2, 3))
    outputs = build(image)
    pooled = keras.layers.GlobalAveragePooling2D()(outputs)
    model = keras.Model(image, keras.layers.Dense(5)(pooled))
    return assert_same(model, images_for(model))


@pytest.mark.parametrize("side", [11, 12])
@pytest.mark.parametrize(
    "options", [{"padding": "same"}, {"padding": "same", "dilation_rate": 2}, {"padding": "valid"}]
)
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_convolutions_of_any_geometry_take_a_stride(side, options, size):
    def build(image):
        x = keras.layers.Activation("swish")(conv(4, size, **options)(image))
        return conv(5, 1, 2)(x)

    expected = (size, 2)
    assert strided(form_of(build, side)) == [expected]


def test_strides_multiply_and_pass_several_maps():
    def build(image):
        x = conv(4, 3, (2, 1))(image)
        x = keras.layers.BatchNormalization()(keras.layers.ReLU(max_value=1.0)(x))
        return conv(5, 1, (2, 3), padding="same")(conv(6, 1, (1, 2))(x))

    form = form_of(build, 23)
    kernels = [one for one in form.operations if isinstance(one, Convolution)]
    assert [tuple(one.strides) for one in kernels] == [(4, 6), (1, 1), (1, 1)]


def softmax_of_columns(x):
    return keras.ops.softmax(x, axis=2)


def test_what_reads_all_positions_keeps_them():
    def other_reader(image):  # one of two readers needs everything
        x = conv(4, 3)(image)
        y = keras.layers.GlobalMaxPooling2D(keepdims=True)(x)
        return keras.layers.Multiply()([conv(4, 1, 2)(x), y])

    def other_strides(image):
        x = conv(4, 3, padding="same")(image)
        return keras.layers.Concatenate()(
            [conv(4, 1, 2)(x), keras.layers.MaxPooling2D(2, 2, "same")(x)]
        )

    def own_function(image):
        x = keras.layers.Activation(softmax_of_columns)(conv(4, 3)(image))
        return conv(4, 1, 2)(x)

    def wide_kernel(image):
        return conv(4, 2, 2)(conv(4, 3)(image))

    def size_dependent(image):  # "same" of a strided convolution: its zeros depend on the size
        return conv(4, 1, 2)(conv(4, 3, 2, padding="same")(image))

    for build in (other_reader, other_strides, own_function, wide_kernel):
        assert [one[1] for one in strided(form_of(build))] == [2], build.__name__
    assert strided(form_of(size_dependent)) == [(3, 2), (1, 2)]


def test_sums_of_maps_with_vectors_and_with_themselves():
    def build(image):
        x = conv(4, 3)(image)
        vector = keras.layers.GlobalAveragePooling2D()(x)
        column = keras.layers.GlobalMaxPooling2D(keepdims=True)(x)
        x = keras.layers.Add()([conv(4, 1)(x), vector])
        x = keras.layers.Add()([x, x, column])
        return conv(4, 1, 2)(x)

    assert count(form_of(build), Subsampling) == 3


def test_what_the_model_gives_is_whole():
    image = keras.Input((9, 9, 3))
    pool = keras.layers.GlobalAveragePooling2D()(conv(4, 3)(image))
    form = InferenceForm(keras.Model(image, keras.layers.Dense(2)(pool)))
    assert form.features(np.ones((1, 9, 9, 3), "float32")).shape == (1, 4)
    maps = conv(4, 3)(image)
    vector = keras.layers.Flatten()(conv(2, 1, 2)(maps))
    model = keras.Model(image, keras.layers.Dense(3)(vector))
    assert strided(assert_same(model, images_for(model))) == [(3, 2)]


def test_bfloat16():
    model = randomize(create_model("resnet", depth=50, width=8, stride_in="1x1"))
    assert_same(model, images_for(model, 1), tolerance=0.05, precision="bfloat16")
