"""Grad-CAM against hand computations, on nested models, behind softmax, under crops; filters."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_resnets import Preprocessing, UserError, create_model
from keras_resnets.analysis import drawing, grad_cam, plot_filters, plot_grad_cam


def tiny(activation=None):
    """3x3 convolution, ReLU, average pool, dense: its gradient is known by hand."""
    x = image = keras.Input((6, 5, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(3, activation=activation, name="dense")(x))


def small(**options):
    """A ResNet-8 whose batch norms have statistics of their own."""
    net = create_model("resnet_cifar", depth=8, width=4, input_shape=(16, 16, 3), **options)
    rng = np.random.default_rng(3)
    for layer in net.layers:
        if hasattr(layer, "moving_variance"):
            layer.moving_mean.assign(rng.normal(size=layer.moving_mean.shape))
            layer.moving_variance.assign(rng.uniform(0.5, 2, layer.moving_variance.shape))
    return net


def by_tape(net, tensor, images, classes):
    """Grad-CAM of a flat network of logits, by two submodels and TensorFlow's own resize."""
    maps = keras.Model(net.input, tensor)(images, training=False)
    tail = keras.Model(tensor, net.output)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        logits = tail(maps, training=False)
        score = tf.reduce_sum(logits * tf.one_hot(classes, logits.shape[1]))
    weights = tf.reduce_mean(tape.gradient(score, maps), axis=(1, 2), keepdims=True)
    cam = tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1, keepdims=True))
    cam = tf.image.resize(cam, images.shape[1:3])[..., 0].numpy()
    highest = cam.max(axis=(1, 2), keepdims=True)
    assert (highest > 0).all(), "a map of zeros would prove nothing"
    return cam / highest


def lean(net, by):
    """Lets the channels of the last map speak more for all classes."""
    net.get_layer("logits").kernel.assign_add(np.full(net.get_layer("logits").kernel.shape, by))
    return net


@pytest.fixture
def images(rng):
    return rng.normal(size=(3, 16, 16, 3)).astype("float32")


def test_by_hand(rng):
    model, images = tiny(), rng.normal(size=(2, 6, 5, 3)).astype("float32")
    kernel, bias = model.get_layer("conv").get_weights()
    dense = np.float32([[0.5, 0, -0.3], [-0.2, 1, 0.6], [0.4, 1, 0.1], [-0.1, 1, 0.7]])
    model.get_layer("dense").set_weights([dense, np.zeros(3)])
    padded = np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)])
    maps = np.stack([
        [np.einsum("bijc,ijcf->bf", padded[:, y : y + 3, x : x + 3], kernel) for x in range(5)]
        for y in range(6)
    ]).transpose(2, 0, 1, 3)
    maps = np.maximum(maps + bias, 0)
    # d logit / d A is dense / 30 at every place
    expected = np.stack([np.maximum(maps[i] @ (dense[:, c] / 30), 0) for i, c in enumerate((2, 0))])
    expected /= expected.max(axis=(1, 2), keepdims=True)
    found = grad_cam(model, images, classes=[2, 0])
    assert found.dtype == np.float32 and found.shape == (2, 6, 5)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("where", ["final", "stage"])
def test_a_network_as_by_a_plain_tape(images, where):
    net = small()
    tensor = net.final if where == "final" else net.stages[1].map
    layer = None if where == "final" else tensor
    predicted = np.argmax(net.predict(images, verbose=0), axis=1)
    expected = by_tape(net, tensor, images, predicted)
    np.testing.assert_allclose(grad_cam(net, images, layer=layer), expected, atol=2e-5)
    found = grad_cam(net, images, classes=4, layer=tensor._keras_history[0].name)
    np.testing.assert_allclose(found, by_tape(net, tensor, images, [4, 4, 4]), atol=2e-5)
    assert found.min() >= 0 and found.max() == 1


def test_nested_models_as_the_network_itself(images):
    net = small()
    expected = grad_cam(net, images, classes=1)
    pixels = np.clip(images * 60 + 120, 0, 255).astype("uint8")
    net.preprocessing = Preprocessing((0.5,) * 3, (0.25,) * 3)
    image = keras.Input((16, 16, 3), dtype="uint8")
    nested = keras.Model(image, net(net.preprocessing.as_layer()(image)))
    deeper = keras.Sequential([keras.Input((16, 16, 3), dtype="uint8"), nested])
    deeper.add(keras.layers.Softmax())
    standardized = np.asarray(net.preprocessing(pixels))
    expected = grad_cam(net, standardized, classes=1)
    layer = net.stages[0].blocks[0].branches[0].merge
    for model in (nested, deeper):
        np.testing.assert_allclose(grad_cam(model, pixels, classes=1), expected, atol=1e-5)
        np.testing.assert_allclose(
            grad_cam(model, pixels, 1, layer), grad_cam(net, standardized, 1, layer.name), atol=1e-5
        )


