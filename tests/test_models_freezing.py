"""What is frozen stays as it was, to the last bit, and the rest is trained."""

import keras
import numpy as np
import pytest
from slow import first

import keras_resnets
from keras_resnets.errors import UserError
from keras_resnets.training import SGD, Recipe, train


def network(**options):
    return keras_resnets.resnet_cifar(
        depth=8, width=4, num_classes=4, input_shape=(8, 8, 3), **options
    )


def trained(model, rng):
    """The names of the variables that five steps of SGD with decay have changed."""
    before = {variable.path: variable.numpy() for variable in model.weights}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(SGD(0.1, weight_decay=1e-2), loss, jit_compile=False)
    images, labels = rng.standard_normal((40, 8, 8, 3), "float32"), rng.integers(0, 4, 40)
    model.fit(images, labels, batch_size=8, verbose=0)
    return {v.path for v in model.weights if not np.array_equal(v.numpy(), before[v.path])}


def all_of(model, *words):
    return {v.path for v in model.weights if any(word in v.path for word in words)}


@pytest.mark.parametrize("options", first(1, [{"survival": 0.9, "survival_draw": "batch"}, {}]))
@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ("stem,stage1", ("stem_", "stage1_")),
        (["stage3"], ("stage3_",)),
        ("backbone", ("stem_", "stage")),
        ("batch_norm", ("_bn", "shortcut_bn")),
    ],
)
def test_frozen_parts_do_not_change(parts, words, options, rng):
    model = network(**options)
    keras_resnets.freeze(model, parts)
    frozen = all_of(model, *words)
    assert frozen
    changed = trained(model, rng)
    assert not changed & frozen
    if not options:  # a skipped branch may have no gradient in five steps
        assert changed == {variable.path for variable in model.weights} - frozen


@pytest.mark.parametrize("options", [{}, {"survival": 0.9, "survival_draw": "batch"}])
@pytest.mark.parametrize("parts", ["batch_norm", "stem,stage2", "backbone"])
def test_a_file_remembers_what_is_frozen(parts, options, tmp_path):
    model = network(**options)
    keras_resnets.freeze(model, parts)
    model.save(tmp_path / "net.keras")
    loaded = keras_resnets.load_model(tmp_path / "net.keras")
    names = [[v.path for v in m.trainable_variables] for m in (model, loaded)]
    assert names[0] == names[1] and len(names[0]) < len(network().trainable_variables)


def test_a_frozen_batch_norm_uses_its_moving_statistics(rng):
    model = network()
    keras_resnets.freeze(model, "batch_norm")
    images = rng.standard_normal((4, 8, 8, 3), "float32")
    np.testing.assert_array_equal(model(images, training=True), model(images, training=False))


def test_refuses():
    model = network()
    with pytest.raises(UserError, match="`freeze` must be of stem, stage1, stage2, stage3, back"):
        keras_resnets.freeze(model, "stage4")
    with pytest.raises(UserError, match="stage3, backbone. Received: freeze='batch_norm'"):
        keras_resnets.freeze(network(norm="group"), "batch_norm")
    headless = network(include_top=False)
    with pytest.raises(UserError, match="`freeze` must leave something to train. Rec.*backbone"):
        keras_resnets.freeze(headless, "backbone")


def test_a_run_fine_tunes_the_head(tmp_path):
    """From a file, to other classes, stopped and gone on: the backbone is the file's."""
    settings = {
        "model": "resnet_cifar",
        "init": tmp_path / "from.keras",
        "freeze": "backbone",
        "dataset": "digits",
        "train_split": "train[:64]",
        "validation_split": "train[64:96]",
        "test_split": "test[:32]",
        "batch_size": 32,
    }
    source = keras_resnets.resnet_cifar(depth=8, width=4, num_classes=7, input_shape=(8, 8, 1))
    source.save(tmp_path / "from.keras")
    for epochs in (1, 2):
        train(Recipe(**settings, epochs=epochs), tmp_path / "run")
    done = keras_resnets.load_model(tmp_path / "run" / "last.keras")
    assert [v.name for v in done.trainable_variables] == ["kernel", "bias"]
    ours = {v.path: v.numpy() for v in done.weights if "logits" not in v.path}
    for variable in source.weights:
        if "logits" not in variable.path:
            np.testing.assert_array_equal(ours[variable.path], variable)
