"""Gradients by layer against numerical ones, a backward pass by hand, and a stopped training."""

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnets
from keras_resnets import analysis
from keras_resnets.errors import UserError


def images_of(rng, count=4, side=8):
    return rng.standard_normal((count, side, side, 3), "float32"), np.arange(count)


def small_net(**options):
    return keras_resnets.resnet_cifar(
        depth=8, width=4, num_classes=4, input_shape=(8, 8, 3), **options
    )


def cross_entropy(logits, labels):
    logits = np.asarray(logits, "float64")
    logits = logits - logits.max(1, keepdims=True)
    return np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels])


def test_norms_are_those_of_central_differences(rng):
    """Every value of every kernel and bias, in float64."""
    keras.config.set_dtype_policy("float64")
    x = keras.Input((5, 5, 2))
    y = keras.layers.Conv2D(2, 3, activation="tanh", name="conv")(x)
    y = keras.layers.Dense(3, name="logits")(keras.layers.Flatten()(y))
    model = keras.Model(x, y)
    images, labels = rng.standard_normal((4, 5, 5, 2)), np.array([0, 2, 1, 1])
    rows = analysis.gradient_norms(model, images, labels)
    assert [row.name for row in rows] == ["conv", "logits"]
    for row in rows:
        differences = []
        for variable in model.get_layer(row.name).weights:
            whole = variable.numpy()
            for index in np.ndindex(whole.shape):
                sides = []
                for step in (1e-5, -1e-5):
                    moved = whole.copy()
                    moved[index] += step
                    variable.assign(moved)
                    sides.append(cross_entropy(model(images), labels))
                differences.append((sides[0] - sides[1]) / 2e-5)
            variable.assign(whole)
        assert row.count == len(differences)
        assert row.norm == pytest.approx(np.linalg.norm(differences), rel=1e-6)
        assert row.rms == pytest.approx(np.sqrt(np.mean(np.square(differences))), rel=1e-6)


def test_a_networks_norms_are_slopes(rng):
    """Along its gradient the loss of a batch-normalized network rises by the norm."""
    model, (images, labels) = small_net(), images_of(rng)
    rows = {row.name: row for row in analysis.gradient_norms(model, images, labels)}
    assert list(rows) == [layer.name for layer in model.layers if hasattr(layer, "kernel")]
    for name in ("stem_conv", "stage2_block1_conv1", "logits"):
        variables = [v.value for v in model.get_layer(name).weights]
        with tf.GradientTape() as tape:
            loss = keras.losses.sparse_categorical_crossentropy(
                labels, model(images, training=True), from_logits=True
            )
            loss = tf.reduce_mean(loss)
        gradients = tape.gradient(loss, variables)
        size = rows[name].norm
        losses = []
        for step in (1e-3, -1e-3):
            for variable, gradient in zip(variables, gradients, strict=True):
                variable.assign_add(step * gradient / size)
            losses.append(cross_entropy(model(images, training=True), labels))
            for variable, gradient in zip(variables, gradients, strict=True):
                variable.assign_sub(step * gradient / size)
        assert (losses[0] - losses[1]) / 2e-3 == pytest.approx(size, rel=0.01)


def backward_by_hand(model, inputs, labels, skip):
    """Forward and backward passes of the five layers in NumPy; rms of each layer's gradient."""
    kernels = [model.get_layer(f"fc{n}").get_weights()[0].astype("float64") for n in range(1, 6)]
    x, entering, leaving = inputs.astype("float64"), [], []
    for number, kernel in enumerate(kernels, 1):
        if skip and number == 4:
            x = x + leaving[0]
        entering.append(x)
        x = np.maximum(x @ kernel, 0)
        leaving.append(x)
    upstream, rms, skipped = 2 * (x - labels) / labels.size, {}, 0.0
    for number in range(5, 0, -1):
        if number == 1:
            upstream = upstream + skipped
        inner = upstream * (leaving[number - 1] > 0)
        values = np.concatenate([(entering[number - 1].T @ inner).ravel(), inner.sum(0)])
        rms[f"fc{number}"] = np.sqrt(np.mean(values**2))
        upstream = inner @ kernels[number - 1].T
        if skip and number == 4:
            skipped = upstream
    return rms