def test_a_frozen_net_and_another_head(images):
    net = small(include_top=False)
    net.trainable = False
    image = keras.Input((16, 16, 3))
    features = net(image)
    dense = keras.layers.Dense(2)
    model = keras.Model(image, dense(keras.layers.GlobalAveragePooling2D()(features)))
    flat = keras.Model(net.input, dense(keras.layers.GlobalAveragePooling2D()(net.output)))
    np.testing.assert_allclose(
        grad_cam(model, images, 0), by_tape(flat, net.final, images, [0, 0, 0]), atol=2e-5
    )


def endings(net, name):
    """The same net ending in probabilities, in all ways there are."""
    activation = getattr(keras.activations, name)
    yield keras.Model(net.input, keras.layers.Activation(activation)(net.output))
    yield keras.Model(net.input, getattr(keras.ops, name)(net.output))
    image = keras.Input(net.input_shape[1:])
    inner = keras.Model(net.input, keras.layers.Activation(activation)(net.output))
    yield keras.Model(image, keras.layers.Activation("linear", dtype="float32")(inner(image)))


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_the_gradient_is_that_of_the_logit(images, name):
    net = small()
    # confident: the probabilities' own gradients are 0 in float32
    kernel, bias = net.get_layer("logits").get_weights()
    net.get_layer("logits").set_weights([kernel * 1000, bias])
    expected = grad_cam(net, images, classes=[0, 1, 2])
    assert expected.max(axis=(1, 2)).all()
    for model in endings(net, name):
        np.testing.assert_allclose(grad_cam(model, images, [0, 1, 2]), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_an_activation_within_the_classifier(rng, name):
    images = rng.normal(size=(2, 6, 5, 3)).astype("float32")
    logits, probabilities = tiny(), tiny(name)
    probabilities.set_weights(logits.get_weights())
    np.testing.assert_allclose(
        grad_cam(probabilities, images, 1), grad_cam(logits, images, 1), atol=1e-6
    )
    assert probabilities.get_layer("dense").activation is getattr(keras.activations, name)
    net = create_model("resnet_cifar", depth=8, width=4, classifier_activation=name)
    batch = rng.normal(size=(2, 32, 32, 3)).astype("float32")
    plain = net.copy_with(classifier_activation=None)
    np.testing.assert_allclose(grad_cam(net, batch), grad_cam(plain, batch), atol=1e-5)


def test_skippable_branches(images):
    net = small(survival=0.5)
    without = net.copy_with(survival_draw="sample")  # merges that skip nothing
    layer = net.stages[1].blocks[0].name + "_conv1"
    # in inference the branch counts `survival` times by the batch, once by the sample
    for block in without.blocks:
        for branch in block.branches:
            branch.merge.scales = (1.0, branch.merge.survival)
    np.testing.assert_allclose(grad_cam(net, images), grad_cam(without, images), atol=1e-5)
    np.testing.assert_allclose(
        grad_cam(net, images, 3, layer), grad_cam(without, images, 3, layer), atol=1e-5
    )


def test_other_families_and_half_precision(rng):
    images = rng.normal(size=(1, 32, 32, 3)).astype("float32")
    for family, options in {
        "fusenet": dict(kind="cross", depth=14, width=4),
        "fractalnet": dict(columns=2, blocks=3, width=4),
    }.items():
        net = lean(create_model(family, **options), 0.2)
        np.testing.assert_allclose(
            grad_cam(net, images, 2), by_tape(net, net.final, images, [2]), atol=2e-5
        )
    keras.config.set_dtype_policy("mixed_bfloat16")
    net = create_model("resnet_cifar", depth=8, width=4)
    assert grad_cam(net, images).max() == 1


def test_the_map_lies_where_the_crop_was(rng):
    net = lean(small(), 0.3)
    net.preprocessing = Preprocessing((0.5,) * 3, (0.25,) * 3, resize=20, crop=(16, 16))
    image = keras.Input((40, 60, 3), dtype="uint8")
    model = keras.Model(image, net(net.preprocessing.as_layer()(image)))
    pixels = rng.integers(0, 256, (2, 40, 60, 3)).astype("uint8")
    # shorter side 40 -> 20: 20 x 30, of which rows 2..18 and columns 7..23 are left
    assert net.preprocessing.window(40, 60) == (4, 14, 32, 32)
    found = grad_cam(model, pixels, classes=0)
    assert found.shape == (2, 40, 60)
    outside = np.ones((40, 60), bool)
    outside[4:36, 14:46] = False
    assert not found[:, outside].any() and found[:, ~outside].any()
    seen = grad_cam(net, np.asarray(net.preprocessing(pixels)), classes=0)
    larger = tf.image.resize(seen[..., None], (32, 32))[..., 0].numpy()
    inner = found[:, 4:36, 14:46]
    # both interpolate, one of them twice: alike but for the scale of the highest place
    assert np.corrcoef(inner.ravel(), larger.ravel())[0, 1] > 0.95


def test_windows_without_crop_and_beyond_the_image():
    statistics = (0.5,) * 3, (0.25,) * 3
    assert Preprocessing(*statistics).window(30, 40) == (0, 0, 30, 40)
    assert Preprocessing(*statistics, resize=8).window(30, 40) == (0, 0, 30, 40)
    assert Preprocessing(*statistics, crop=(40, 40)).window(30, 40) == (-5, 0, 40, 40)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(classes=10), "an int in 0..9"),
        (dict(classes=[1, 2]), "one for each of the 3 images"),
        (dict(classes=1.5), "`classes`"),
        (dict(layer="nowhere"), "by name or itself"),
        (dict(layer="logits"), "by name or itself"),
        (dict(images=np.zeros((16, 16, 3))), "`images`"),
        (dict(images=np.zeros((1, 8, 16, 3))), "`images`"),
        (dict(images=np.zeros((0, 16, 16, 3))), "`images`"),
        (dict(model="resnet20"), "`model` must be"),
        (dict(model=keras.Sequential([keras.layers.Dense(2)])), "`model` must be"),
    ],
)
def test_mistakes(images, change, words):
    arguments = dict(model=small(), images=images) | change
    with pytest.raises(UserError, match=words) as caught:
        grad_cam(**arguments)
    assert "\n" not in str(caught.value)


