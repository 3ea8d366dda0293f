"""How a classifier's output is read: logits, softmax or sigmoid, however it ends."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from slow import first

import keras_resnets
from keras_resnets import Preprocessing, data
from keras_resnets.models.interface import output_kind
from keras_resnets.serving import export
from keras_resnets.training import evaluate


def small(**options):
    return keras_resnets.ResNet20(**{"width": 4, "input_shape": (8, 8, 1), **options})


def with_head(*head):
    backbone = small(include_top=False, pooling="avg")
    x = backbone.output
    for layer in head:
        x = layer(x)
    return keras.Model(backbone.input, x)


Activation, Dense = keras.layers.Activation, keras.layers.Dense
ENDS = {
    "logits": (lambda: small(), "logits"),
    "softmax": (lambda: small(classifier_activation="softmax"), "softmax"),
    "sigmoid": (lambda: small(classifier_activation="sigmoid"), "sigmoid"),
    "softmax layer": (lambda: with_head(Dense(3), keras.layers.Softmax()), "softmax"),
    "activation layer": (lambda: with_head(Dense(3), Activation("softmax")), "softmax"),
    "operation": (lambda: with_head(Dense(3), keras.ops.softmax), "softmax"),
    "linear in float32 after it": (
        lambda: with_head(Dense(3, activation="softmax"), Activation("linear", dtype="float32")),
        "softmax",
    ),
    "dropout after it": (
        lambda: with_head(Dense(3, activation="sigmoid"), keras.layers.Dropout(0.5)), "sigmoid"
    ),
    "nested network": (
        lambda: nested(small(classifier_activation="softmax")), "softmax"
    ),
    "nested sequential": (
        lambda: with_head(keras.Sequential([keras.Input((16,)), Dense(3, activation="softmax")])),
        "softmax",
    ),
    "nested twice": (lambda: nested(nested(small())), "logits"),
}


def nested(inner):
    image = keras.Input((8, 8, 1))
    return keras.Model(image, inner(image))


@pytest.mark.parametrize("end", ENDS)
def test_output_kind(end):
    build, kind = ENDS[end]
    assert output_kind(build()) == kind


def test_other_ends_are_refused():
    class Opaque(keras.Model):
        def call(self, inputs):
            return keras.ops.softmax(inputs)

    for model, words in (
        (with_head(Dense(3, activation="tanh")), "must be None, softmax or sigmoid"),
        (with_head(Dense(3), Opaque()), "whose layers are not known"),
        (small(include_top=False), "include_top=False"),
    ):
        with pytest.raises(ValueError, match=words):
            output_kind(model)


@pytest.mark.parametrize("end", first(2, ["nested network", "logits", "sigmoid", "softmax"]))
def test_an_export_applies_no_second_activation(end, rng, tmp_path):
    model = ENDS[end][0]()
    model.preprocessing = Preprocessing((0.5,), (0.25,), resize=(8, 8))
    images = rng.integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
    served = tf.saved_model.load(export(model, "net", tmp_path)).signatures["predict_images"]
    outputs = model(model.preprocessing(images)).numpy()
    expected = tf.nn.softmax(outputs) if end == "logits" else outputs
    found = served(image=tf.constant(images))
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-6)
    np.testing.assert_allclose(found["scores"][:, 0], np.max(expected, -1), atol=1e-6)


def test_a_sigmoid_classifier_is_evaluated(rng):
    test = data.load_splits("digits", splits=("test",)).test
    model = small(classifier_activation="sigmoid")
    model.preprocessing = Preprocessing((0.5,), (0.25,))
    result = evaluate(model, test)
    images = np.stack([test.load(tf.constant(i, tf.int64))[0] for i in range(test.num_examples)])
    outputs = model.predict(model.preprocessing(images), verbose=0)
    np.testing.assert_allclose(result.probabilities, outputs, atol=1e-6)
    assert result.top1 == pytest.approx(np.mean(outputs.argmax(1) == test.labels))
    loss = keras.losses.BinaryCrossentropy()(tf.one_hot(test.labels, 10), outputs)
    assert result.loss == pytest.approx(float(loss), rel=1e-4)


def test_an_ensemble_of_softmaxes_is_one(rng):
    image = keras.Input((8, 8, 1))
    members = [small(classifier_activation="softmax", name=f"member{i}") for i in range(2)]
    mean = keras.layers.Average()([member(image) for member in members])
    assert output_kind(keras.Model(image, mean)) == "softmax"
    logits = keras.layers.Average()([small(name=f"logits{i}")(image) for i in range(2)])
    assert output_kind(keras.Model(image, logits)) == "logits"
    for mixed in (mean * 1.0, keras.ops.log(mean), keras.layers.Average()([mean, logits])):
        with pytest.raises(ValueError, match="neither logits nor probabilities for sure"):
            output_kind(keras.Model(image, mixed))


def test_the_output_that_is_taken_of_a_nested_model_decides():
    inner = small()
    two = keras.Model(inner.input, [keras.layers.Softmax()(inner.output), inner.output])
    image = keras.Input((8, 8, 1))
    for index, kind in ((0, "softmax"), (1, "logits")):
        assert output_kind(keras.Model(image, two(image)[index])) == kind


def test_a_subclassed_model_is_refused_in_one_line():
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(ValueError, match="must be functional"):
        output_kind(Own())


def test_an_output_in_a_dictionary_is_refused_in_one_line():
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, {"a": keras.layers.GlobalAveragePooling2D()(image)})
    for one in (model, keras.Sequential([image, model])):
        with pytest.raises(ValueError, match=r"not in a dictionary. Received: .* of \['a'\]$"):
            output_kind(one)