@pytest.mark.parametrize(("label", "skip"), [("sequential", False), ("with skip", True)])
def test_the_five_layers_by_hand(label, skip):
    rows = analysis.dense_experiment(seed=3)[label]
    rng = np.random.default_rng([3, 1])
    inputs, labels = rng.standard_normal((2, 64, 8), "float32")
    expected = backward_by_hand(analysis.five_layers(skip, seed=3), inputs, labels, skip)
    assert [row.name for row in rows] == ["fc1", "fc2", "fc3", "fc4", "fc5"]
    for row in rows:
        assert row.rms == pytest.approx(expected[row.name], rel=1e-4)
        assert row.count == 72


def test_the_skip_brings_the_first_layers_gradient_back():
    for seed in range(3):
        norms = analysis.dense_experiment(seed=seed)
        sequential, skip = ([row.rms for row in norms[label]] for label in norms)
        assert sequential[0] < sequential[4] / 3
        assert skip[0] > 3 * sequential[0]


@pytest.mark.parametrize("options", [{}, {"survival": 0.5}, {"head_dropout": 0.5}])
def test_the_model_is_left_as_it_was(rng, options):
    model, (images, labels) = small_net(**options), images_of(rng)
    before = [variable.numpy() for variable in model.variables]
    first = analysis.gradient_norms(model, images, labels)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert analysis.gradient_norms(model, images, labels) == first  # of the same draws


def test_skipped_branches_have_no_gradient(rng):
    plain, (images, labels) = small_net(), images_of(rng)
    deep = plain.copy_with(survival=1e-9, survival_rule="uniform")
    rows = analysis.gradient_norms(deep, images, labels)
    names = [row.name for row in analysis.gradient_norms(plain, images, labels)]
    assert [row.name for row in rows] == names
    for row in rows:
        assert (row.norm == 0) == ("_conv1" in row.name or "_conv2" in row.name)
    inference = analysis.gradient_norms(deep, images, labels, training=False)
    assert all(row.norm > 0 for row in inference)


def test_any_functional_model(rng):
    images, labels = images_of(rng)
    inner = keras_resnets.resnet_cifar(
        depth=8, width=4, include_top=False, input_shape=(8, 8, 3), survival=0.9, name="body"
    )
    x = keras.Input((8, 8, 3))
    features = keras.layers.GlobalAveragePooling2D()(inner(x))
    logits = keras.layers.Dense(4, name="head")(features)
    on_logits = keras.Model(x, logits)
    on_softmax = keras.Model(x, keras.layers.Softmax()(logits))
    rows = analysis.gradient_norms(on_logits, images, labels, training=False)
    assert [row.name for row in rows][0] == "body/stem_conv" and rows[-1].name == "head"
    assert len(rows) == 8
    hot = analysis.gradient_norms(on_softmax, images, np.eye(4)[labels], training=False)
    for ours, theirs in zip(rows, hot, strict=True):
        assert ours.norm == pytest.approx(theirs.norm, rel=1e-3)
    inner.trainable = False
    frozen = analysis.gradient_norms(on_logits, images, labels, training=False)
    np.testing.assert_allclose([r.norm for r in frozen], [r.norm for r in rows], rtol=1e-5)
    scaled = analysis.gradient_norms(
        on_logits,
        images,
        labels,
        training=False,
        loss=lambda y, p: 2 * keras.losses.sparse_categorical_crossentropy(y, p, from_logits=True),
    )
    assert scaled[0].norm == pytest.approx(2 * rows[0].norm, rel=1e-5)


def test_refuses(rng, tmp_path):
    model, (images, labels) = small_net(), images_of(rng)
    x = keras.Input((8, 8, 3))
    sigmoid = keras.Model(x, keras.layers.Dense(1, "sigmoid")(keras.layers.Flatten()(x)))
    bare = keras.Model(x, keras.layers.Flatten()(x))
    calls = {
        "`model` must be a functional": (images, images, labels),
        "shape of the model's input": (model, images[:, 1:], labels),
        "at least one image": (model, images[:0], labels[:0]),
        "`labels` must be 4 class numbers": (model, images, labels + 1),
        "one-hot of shape": (model, images, np.eye(3)[[0, 1, 2, 0]]),
        "`loss` must be given": (sigmoid, images, labels),
        "must have a layer with a kernel": (bare, images, labels),
    }
    for words, arguments in calls.items():
        with pytest.raises(UserError, match=words) as caught:
            analysis.gradient_norms(*arguments)
        assert "\n" not in str(caught.value)
    for curves in ({}, {"a": []}, {"a": [analysis.LayerGradient("x", 1, 0.0, 0.0)]}):
        with pytest.raises(UserError, match="`curves` must hold"):
            analysis.plot_gradient_norms(curves, tmp_path / "none.png")
    with pytest.raises(UserError, match="`units` must be"):
        analysis.five_layers(True, units=0)
    with pytest.raises(UserError, match="`every` must be"):
        analysis.GradientNorms(images, labels, tmp_path / "x.csv", every=0)