def test_models_of_other_shapes(images):
    net = small()
    with pytest.raises(UserError, match="one image as input"):
        grad_cam(keras.Model(net.input, net.final), images)
    with pytest.raises(UserError, match="between the image and the output"):
        aside = keras.layers.Conv2D(2, 1, name="aside")(net.final)
        joined = keras.layers.Add()([net.output, keras.ops.stop_gradient(
            keras.layers.GlobalAveragePooling2D()(aside)[:, :1])])
        grad_cam(keras.Model(net.input, joined), images, layer="aside")


def test_overlays(tmp_path, rng):
    images = rng.integers(0, 256, (4, 20, 30, 3)).astype("uint8")
    maps = rng.uniform(size=(4, 20, 30))
    plot_grad_cam(images, maps, tmp_path / "maps.png", titles=list("abcd"))
    plot_grad_cam([rng.normal(size=(9, 9, 1))], [maps[0]], tmp_path / "one.png")
    for name in ("maps.png", "one.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="4 images, 1 maps"):
        plot_grad_cam(images, maps[:1], tmp_path / "none.png")


def drawn_images(monkeypatch):
    """What `drawing.show_image` gets, in order."""
    shown = []
    original = drawing.show_image
    monkeypatch.setattr(
        drawing, "show_image", lambda axes, image: (shown.append(image), original(axes, image))
    )
    return shown


def test_filters(tmp_path, monkeypatch):
    shown = drawn_images(monkeypatch)
    net = small()
    image = keras.Input((16, 16, 3))
    plot_filters(keras.Model(image, net(image)), tmp_path / "filters.png")
    kernel = net.get_layer("stem_conv").get_weights()[0]
    assert len(shown) == 4
    for number, weights in enumerate(shown):
        np.testing.assert_array_equal(weights, kernel[..., number])
    plot_filters(create_model("resnet_cifar", depth=8, input_shape=(16, 16, 1)),
                 tmp_path / "grey.svg")
    assert (tmp_path / "filters.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "grey.svg").read_text()


def test_filters_that_cannot_be_shown(tmp_path):
    with pytest.raises(UserError, match="of 1 or 3 channels"):
        plot_filters(create_model("resnet_cifar", depth=8, input_shape=(16, 16, 5)), tmp_path / "a")
    with pytest.raises(UserError, match="must have a convolution"):
        plot_filters(keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]), tmp_path / "a")
    with pytest.raises(UserError, match="`model` must be"):
        plot_filters(None, tmp_path / "a")
