"""Drawn depths against the layers' own draws, side-by-side trainings by hand, a stopped sweep."""

import csv
import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnets
from keras_resnets import analysis
from keras_resnets.errors import UserError
from keras_resnets.training import Recipe, train, trainer


def net(depth=14, **options):
    options = {"survival": 0.4, "survival_rule": "uniform"} | options
    return keras_resnets.resnet_cifar(depth=depth, width=4, input_shape=(8, 8, 3), **options)


def images_of(rng, count=16):
    return rng.standard_normal((count, 8, 8, 3), "float32"), np.arange(count) % 10


def recipe(epochs=1, **options):
    options = {"depth": 8, "width": 4, **options}
    return Recipe(
        model="resnet_cifar",
        option=options,
        dataset="digits",
        train_split="train[:64]",
        validation_split="train[128:168]",
        test_split="test[:50]",
        batch_size=32,
        epochs=epochs,
        seed=5,
    )


@pytest.mark.parametrize("norm", ["batch", "sync_batch"])  # skipped, or multiplied by 0
def test_depths_are_those_that_the_layers_draw(rng, norm):
    """A block that a step leaves out has no gradient: what is counted is what was trained."""
    model = net(norm=norm)
    x = tf.constant(images_of(rng, 2)[0])
    predicted = analysis.effective_depth(model, 12)
    kernels = [model.get_layer(f"{block.name}_conv2").kernel.value for block in model.blocks]

    @tf.function
    def alive():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(x, training=True) ** 2)
        return tf.stack([tf.norm(g) > 0 for g in tape.gradient(loss, kernels)])

    depths = [int(np.sum(alive())) for _ in range(12)]
    assert predicted.tolist() == depths
    assert len(set(depths)) > 2
    np.testing.assert_array_equal(analysis.effective_depth(model, 4, first_step=8), depths[8:])


def test_the_mean_depth_is_the_expected_one():
    model = net(survival=0.5, survival_rule="linear")
    depths = analysis.effective_depth(model, 3000)
    deviation = math.sqrt(sum(p * (1 - p) for p in 1 - np.arange(1, 7) / 12))
    expected = keras_resnets.expected_depth(model)
    assert abs(depths.mean() - expected) < 4 * deviation / math.sqrt(3000)
    assert depths.std() == pytest.approx(deviation, rel=0.1)


def test_blocks_without_it_and_of_two_branches():
    assert analysis.effective_depth(net(survival=1.0), 3).tolist() == [6, 6, 6]
    plain = keras_resnets.resnet_cifar(depth=8, width=4, skip="none", input_shape=(8, 8, 3))
    assert analysis.effective_depth(plain, 2).tolist() == [3, 3]
    half = keras_resnets.fusenet(
        kind="half", depth=26, width=4, survival=0.5, input_shape=(8, 8, 3)
    )
    assert set(analysis.effective_depth(half, 200) % 1) == {0.0, 0.5}