def test_figures_are_written(tmp_path):
    analysis.plot_gradient_norms(analysis.dense_experiment(), tmp_path / "five.png", "five")
    rows = [analysis.LayerGradient(f"layer{n}", 1, n % 3 * 0.1, 0.0) for n in range(30)]
    analysis.plot_gradient_norms({"many": rows, "few": rows[:20]}, tmp_path / "many.svg")
    assert (tmp_path / "five.png").stat().st_size > 1000
    assert "<svg" in (tmp_path / "many.svg").read_text()


def scalars(folder):
    """(tag, step) of every scalar, over all event files."""
    found = []
    for path in sorted(folder.rglob("*tfevents*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            found += [(value.tag, event.step) for value in event.summary.value]
    return found


def test_a_resumed_training_writes_what_an_uninterrupted_one_does(rng, tmp_path):
    images, labels = images_of(rng)
    start = small_net()

    def trained(folder, *parts, every):
        model = start.copy_with()
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.05), loss, jit_compile=False)
        for first, last in parts:
            callback = analysis.GradientNorms(
                images, labels, folder / "norms.csv", folder / "tensorboard", every=every
            )
            model.fit(
                images,
                labels,
                initial_epoch=first,
                epochs=last,
                shuffle=False,
                verbose=0,
                callbacks=[callback],
            )
        return folder / "norms.csv", model

    for every, epochs in ((1, [0, 1, 2, 3]), (2, [0, 2])):
        whole, model = trained(tmp_path / f"whole{every}", (0, 3), every=every)
        parted, _ = trained(tmp_path / f"parted{every}", (0, 1), (1, 3), every=every)
        assert parted.read_bytes() == whole.read_bytes()
        with open(whole, newline="") as file:
            rows = list(csv.DictReader(file))
        assert sorted({int(row["epoch"]) for row in rows}) == epochs
        assert len(rows) == 8 * len(epochs)
        assert sorted(scalars(parted.parent)) == sorted(
            (f"gradient_{kind}/{row['layer']}", int(row["epoch"]))
            for row in rows
            for kind in ("rms", "norm")
        )
        if every == 1:
            now = analysis.gradient_norms(model, images, labels)
            assert [row.norm for row in now] == [float(row["norm"]) for row in rows[-8:]]
            assert rows[0]["norm"] != rows[-8]["norm"]


def test_a_training_is_not_changed_by_the_callback(rng, tmp_path):
    images, labels = images_of(rng)
    weights = []
    for callbacks in ([], [analysis.GradientNorms(images, labels, tmp_path / "norms.csv")]):
        keras.utils.set_random_seed(4)
        model = small_net(survival=0.5)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.05), loss, jit_compile=False)
        model.fit(images, labels, epochs=2, shuffle=False, verbose=0, callbacks=callbacks)
        weights.append(model.get_weights())
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "must be a new file or one with the columns"),
        ("epoch,layer,rms,norm\n0,x\n", "must be a new file or one with the columns"),
        ("epoch,layer,rms,norm\n0,x,1.0,1.0\n", "norms of other layers"),
    ],
)
def test_a_file_of_something_else_stays(text, words, rng, tmp_path):
    images, labels = images_of(rng)
    path = tmp_path / "norms.csv"
    path.write_text(text)
    callback = analysis.GradientNorms(images, labels, path)
    callback.set_model(small_net())
    callback.on_train_begin()
    with pytest.raises(UserError, match=words):
        callback.on_epoch_begin(0)
        callback.on_epoch_end(0)
    assert path.read_text() == text
