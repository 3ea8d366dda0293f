"""Figures against plain NumPy, every image once whatever the batches and replicas."""

import json
import pathlib
import resource
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnets
from keras_resnets import Preprocessing, data
from keras_resnets.training import reports
from keras_resnets.training.evaluation import Evaluation, evaluate


@pytest.fixture(scope="module")
def digits():
    return data.load_splits("digits", splits=("test",)).test


def linear_model(channels=1, classes=10, activation=None):
    image = keras.Input((8, 8, channels))
    x = keras.layers.Flatten()(image)
    model = keras.Model(image, keras.layers.Dense(classes, activation=activation)(x))
    model.preprocessing = Preprocessing((0.3,) * channels, (0.4,) * channels)
    return model


def pixels_and_labels(source):
    pairs = [source.load(tf.constant(i, tf.int64)) for i in range(source.num_examples)]
    return np.stack([image for image, _ in pairs]), np.array([int(label) for _, label in pairs])


def test_figures_from_logits():
    logits = np.log([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1]]) + 3.0
    result = Evaluation.from_logits(logits, [0, 1, 1, 1])
    assert result.loss == pytest.approx(-np.log([0.5, 0.2, 0.3, 0.7]).mean(), abs=1e-15)
    assert result.top1 == 0.5
    assert (result.k, result.topk) == (3, 1.0)
    np.testing.assert_array_equal(result.confusion, [[1, 0, 0], [1, 1, 1], [0, 0, 0]])
    np.testing.assert_array_equal(result.per_class, [1.0, 1 / 3, np.nan])
    np.testing.assert_array_equal(result.mistakes(), [1, 2])


def test_balance_f1_and_calibration_by_hand():
    """Four images: confidences 0.5, 0.7, 0.6, 0.7; right are the first and the last."""
    logits = np.log([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1]])
    result = Evaluation.from_logits(logits, [0, 1, 1, 1])
    assert result.balanced_accuracy == pytest.approx((1 + 1 / 3) / 2)
    # Class 0: precision 1/2, recall 1; class 1: 1 and 1/3; class 2: predicted once, never true.
    assert result.f1 == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    # Bins of 1/15: 0.5 -> 8th, 0.6 -> 9th, 0.7 twice -> 11th, where one of two is right.
    expected = (abs(1 - 0.5) + abs(0 - 0.6) + abs(1 - 1.4)) / 4
    assert result.calibration_error == pytest.approx(expected)
    sure = Evaluation.from_logits([[50.0, -50.0], [50.0, -50.0]], [0, 1])
    assert sure.calibration_error == pytest.approx(0.5)


def test_flip_averages_with_the_mirror_image(digits, rng):
    model, source = linear_model(), digits[:40]
    pixels, labels = pixels_and_labels(source)
    images = model.preprocessing(pixels).numpy()
    expected = (model(images).numpy() + model(images[:, :, ::-1]).numpy()) / 2
    ours = evaluate(model, source, 16, flip=True)
    theirs = Evaluation.from_logits(expected, labels)
    np.testing.assert_allclose(ours.probabilities, theirs.probabilities, rtol=1e-4)
    assert abs(ours.loss - evaluate(model, source, 16).loss) > 1e-3


def test_top5_counts_the_five_best():
    logits = np.tile(np.arange(7.0), (7, 1))
    result = Evaluation.from_logits(logits, np.arange(7))
    assert (result.k, result.topk, result.top1) == (5, 5 / 7, 1 / 7)


def test_equal_logits_are_not_counted_as_right():
    result = Evaluation.from_logits(np.zeros((8, 8)), np.arange(8))
    assert (result.top1, result.topk) == (1 / 8, 5 / 8)


def test_two_classes_have_no_topk():
    result = Evaluation.from_logits([[0.0, 1.0]], [1])
    assert (result.topk, result.top1) == (None, 1.0)


def test_large_logits_do_not_overflow():
    result = Evaluation.from_logits([[1e4, 0.0, -1e4]], [2])
    assert result.loss == 2e4


def test_logits_that_are_not_finite_are_an_error():
    with pytest.raises(FloatingPointError, match="1 of 2 images"):
        Evaluation.from_logits([[0.0, np.nan, 0.0], [0.0, 0.0, 1.0]], [0, 1])


@pytest.mark.parametrize("batch_size", [7, 360, 1000])
def test_every_image_counts_once(batch_size, digits):
    model = linear_model()
    result = evaluate(model, digits, batch_size)
    images, labels = pixels_and_labels(digits)
    logits = model(model.preprocessing(images)).numpy()
    np.testing.assert_array_equal(result.labels, labels)
    truth = Evaluation.from_logits(logits, labels)
    np.testing.assert_allclose(result.probabilities, truth.probabilities, atol=1e-6)
    assert result.loss == pytest.approx(truth.loss, abs=1e-6)
    np.testing.assert_array_equal(result.confusion, truth.confusion)
    assert result.confusion.sum() == digits.num_examples


def test_softmax_outputs_give_the_same_figures(digits):
    logits, softmax = linear_model(), linear_model(activation="softmax")
    softmax.set_weights(logits.get_weights())
    assert evaluate(softmax, digits).loss == pytest.approx(evaluate(logits, digits).loss, abs=1e-5)


def test_training_state_is_left_alone(digits):
    model = keras_resnets.create_model("resnet20", input_shape=(8, 8, 1))
    model.preprocessing = Preprocessing((0.3,), (0.4,))
    model.compile("sgd", "categorical_crossentropy")
    before = [weight.copy() for weight in model.get_weights()]
    model.make_predict_function()
    function = model.predict_function
    evaluate(model, digits)
    assert model.predict_function is function
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