SWEEP = ((1, 0.5), ("linear",), (8,))
FIRST = "depth8_linear_survival0.5"


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The folder of a sweep that was stopped after its first run, and the network trained in it."""
    folder, built = tmp_path_factory.mktemp("sweep"), []

    def build(*arguments):
        built.append(original(*arguments))
        return built[-1]

    def stop(own, run_dir):
        if (folder / FIRST).exists():
            raise KeyboardInterrupt
        return train(own, run_dir)

    original = trainer.build
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trainer, "build", build)
        patch.setattr("keras_resnets.training.train", stop)
        analysis.sweep(recipe(), folder, *SWEEP)
    return folder, built[0]


@pytest.mark.slow
def test_the_depths_of_a_run(stopped, tmp_path):
    folder, model = stopped
    depths = analysis.run_effective_depth(folder / FIRST)
    assert len(depths) == 2
    np.testing.assert_array_equal(depths, analysis.effective_depth(model, 2))
    states = [block.branches[0].merge.seed_generator.state.numpy() for block in model.blocks]
    assert [int(counter) for _, counter in states] == [2, 2, 2]  # drawn in training, no more
    with pytest.raises(UserError, match="must be the folder of a run"):
        analysis.run_effective_depth(tmp_path)


def test_gradients_of_a_training_by_hand(rng):
    """The plain half, step by step with Keras' own optimizer; the network stays as it is."""
    network, (images, labels) = net(8, survival=1.0), images_of(rng)
    before = network.get_weights()
    rows = analysis.first_gradients(network, images, labels, steps=8, batch_size=8, lr=0.05, seed=2)
    for ours, theirs in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert [row.step for row in rows] == list(range(1, 9))
    np.testing.assert_allclose(
        [row.learning_rate for row in rows], [0.05] * 4 + [0.005] * 2 + [0.0005] * 2
    )

    order = np.random.default_rng(2).permutation(16)[:8]
    (first, *_) = analysis.gradient_norms(network, images[order], labels[order])
    assert rows[0].plain == pytest.approx(first.rms, rel=1e-4)
    model = network.copy_with()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True)
    model.compile(optimizer, loss, jit_compile=False)
    model.train_on_batch(images[order], labels[order])
    rest = np.random.default_rng(2).permutation(16)[8:]
    (second, *_) = analysis.gradient_norms(model, images[rest], labels[rest])
    assert rows[1].plain == pytest.approx(second.rms, rel=1e-3)
    assert all(math.isfinite(row.stochastic) for row in rows)
    assert any(row.stochastic != row.plain for row in rows)


def test_both_trainings_are_alike_where_every_block_survives(rng):
    network, (images, labels) = net(8, survival=1.0), images_of(rng)
    sure = 1 - 1e-12
    for row in analysis.first_gradients(network, images, labels, survival=sure, steps=3, lr=0.01,
                                        batch_size=8):
        assert row.stochastic == pytest.approx(row.plain, rel=1e-3)


def test_time_is_measured(rng):
    images, labels = images_of(rng)
    saved = analysis.time_saved(net(8), images, labels, rule="uniform", steps=2, batch_size=8)
    assert saved.plain > 0 and saved.stochastic > 0
    assert saved.ratio == saved.stochastic / saved.plain
    assert saved.expected == pytest.approx(0.5)


def test_refuses(rng, tmp_path):
    network, (images, labels) = net(), images_of(rng, 40)
    plain = keras_resnets.resnet_cifar(depth=8, width=4, skip="none", input_shape=(8, 8, 3))
    x = keras.Input((8, 8, 3))
    functional = keras.Model(x, keras.layers.GlobalAveragePooling2D()(x))
    calls = {
        "`network` must be a keras_resnets.Network": (functional, images, labels),
        "`batch_size` must be in 1..40": (network, images, labels, 0.5, "linear", 2, 41),
        "`survival` must be in": (network, images, labels, 1.0),
        "`survival_rule` must be": (network, images, labels, 0.5, "cosine"),
        "`survival` must be 1|survival.*skip": (plain, images, labels, 0.5, "linear", 2, 8),
        "`labels` must be": (network, images, labels[1:]),
        "`steps` must be": (network, images, labels, 0.5, "linear", 0),
    }
    for function in (analysis.first_gradients, analysis.time_saved):
        for words, arguments in calls.items():
            with pytest.raises(UserError, match=words) as caught:
                function(*arguments)
            assert "\n" not in str(caught.value)
    for words, arguments in {
        "must draw by the batch": (net(survival_draw="sample"), 2),
        "`network` must be": (functional, 2),
        "`steps` must be": (network, 0),
        "`first_step` must be": (network, 1, -1),
    }.items():
        with pytest.raises(UserError, match=words):
            analysis.effective_depth(*arguments)
    with pytest.raises(UserError, match="`depths` must be"):
        analysis.plot_effective_depth([], 1.0, tmp_path / "none.png")
    for plot in (analysis.plot_first_gradients, analysis.plot_sweep):
        with pytest.raises(UserError, match="`rows` must be"):
            plot([], tmp_path / "none.png")


