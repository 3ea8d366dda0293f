"""Lesions and paths against computations of their own."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import kendalltau
from slow import first

import keras_resnets
from keras_resnets.analysis import lesions, paths
from keras_resnets.analysis.experiments import lesion_study, path_study
from keras_resnets.analysis.steps import Steps
from keras_resnets.errors import UserError

KINDS = [
    {},
    {"survival": 0.5},
    {"survival": 0.5, "survival_draw": "sample"},
    {"shortcut": "B"},
    {"activation": "full_preact"},
    {"activation": "bn_after_add"},
    {"skip": "lambda"},
    {"skip": "exclusive_gate"},
]


def small(depth=14, **options):
    """A net of 6n+2 layers with random statistics."""
    network = keras_resnets.resnet_cifar(depth=depth, width=8, input_shape=(8, 8, 3), **options)
    rng = np.random.default_rng(0)
    for variable in network.weights:
        if "variance" in variable.path:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif "mean" in variable.path or "beta" in variable.path:
            variable.assign(rng.normal(0, 0.2, variable.shape))
    return network


@pytest.fixture
def images(rng):
    return rng.normal(size=(12, 8, 8, 3)).astype(np.float32)


def logits_by_hand(network, images, order):
    """A post-activated net of basic blocks in plain operations.

    `order` holds pairs of a block's number and whether its branch is there.
    """

    def conv(x, name, stride=1):
        kernel = network.get_layer(name).kernel
        pad = kernel.shape[0] // 2
        x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        return tf.nn.conv2d(x, kernel, stride, "VALID")

    def norm(x, name):
        gamma, beta, mean, variance = network.get_layer(name).weights
        return (x - mean) / tf.sqrt(variance + 1e-5) * gamma + beta

    x = tf.nn.relu(norm(conv(images, "stem_conv"), "stem_bn"))
    for number, is_whole in order:
        block = network.blocks[number]
        name, shortcut = block.name, x
        if block.stride > 1:
            shortcut = x[:, ::2, ::2]
            added = block.width - x.shape[-1]
            shortcut = tf.pad(shortcut, [[0, 0], [0, 0], [0, 0], [0, added]])
        if is_whole:
            y = tf.nn.relu(norm(conv(x, f"{name}_conv1", block.stride), f"{name}_bn1"))
            shortcut += norm(conv(y, f"{name}_conv2"), f"{name}_bn2")
        x = tf.nn.relu(shortcut)
    logits = network.get_layer("logits")
    return (tf.reduce_mean(x, (1, 2)) @ logits.kernel + logits.bias).numpy()


def errors_by_hand(network, images, labels, orders):
    return [
        (logits_by_hand(network, images, order).argmax(-1) != labels).mean() for order in orders
    ]


def test_single_lesions_are_a_net_without_the_block(images):
    network = small(20)
    count = len(network.blocks)
    whole = [(number, True) for number in range(count)]
    logits = logits_by_hand(network, images, whole)
    network.get_layer("logits").bias.assign_sub(logits.mean(0))  # so that answers differ
    labels = logits_by_hand(network, images, whole).argmax(-1)
    labels[0] += 1
    intact, found = lesions.single_lesions(network, images, labels, batch_size=5)
    orders = [[(n, n != left) for n in range(count)] for left in (None, *range(count))]
    assert [intact, *(lesion.error for lesion in found)] == errors_by_hand(
        network, images, labels, orders
    )
    assert len({lesion.error for lesion in found}) > 1
    assert [lesion.name for lesion in found] == [block.name for block in network.blocks]
    assert [n for n, lesion in enumerate(found) if lesion.is_downsampling] == [3, 6]


def test_an_order_of_blocks_is_computed_as_it_is(images):
    network = small(20)
    order = [(number, number != 0) for number in (1, 0, 2, 3, 5, 4, 6, 8, 7)]
    steps = Steps(network)
    (_, found), = lesions._logits(steps, images, [tuple(order)])
    np.testing.assert_allclose(found, logits_by_hand(network, images, order), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_all_steps_in_their_order_are_the_network(options, images):
    network = small(**options)
    steps = Steps(network)
    whole = tuple((n, True) for n in range(len(steps.steps)))
    without = [tuple((n, n != left) for n in range(len(whole))) for left in steps.deletable]
    found = dict(lesions._logits(steps, images, [whole, *without]))
    np.testing.assert_allclose(
        found[0], network.predict(images, verbose=0), rtol=1e-5, atol=1e-5
    )
    assert len(found) == 1 + len(network.blocks)
    for number in range(1, len(found)):
        assert np.isfinite(found[number]).all()
        assert np.abs(found[number] - found[0]).max() > 1e-4


@pytest.mark.parametrize(
    "name",
    ["plain20", "wide_resnet16_4",
     *(pytest.param(name, marks=pytest.mark.slow) for name in ("dpn68", "dfn_mr1"))],
)
def test_other_families(name, rng):
    options = {"input_shape": (32, 32, 3)}
    network = keras_resnets.create_model(name, **options)
    images = rng.normal(size=(2, 32, 32, 3)).astype(np.float32)
    steps = Steps(network)
    whole = tuple((n, True) for n in range(len(steps.steps)))
    found = dict(lesions._logits(steps, images, [whole]))
    np.testing.assert_allclose(
        found[0], network.predict(images, verbose=0), rtol=1e-4, atol=1e-5
    )
    if name == "plain20":
        assert len(steps.steps) == 18
        shapes = [step.name for step in steps.steps if not step.keeps_shape]
        assert shapes == ["stage2_block1_conv1", "stage3_block1_conv1"]
        assert len(steps.deletable) == 16
    else:
        assert steps.deletable == list(range(len(network.blocks)))


def test_random_lesions_and_orders(images):
    network = small(20)
    labels = np.arange(12) % 10
    rows = lesions.random_lesions(network, images, labels, counts=(1, 9), trials=3, seed=1)
    assert [(row["deleted"], row["trial"]) for row in rows] == list(
        itertools.product((1, 9), range(3))
    )
    everything = errors_by_hand(network, images, labels, [[(n, False) for n in range(9)]])
    assert [row["error"] for row in rows[3:]] == everything * 3
    assert rows == lesions.random_lesions(network, images, labels, (1, 9), trials=3, seed=1)
    rows = lesions.shuffles(network, images, labels, swaps=(1, 4), trials=4)
    assert len(rows) == 8
    # One swap of 7 blocks in stages of 3, 2, 2 turns one pair or three of the 21 round.
    orders = ([1, 0, 2, *range(3, 7)], [2, 1, 0, *range(3, 7)])
    legal = [pytest.approx(kendalltau(range(7), order).statistic) for order in orders]
    assert all(row["kendall_tau"] in legal for row in rows[:4])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda n, x: lesions.single_lesions(n, x, np.zeros(3, int)), r"\(12,\)"),
        (lambda n, x: lesions.random_lesions(n, x, np.zeros(12), counts=(10,)), "from 1 to 6"),
        (lambda n, x: lesions.random_lesions(n, x, np.zeros(12), trials=0), "positive integer"),
        (lambda n, x: lesions.shuffles(n, x, np.zeros(12), swaps=(0,)), "positive integers"),
        (lambda n, x: lesions.single_lesions(keras.Sequential(), x, np.zeros(12)), "keras_resnets"),
        (lambda n, x: paths.path_lengths(0), "positive integer"),
        (lambda n, x: paths.gradients_by_length(n, x, np.zeros(12, int), [7]), "from 0 to 6"),
        (lambda n, x: paths.PathGradients(n, x, np.zeros(3, int)), r"\(12,\)"),
        (
            lambda n, x: paths.PathGradients(keras_resnets.Plain20(), x, np.zeros(12, int)),
            "one branch in every block",
        ),
        (
            lambda n, x: lesions.single_lesions(keras_resnets.FractalNet10(), x, np.zeros(12)),
            "one with blocks that can be deleted",
        ),
    ],
)
def test_mistakes_are_one_line(call, words, images):
    with pytest.raises(UserError, match=words) as error:
        call(small(), images)
    assert "\n" not in str(error.value)


def test_path_lengths_are_binomial():
    shares = paths.path_lengths(54)
    assert round(shares[19:36].sum() * 100, 4) == 98.0166
    assert round(shares[5:18].sum() * 100, 4) == 0.4537
    assert shares.sum() == pytest.approx(1)
    of_network = paths.path_lengths(keras_resnets.ResNet20())
    np.testing.assert_array_equal(of_network, paths.path_lengths(9))


@pytest.mark.parametrize(
    "options", first(3, [kind for kind in KINDS if "gate" not in str(kind)]), ids=str
)
def test_all_paths_together_are_the_gradient(options, images):
    network = small(**options)
    images, labels = tf.constant(images[:3]), np.array([1, 2, 3])
    gradients = paths.PathGradients(network, images, labels)
    total = sum(gradients.gradient(path) for path in itertools.product((0, 1), repeat=6))
    with tf.GradientTape() as tape:
        tape.watch(images)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels, network(images, training=False)
        )
    expected = tape.gradient(losses, images).numpy()
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(total, expected, atol=1e-5 * np.abs(expected).max())


def test_gradients_by_length_are_the_means_over_all_paths(images):
    network = small()
    labels = np.arange(3)
    gradients = paths.PathGradients(network, images[:3], labels)
    norms = {}
    for path in itertools.product((False, True), repeat=6):
        gradient = gradients.gradient(path)
        norm = np.sqrt((gradient**2).sum((1, 2, 3))).mean()
        norms.setdefault(sum(path), []).append(norm)
    rows = paths.gradients_by_length(network, images[:3], labels, samples=20)  # of at most 20
    for row in rows:
        assert len(norms[row["length"]]) <= 20
        assert row["norm"] == pytest.approx(np.mean(norms[row["length"]]), rel=1e-4)
        assert row["highest"] == pytest.approx(np.max(norms[row["length"]]), rel=1e-4)
        assert row["total"] == pytest.approx(row["share"] * row["norm"])
    low, high, share = paths.effective_lengths(rows, 0.9)
    totals = [row["total"] for row in rows]
    assert sum(totals[low : high + 1]) >= 0.9 * sum(totals)
    for other in range(len(rows) - (high - low - 1)):
        assert sum(totals[other : other + high - low]) < 0.9 * sum(totals)
    assert share == pytest.approx(sum(row["share"] for row in rows[low : high + 1]))


def test_studies_write_tables_and_figures_and_go_on(images, tmp_path, monkeypatch):
    network = small()
    labels = np.arange(12) % 10
    told = []
    files = lesion_study(
        network, images, labels, tmp_path / "out", trials=2, progress=lambda *at: told.append(at)
    )
    files += path_study(network, images[:2], labels[:2], tmp_path / "out", samples=2)
    assert all(path.stat().st_size > 100 for path in files)
    assert told[-1] == (12, 12)
    table = tmp_path / "out" / "lesions_random.csv"
    first = table.read_text()
    lines = first.splitlines()
    assert len(lines) == 1 + 5 * 2
    # What is complete is kept as it stands, what is not is computed again, to the same numbers.
    changed = [lines[0], *(line.rpartition(",")[0] + ",0.123" for line in lines[1:3]), *lines[3:6]]
    table.write_text("\n".join(changed) + "\n")
    lesion_study(network, images, labels, tmp_path / "out", trials=2)
    assert table.read_text().splitlines() == [*changed[:3], *lines[3:]]


def test_a_deeper_net_whose_further_blocks_are_zero_computes_the_same(images):
    """The construction of He 2015, section 1: depth itself is no reason for a higher error."""
    shallow, deep = small(14), small(26)
    images = np.abs(images)
    for layer in deep.layers:
        if "_bn2" in layer.name:
            layer.gamma.assign(tf.zeros_like(layer.gamma))
            layer.beta.assign(tf.zeros_like(layer.beta))
    names = {layer.name for layer in shallow.layers}
    for layer in deep.layers:
        if layer.name in names and layer.weights:
            layer.set_weights(shallow.get_layer(layer.name).get_weights())
    np.testing.assert_allclose(
        deep.predict(images, verbose=0), shallow.predict(images, verbose=0), rtol=1e-5, atol=1e-6
    )