TWO_REPLICAS = """
import keras
import numpy as np
from keras_resnets import create_model, Preprocessing, data
from keras_resnets.training import evaluate, make_strategy

mirrored = make_strategy("mirrored", 2)
digits = data.load_splits("digits", test_split="train[:{count}]", splits=("test",)).test
results = []
for strategy in (mirrored, None):
    if strategy is None:
        model = keras.saving.load_model("model.keras")
    else:
        with strategy.scope():
            model = create_model("resnet20", input_shape=(8, 8, 1))
        model.preprocessing = Preprocessing((0.3,), (0.4,))
        model.save("model.keras")
    assert model.distribute_strategy.num_replicas_in_sync == (1 if strategy is None else 2)
    results.append(evaluate(model, digits, batch_size={batch_size}))
two, one = results
np.testing.assert_array_equal(two.labels, one.labels)
np.testing.assert_allclose(two.probabilities, one.probabilities, atol=1e-6)
print(len(two.labels), two.confusion.sum(), abs(two.loss - one.loss) < 1e-6)
"""


def test_two_replicas_give_the_same_figures(run_code):
    # 21 = 2 * 10 + 1: a replica of the last batch would get no image.
    done = run_code(TWO_REPLICAS.format(count=21, batch_size=10))
    assert done.stdout.split()[-3:] == ["21", "21", "True"]


@pytest.mark.parametrize(
    "model, message",
    [
        (lambda: linear_model(classes=7), "The model has 7 classes, digits has 10"),
        (lambda: linear_model(channels=3), "3 channels"),
        (lambda: keras_resnets.create_model("resnet20"), "no preprocessing"),
    ],
)
def test_models_that_do_not_fit(model, message, digits):
    with pytest.raises(ValueError, match=message) as caught:
        evaluate(model(), digits)
    assert "\n" not in str(caught.value)


def test_out_of_memory_is_not_called_an_image(digits):
    class Huge(keras.layers.Layer):
        def call(self, x):
            size = tf.cast(tf.reduce_mean(x), tf.int64) + 2**45
            return x + tf.random.uniform([size])[0]

    image = keras.Input((8, 8, 1))
    model = keras.Model(image, keras.layers.Dense(10)(keras.layers.Flatten()(Huge()(image))))
    model.preprocessing = Preprocessing((0.3,), (0.4,))
    with pytest.raises(tf.errors.ResourceExhaustedError):
        evaluate(model, digits)


def test_an_image_that_is_gone(tmp_path):
    for name in "ab":
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(12):  # of two sizes, so that they are read each time
            pixels = np.full((8, 8 + index % 2, 3), index)
            keras.utils.save_img(tmp_path / "photos" / name / f"{index}.png", pixels)
    test = data.load_splits(str(tmp_path / "photos"), splits=("test",)).test
    shutil.rmtree(tmp_path / "photos")
    model = linear_model(channels=3, classes=2)
    with pytest.raises(OSError, match=r"^Cannot evaluate on .*: .*\.png: No such file") as caught:
        evaluate(model, test)
    assert "\n" not in str(caught.value) and "{{" not in str(caught.value)


def test_classes_in_another_order_are_refused(digits):
    model = linear_model()
    model.class_names = tuple(reversed(digits.class_names))
    with pytest.raises(ValueError, match="another order"):
        evaluate(model, digits)


def test_report(digits, tmp_path):
    result = evaluate(linear_model(), digits)
    paths = reports.write_report(result, digits, tmp_path / "a" / "b", checkpoint="best.keras")
    report = json.loads((tmp_path / "a" / "b" / "evaluation.json").read_text())
    assert {path.split("/")[-1] for path in paths} == {
        "evaluation.json", "confusion.png", "mistakes.png"
    }
    assert report["checkpoint"] == "best.keras"
    assert (report["loss"], report["top1"], report["topk"]) == (
        result.loss, result.top1, result.topk
    )
    assert sum(row["examples"] for row in report["per_class"]) == report["num_examples"] == 360
    assert [row["accuracy"] for row in report["per_class"]] == result.per_class.tolist()
    assert report["confusion"] == result.confusion.tolist()
    worst = report["mistakes"][0]
    index = result.mistakes()[0]
    assert worst["probability"] == result.probabilities[index].max()
    assert worst["true"] == digits.class_names[result.labels[index]] != worst["predicted"]
    assert worst["file"] == digits.file_name(index)


def test_the_sheet_shows_the_images_that_are_wrong(digits, monkeypatch, tmp_path):
    shown = []
    monkeypatch.setattr(reports.plots, "plot_mistakes", lambda *args: shown.append(args))
    result = evaluate(linear_model(), digits)
    reports.write_report(result, digits, tmp_path)
    images, true, predicted, probability, *_ = shown[0]
    everything, labels = pixels_and_labels(digits)
    wrong = result.mistakes()
    np.testing.assert_array_equal(images, everything[wrong])
    np.testing.assert_array_equal(true, labels[wrong])
    np.testing.assert_array_equal(predicted, result.probabilities[wrong].argmax(axis=1))
    assert (np.diff(probability) <= 0).all()


def test_a_full_disk_leaves_the_report_before(digits, tmp_path):
    result = evaluate(linear_model(), digits)
    (path, *_) = reports.write_report(result, digits, tmp_path)
    before = pathlib.Path(path).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match="cannot save .*evaluation.json: file too large"):
            reports.write_report(result, digits, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert pathlib.Path(path).read_bytes() == before
    assert not list(tmp_path.glob("*tmp*"))
