"""Losses against NumPy, class weights, and what a recipe makes of its fields."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnets
from keras_resnets import UserError, data
from keras_resnets.analysis import plot_schedule
from keras_resnets.training import LAMB, SGD, AdamW, Recipe, make_strategy
from keras_resnets.training.building import build, count_steps, loss_of, optimizer_of
from keras_resnets.training.losses import balanced_weights, make_loss
from keras_resnets.training.run_directory import Start

MIXED = np.array([[0.7, 0.3, 0.0], [0.0, 0.0, 1.0], [0.1, 0.45, 0.45], [1.0, 0.0, 0.0]])


@pytest.fixture
def logits(rng):
    return rng.normal(size=(4, 3)) * 3


def binary(logits, targets):
    """torch's binary_cross_entropy_with_logits for each image, the mean over classes."""
    p = 1 / (1 + np.exp(-logits))
    return -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean(axis=1)


def softmax(logits, targets):
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return -(targets * np.log(p)).sum(axis=1)


@pytest.mark.parametrize("smoothing, threshold", [(0, None), (0.1, None), (0.1, 0.2), (0, 0.5)])
def test_binary_cross_entropy_as_timm_has_it(smoothing, threshold, logits):
    targets = MIXED * (1 - smoothing) + smoothing / 3
    if threshold is not None:
        targets = (targets > threshold).astype(float)
    loss = make_loss("binary_cross_entropy", smoothing, threshold)
    found = float(loss(MIXED.astype("float32"), logits.astype("float32")))
    np.testing.assert_allclose(found, binary(logits, targets).mean(), rtol=1e-5)


@pytest.mark.parametrize("name, reference", [("cross_entropy", softmax),
                                             ("binary_cross_entropy", binary)])
def test_class_weights(name, reference, logits):
    weights = [0.5, 2.0, 4.0]
    loss = make_loss(name, 0.1, None, weights)
    expected = reference(logits, MIXED * 0.9 + 0.1 / 3) * (MIXED @ weights)
    found = float(loss(MIXED.astype("float32"), logits.astype("float32")))
    np.testing.assert_allclose(found, expected.mean(), rtol=1e-5)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    again = float(copy(MIXED.astype("float32"), logits.astype("float32")))
    assert again == found and copy.weights == weights
    padded = np.array([1.0, 1.0, 1.0, 0.0], "float32")  # as batches of evaluation are filled up
    found = float(loss(MIXED.astype("float32"), logits.astype("float32"), padded))
    np.testing.assert_allclose(found, expected[:3].sum() / 4, rtol=1e-5)


def test_balanced_weights_are_scikit_learns():
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.array([0, 0, 0, 1, 1, 3])
    found = balanced_weights(labels, 5)
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=labels)
    np.testing.assert_allclose(found, [expected[0], expected[1], 0.0, expected[2], 0.0])
    np.testing.assert_allclose(found[labels].mean(), 1.0)  # a rate means what it meant
    with pytest.raises(UserError, match="no labels"):
        balanced_weights([], 5)


@pytest.mark.parametrize(
    "arguments, wrong",
    [
        (("hinge",), "loss"),
        (("binary_cross_entropy", 1.0), "label_smoothing"),
        (("binary_cross_entropy", 0.0, 1.0), "target_threshold"),
        (("cross_entropy", 0.0, 0.5), "target_threshold"),
    ],
)
def test_bad_losses(arguments, wrong):
    with pytest.raises(UserError, match=f"^`{wrong}` must be .* Received"):
        make_loss(*arguments)


SIMPLE = {
    "model": "resnet_cifar", "option": {"depth": 8, "width": 4}, "dataset": "digits",
    "train_split": "train[:100]", "batch_size": 16, "epochs": 4,
}