def read_table(folder):
    with open(folder / "sweep.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_sweep_that_was_stopped_goes_on(stopped, capsys):
    folder, _ = stopped
    assert [row["run"] for row in read_table(folder)] == [FIRST]
    rows = analysis.sweep(recipe(), folder, *SWEEP)
    assert f"{folder / FIRST} is finished" in capsys.readouterr().out
    cells = [(row["depth"], row["rule"], row["survival"]) for row in rows]
    assert cells == [(8, "linear", 0.5), (8, "linear", 1.0)]
    table = read_table(folder)
    assert [float(row["test_error"]) for row in table] == [row["test_error"] for row in rows]
    results = json.loads((folder / FIRST / "results.json").read_text())
    assert rows[0]["test_error"] == 1 - results["last"]["top1"]
    assert (folder / "sweep.png").stat().st_size > 1000


def test_the_cells_of_a_sweep(tmp_path, monkeypatch):
    trained = []

    def fake(own, run_dir):
        trained.append((run_dir.name, own.model_options()))
        scores = {"epoch": 1, "val_accuracy": 0.5, "top1": 1 - len(trained) / 100}
        return {"last": scores, "best": scores, "seconds": 1.0}

    monkeypatch.setattr("keras_resnets.training.train", fake)
    rows = analysis.sweep(recipe(), tmp_path, (1.0, 0.5), depths=(14, 8))
    kept = {"width": 4}
    assert trained == [
        (f"depth{depth}_{name}", {**kept, "depth": depth, "survival": p, "survival_rule": rule})
        for depth in (8, 14)
        for name, rule, p in (
            ("linear_survival0.5", "linear", 0.5),
            ("survival1", "linear", 1.0),  # the same net by both rules
            ("uniform_survival0.5", "uniform", 0.5),
        )
    ]
    assert [round(100 * row["test_error"]) for row in rows] == [1, 2, 3, 2, 4, 5, 6, 5]
    assert [row["rule"] for row in rows] == ["linear", "linear", "uniform", "uniform"] * 2
    analysis.sweep(Recipe(model="resnet20", dataset="digits"), tmp_path, (0.5,), ("linear",))
    assert trained[-1] == ("depth20_linear_survival0.5",
                           {"survival": 0.5, "survival_rule": "linear"})


def test_a_training_that_diverged_is_a_hole_in_the_sweep(tmp_path, monkeypatch):
    def diverge(own, run_dir):
        raise FloatingPointError("the loss is nan at step 1 of the epoch")

    monkeypatch.setattr("keras_resnets.training.train", diverge)
    rows = analysis.sweep(recipe(), tmp_path, (0.5, 0.8))
    assert [row["depth"] for row in rows] == [8] * 4
    assert all(math.isnan(row["test_error"]) for row in rows)
    assert (tmp_path / "sweep.png").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"survivals": (0.5, 0)}, "`survivals` must be numbers in"),
        ({"survivals": ()}, "`survivals` must be a sequence"),
        ({"rules": ("cosine",)}, "`rules` must be one of"),
        ({"depths": (8, 9)}, "`depth` must be 6n"),
        ({"depths": ()}, "`depths` must be a sequence"),
        ({"recipe": "resnet20"}, "`recipe` must be"),
        ({"recipe": Recipe(model="plain20", dataset="digits")}, "must have the option survival"),
        ({"recipe": Recipe(model="resnet20", dataset="digits"), "depths": (20, 32)},
         "must have the option depth"),
    ],
)
def test_a_sweep_refuses_before_it_trains(changes, words, tmp_path):
    arguments = {"recipe": recipe(), "survivals": (0.5,), **changes}
    with pytest.raises(UserError, match=words):
        analysis.sweep(output_dir=tmp_path / "sweep", **arguments)
    assert not (tmp_path / "sweep").exists()


def test_figures_are_written(tmp_path):
    rows = [analysis.FirstGradient(n, 0.1 if n < 6 else 0.01, 0.1 * n, 0.2) for n in range(1, 12)]
    analysis.plot_first_gradients(rows, tmp_path / "first.png", "first")
    analysis.plot_effective_depth(np.arange(40) % 5, 2.0, tmp_path / "depth.svg")
    assert (tmp_path / "first.png").stat().st_size > 1000
    assert "<svg" in (tmp_path / "depth.svg").read_text()