def test_the_optimizer_of_a_recipe():
    common = {"weight_decay": 0.02, "decay": "no_1d", "clip_norm": 1.0, "accumulate_steps": 2,
              "ema_decay": 0.99}
    for name, kind, own in (
        ("sgd", SGD, {"momentum": 0.8, "nesterov": True, "momentum_form": "torch"}),
        ("lamb", LAMB, {"beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-5}),
        ("adamw", AdamW, {"beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-5}),
    ):
        recipe = Recipe(**SIMPLE, optimizer=name, schedule="cosine", **common, **own)
        optimizer = optimizer_of(recipe, 6)
        assert type(optimizer) is kind
        assert {**common, **own}.items() <= optimizer.get_config().items()
        # 12 updates of 24 steps.
        np.testing.assert_allclose(float(optimizer._learning_rate(6)), 0.05, rtol=1e-6)
    optimizer = optimizer_of(Recipe(**SIMPLE), 6)
    assert optimizer.get_config() == SGD(
        optimizer._learning_rate, 0.9, False, 1e-4, "all", name=optimizer.name
    ).get_config()


@pytest.mark.parametrize("name, kind", [("sgd", SGD), ("lamb", LAMB), ("adamw", AdamW)])
def test_the_defaults_of_a_recipe_are_those_of_the_optimizer(name, kind):
    recipe = Recipe(**SIMPLE, optimizer=name)
    config = optimizer_of(recipe, 6).get_config()
    own = kind(weight_decay=1e-4).get_config()
    of_the_run = {"learning_rate", "name"}
    assert {k: config[k] for k in config.keys() - of_the_run} == {
        k: own[k] for k in own.keys() - of_the_run
    }
    assert f'"decay": "{own["decay"]}"' in recipe.to_json()  # a run keeps what it had
    assert recipe.epsilon == {"sgd": None, "lamb": 1e-6, "adamw": 1e-8}[name]


def test_recipes_of_earlier_versions_mean_what_they_did():
    earlier = {"epsilon": 1e-6, "decay": "all", "clip_norm": 0.0}
    assert Recipe(**SIMPLE, **earlier) == Recipe(**SIMPLE)
    recipe = Recipe(**SIMPLE, optimizer="lamb", **earlier)
    assert (recipe.decay, recipe.clip_norm) == ("all", 0.0) and recipe != Recipe(
        **SIMPLE, optimizer="lamb"
    )


def test_labels_of_a_stream_are_counted_without_its_images(monkeypatch, rng):
    labels = np.array([0, 0, 0, 1, 1, 2])
    images = rng.integers(0, 256, (6, 8, 8, 3), "uint8")
    stream = tf.data.Dataset.from_tensor_slices((images, labels))
    source = data.from_dataset(stream, ("cat", "dog", "eel"))
    monkeypatch.setattr(type(source), "load", None)
    loss = loss_of(Recipe(**SIMPLE, class_weight="balanced"), source)
    np.testing.assert_allclose(loss.weights, balanced_weights(labels, 3))


def test_a_network_with_everything():
    recipe = Recipe(
        **SIMPLE, optimizer="lamb", lr=0.01, weight_decay=0.02, decay="no_1d", clip_norm=1.0,
        accumulate_steps=2, ema_decay=0.9, loss="binary_cross_entropy", target_threshold=0.2,
        label_smoothing=0.1, class_weight="balanced",
    )
    train = data.load_splits("digits", train_split="train[:100]").train
    model = build(
        recipe, train, keras_preprocessing(train), (8, 8), make_strategy(), 6, Start(None, None, [])
    )
    np.testing.assert_allclose(model.loss.weights, balanced_weights(train.labels, 10))
    batches = data.training_dataset(train, model.preprocessing, batch_size=16)
    names = {v.name for v in model.optimizer.variables}
    model.fit(batches, epochs=1, verbose=0)
    assert {v.name for v in model.optimizer.variables} == names  # all were there before the step
    assert int(model.optimizer.iterations) == 3
    images, labels = next(batches.as_numpy_iterator())
    scores = model.evaluate(images, 0.6 * labels + 0.4 * np.roll(labels, 1, 1), verbose=0,
                            return_dict=True)
    right = model.predict(images, verbose=0).argmax(1) == labels.argmax(1)
    np.testing.assert_allclose(scores["accuracy"], right.mean(), rtol=1e-6)


def keras_preprocessing(source):
    from keras_resnets.training.initial import make_preprocessing

    return make_preprocessing(source)


def test_counting_steps_and_labels():
    recipe = Recipe(**SIMPLE)
    assert count_steps(recipe) == 6
    whole = Recipe(model="resnet20", dataset="digits", batch_size=16)
    assert count_steps(whole) == data.load_splits("digits").train.num_examples // 16
    assert count_steps(Recipe(model="resnet20", dataset="nowhere", steps_per_epoch=5)) == 5
    with pytest.raises(UserError, match="`batch_size` must be at most the 100 training images"):
        count_steps(Recipe(**{**SIMPLE, "batch_size": 101}))


def test_the_picture_of_a_schedule(tmp_path):
    recipe = Recipe(**SIMPLE, lr=0.5, schedule="cosine", accumulate_steps=2, warmup_epochs=1)
    epochs, rates = plot_schedule(recipe, path=tmp_path / "one.png")
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
    assert len(rates) == 12 and epochs[-1] == 22 / 6
    np.testing.assert_allclose(rates[:4], [0.5 / 3, 1 / 3, 0.5, 0.5], rtol=1e-6)
    epochs, rates = plot_schedule(lambda step: 0.1 + 0 * step, 5000, 2, tmp_path / "two.png")
    assert len(rates) == 2000 and epochs[-1] == 9999 / 5000
    with pytest.raises(UserError, match="`epochs` must be a positive integer"):
        plot_schedule(lambda step: step, 5000, path=tmp_path / "three.png")


def test_images_of_weight_0_do_not_count_in_the_mean_loss(rng):
    model = keras_resnets.create_model("resnet_cifar", depth=8, width=4, input_shape=(8, 8, 1))
    model.compile(loss=keras.losses.CategoricalCrossentropy(from_logits=True), jit_compile=False)
    images = rng.normal(size=(6, 8, 8, 1)).astype("float32")
    labels = np.eye(10, dtype="float32")[rng.integers(10, size=6)]
    whole = model.evaluate(images[:5], labels[:5], batch_size=4, verbose=0)
    weights = np.array([1, 1, 1, 1, 1, 0], "float32")
    padded = model.evaluate(images, labels, batch_size=4, sample_weight=weights, verbose=0)
    assert padded == pytest.approx(whole, rel=1e-6)
