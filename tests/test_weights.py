"""Trained weights into networks: options that follow, heads, channels, and what is refused."""

import keras
import numpy as np
import pytest
import torch_nets

import keras_resnets
from keras_resnets import weights
from keras_resnets.errors import UserError
from keras_resnets.weights.files import write_safetensors

DIALECTS = {dialect.name: dialect for dialect in weights.DIALECTS}


@pytest.fixture
def write(tmp_path):
    """Writes a network's weights in the names of others, less what is refused: path of the file."""

    def written(network, dialect, name="net.safetensors", drop=(), **changed):
        for variable in network.weights:
            values = torch_nets.values(variable.path, tuple(variable.shape))
            variable.assign(np.abs(values) + 0.5 if "variance" in variable.path else values)
        slots = DIALECTS[dialect].table(network)
        tensors = {slot.key: slot.give(np.asarray(slot.variable)) for slot in slots}
        tensors = {key: v for key, v in tensors.items() if key not in drop} | changed
        (tmp_path / name).unlink(missing_ok=True)
        write_safetensors(tmp_path / name, tensors)
        return tmp_path / name

    return written


def assert_same(network, other, sides=(40, 40)):
    image = torch_nets.image(sides)[..., : network.input_shape[-1]]
    np.testing.assert_array_equal(
        network.predict(image, verbose=0), other.predict(image, verbose=0)
    )


def free(classes=10, **options):
    return keras_resnets.ResNet20(num_classes=classes, input_shape=(None, None, 3), **options)


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


def test_options_follow_the_file_unless_given(write):
    source = free(shortcut_pad="both", classes=7)
    path = write(source, "akamaster")
    network = keras_resnets.ResNet20(weights=path, input_shape=(None, None, 3))
    assert network.options["shortcut_pad"] == "both"
    assert network.options["num_classes"] == 7
    assert network.class_names is None
    assert_same(network, source)
    assert_same(weights.open(path), source, (32, 32))
    assert_same(keras_resnets.create_model("resnet20", weights=str(path)), source, (32, 32))
    assert "weights" not in network.options
    assert "weights" not in network.get_config()["options"]
    with_survival = keras_resnets.ResNet20(weights=path, survival=0.5, input_shape=(None, None, 3))
    assert with_survival.options["survival"] == 0.5
    assert_same(with_survival, source.copy_with(survival=0.5))
    with pytest.raises(UserError, match="has shortcut_pad='both' and not 'end'") as error:
        keras_resnets.ResNet20(weights=path, shortcut_pad="end")
    one_line(error)


def test_npz_and_prefixes(write, tmp_path, capsys):
    source = free(shortcut_pad="both")
    tensors = weights.read(write(source, "akamaster")).tensors
    arrays = {f"module.model.{key}": tensor.read() for key, tensor in tensors.items()}
    np.savez(tmp_path / "net.npz", **arrays)
    assert_same(weights.open(tmp_path / "net.npz"), source, (32, 32))
    said = capsys.readouterr().out
    assert "`module.` was taken off" in said
    assert "`model.` was taken off" in said


def test_a_keras_file_never_looks_for_the_weights(write, tmp_path):
    network = keras_resnets.ResNet20(weights=write(free(), "akamaster", "gone.safetensors"))
    network.save(tmp_path / "x.keras")
    (tmp_path / "gone.safetensors").unlink()
    assert_same(keras_resnets.load_model(tmp_path / "x.keras"), network, (32, 32))


def test_class_names_and_preprocessing_come_with_published_networks(write):
    for classes, last in ((10, "truck"), (100, "worm")):
        network = weights.open(write(free(classes, shortcut_pad="both"), "akamaster"))
        assert network.class_names[-1] == last
        assert network.preprocessing.mean == (0.485, 0.456, 0.406)
    network = weights.open(write(keras_resnets.ResNet18(), "torchvision"))
    assert network.class_names[:2] == ("tench", "goldfish")
    assert network.class_names[-1] == "toilet tissue"
    assert (network.preprocessing.resize, network.preprocessing.crop) == (256, (224, 224))
    smaller = keras_resnets.ResNet18(
        weights=write(keras_resnets.ResNet18(), "torchvision"), input_shape=(112, 112, 3)
    )
    assert (smaller.preprocessing.resize, smaller.preprocessing.crop) == (128, (112, 112))


def test_what_timm_writes_beside_a_file_decides_its_images(write, tmp_path):
    path = write(keras_resnets.ResNet18(), "torchvision")
    (tmp_path / "config.json").write_text(
        '{"pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2], "crop_pct": 0.95,'
        ' "interpolation": "bicubic"}}'
    )
    found = weights.open(path).preprocessing
    assert (found.mean, found.std) == ((0.5,) * 3, (0.2,) * 3)
    assert (found.resize, found.crop, found.interpolation) == (235, (224, 224), "bicubic")


def test_another_number_of_classes_keeps_the_rest_and_says_so(write, capsys):
    source = free(shortcut_pad="both")
    path = write(source, "akamaster")
    network = keras_resnets.ResNet20(weights=path, num_classes=3, input_shape=(None, None, 3))
    assert "10 classes there, 3 here: the classifier starts anew" in capsys.readouterr().out
    assert network.class_names is None
    for layer in network.layers:
        others = source.get_layer(layer.name).weights
        for variable, other in zip(layer.weights, others, strict=True):
            if layer.name != "logits":
                np.testing.assert_array_equal(variable, other)
    kernel = np.asarray(network.get_layer("logits").kernel)
    assert 0 < np.abs(kernel).max() <= 1 / 8


def test_a_trunk_takes_the_weights_of_a_classifier(write):
    source = free(shortcut_pad="both")
    trunk = keras_resnets.ResNet20(weights=write(source, "akamaster"), include_top=False)
    assert_same(trunk, source.copy_with(include_top=False))
    assert trunk.class_names is None
    headless = write(trunk, "akamaster", "trunk.safetensors")
    opened = weights.open(headless)
    assert not opened.options["include_top"]
    words = r"2 tensors missing: linear\.weight, linear\.bias"
    with pytest.raises(UserError, match=words) as error:
        keras_resnets.ResNet20(weights=headless)
    one_line(error)


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_the_stem_is_adapted_to_other_channels(write, channels, capsys):
    source = free(shortcut_pad="both")
    path = write(source, "akamaster")
    network = keras_resnets.ResNet20(weights=path, input_shape=(None, None, channels))
    said = f"images of 3 channels there, {channels} here: the stem is adapted"
    assert said in capsys.readouterr().out
    kernel = np.asarray(source.get_layer("stem_conv").kernel)
    found = np.asarray(network.get_layer("stem_conv").kernel)
    if channels == 1:
        grey = torch_nets.image((40, 40))[..., :1]
        logits = source.predict(np.repeat(grey, 3, -1), verbose=0)
        np.testing.assert_allclose(network.predict(grey, verbose=0), logits, rtol=1e-4, atol=1e-4)
    else:
        for place in range(channels):
            np.testing.assert_array_equal(
                found[:, :, place], kernel[:, :, place % 3] * np.float32(3 / channels)
            )
    assert network.preprocessing.channels == channels
    back = keras_resnets.ResNet20(weights=write(network, "akamaster", "back.safetensors"))
    assert back.input_shape[-1] == channels


def test_load_into_a_network_that_is_there(write):
    source = free(shortcut_pad="both")
    network = free(shortcut_pad="both", survival=0.5)
    weights.load(network, write(source, "akamaster"))
    assert_same(network, source.copy_with(survival=0.5))
    assert network.preprocessing and network.class_names
    kept = free(shortcut_pad="both")
    kept.preprocessing = keras_resnets.Preprocessing((0.1,) * 3, (0.2,) * 3)
    weights.load(kept, write(source, "akamaster"))
    assert kept.preprocessing.mean == (0.1,) * 3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: free(), "shortcut_pad='both' and not 'end'"),
        (lambda: free(shortcut="B"), "shortcut='A' and not 'B'"),
        (lambda: free(shortcut_pad="both", width=8), "width=16 and not 8"),
        (lambda: free(shortcut_pad="both", padding="tensorflow"), "padding='symmetric'"),
        (lambda: free(shortcut_pad="both", activation="full_preact"), "activation='original'"),
        (lambda: keras_resnets.ResNet32(shortcut_pad="both"), "layer1.3.conv1.weight"),
        (lambda: keras_resnets.ResNet18(), "ResNet20 in akamaster's names"),
        (lambda: keras_resnets.WideResNet16_4(), "ResNet20 in akamaster's names"),
    ],
)
def test_a_network_that_computes_something_else_is_refused(write, make, words):
    path = write(free(shortcut_pad="both"), "akamaster")
    network = make()
    before = network.get_weights()
    with pytest.raises(UserError, match="it is of ResNet20 in akamaster's names") as error:
        weights.load(network, path)
    assert words in one_line(error)
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("builder", "source"),
    [
        ("ResNet50", "ResNeXt50_32x4d"),
        ("ResNet50", "WideResNet50_2"),
        ("ResNet101", "ResNet50"),
        ("ResNet18", "ResNet34"),
        ("ResNet50V2", "ResNet50"),
    ],
)
def test_another_variant_is_refused_and_the_right_one_named(write, builder, source):
    path = write(getattr(keras_resnets, source)(), "torchvision")
    with pytest.raises(UserError, match=f"it is of {source} in torchvision's names") as error:
        getattr(keras_resnets, builder)(weights=path)
    one_line(error)
    assert keras_resnets.resnet(weights=path).options["depth"] in (34, 50)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"drop": ("layer2.0.bn1.bias",)}, "1 tensors missing: layer2.0.bn1.bias"),
        ({"extra.weight": np.zeros(2, np.float32)}, "1 tensors left over: extra.weight"),
        (
            {"layer2.0.conv2.weight": np.zeros((32, 32, 1, 1), np.float32)},
            "1 tensors of other shapes: layer2.0.conv2.weight (32, 32, 1, 1) instead of",
        ),
        ({"bn1.running_mean": np.full(16, np.nan, np.float32)}, "bn1.running_mean is not finite"),
        ({"bn1.weight": np.full(16, np.inf, np.float32)}, "bn1.weight is not finite"),
        ({"bn1.weight": np.ones(16, np.int64)}, "bn1.weight holds int64"),
    ],
)
def test_damaged_weights_leave_the_network_as_it_was(write, change, words):
    network = free(shortcut_pad="both")
    path = write(free(shortcut_pad="both"), "akamaster", **change)
    before = network.get_weights()
    with pytest.raises(UserError) as error:
        weights.load(network, path)
    assert words in one_line(error)
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_at_most_ten_names_are_listed(write):
    path = write(free(shortcut_pad="both"), "akamaster")
    with pytest.raises(UserError) as error:
        keras_resnets.ResNet56(weights=path)
    listed = one_line(error).split("tensors missing: ")[1].split(", ")
    assert len(listed) == 11
    assert listed[-1] == "..."


def test_names_that_nobody_knows(write, tmp_path):
    write_safetensors(tmp_path / "x.safetensors", {"encoder.weight": np.zeros(2, np.float32)})
    words = "has the names of none of .*begins with: encoder"
    with pytest.raises(UserError, match=words) as error:
        weights.open(tmp_path / "x.safetensors")
    one_line(error)
    for value in (3, ["a"], True):
        with pytest.raises(UserError, match="must be a path or a name"):
            keras_resnets.ResNet20(weights=value)


@pytest.mark.parametrize(
    ("dialect", "key", "words"),
    [
        ("timm_dpn_b", "features.conv4_6.c1x1_a.conv.weight", "SiLU"),
        ("timm_resnetv2", "stages.0.blocks.0.norm1.weight", "standardize"),
    ],
)
def test_networks_of_the_same_names_that_compute_otherwise_are_refused(
    write, dialect, key, words
):
    if dialect == "timm_dpn_b":
        network = keras_resnets.dpn(
            variant_b=True, depths=(3, 4, 6, 3), increments=(16, 32, 32, 64), k_r=128,
            base_width=64, stem_width=10, stem_kernel=3,
        )
        path = write(network, dialect)
    else:
        network = keras_resnets.ResNet18V2(bare_stem=True, norm="group")
        path = write(network, dialect)
    with pytest.raises(UserError, match=words) as error:
        weights.open(path)
    one_line(error)


def random_application(name, shape):
    model = getattr(keras.applications, name)(weights=None, input_shape=shape)
    for variable in model.weights:
        values = torch_nets.values(variable.path, tuple(variable.shape))
        if len(values.shape) == 4:
            values *= (np.prod(values.shape[1:]) / np.prod(values.shape[:3])) ** 0.5
        variable.assign(np.abs(values) + 0.5 if "variance" in variable.path else values)
    return model


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("ResNet50", ".weights.h5"),
        ("ResNet50", ".keras"),
        ("ResNet50", ".h5"),
        pytest.param("ResNet101", ".keras", marks=pytest.mark.slow),
        pytest.param("ResNet152", ".keras", marks=pytest.mark.slow),
    ],
)
def test_outputs_are_those_of_keras_applications(name, suffix, tmp_path, rng):
    model = random_application(name, (64, 64, 3))
    path = tmp_path / f"net{suffix}"
    (model.save_weights if suffix == ".weights.h5" else model.save)(path)
    network = getattr(keras_resnets, name)(
        weights=path, input_shape=(64, 64, 3), classifier_activation="softmax"
    )
    assert network.options["stride_in"] == "1x1"
    images = rng.uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    expected = model.predict(
        keras.applications.resnet.preprocess_input(images.copy()), verbose=0
    )
    found = network.predict(network.preprocessing.standardize(images), verbose=0)
    assert np.ptp(expected) > 0.1 * expected.max()
    assert np.abs(found - expected).max() <= 1e-4 * expected.max()


def test_version_2_of_keras_applications_is_refused(tmp_path):
    keras.applications.ResNet50V2(weights=None).save_weights(tmp_path / "v2.weights.h5")
    with pytest.raises(UserError, match="V2 nets have biases before their additions") as error:
        keras_resnets.ResNet50V2(weights=tmp_path / "v2.weights.h5")
    one_line(error)


def test_layers_that_were_changed_by_hand_stay_whole(tmp_path):
    network = free()
    network.get_layer("stem_bn").epsilon = 0.1
    network.save(tmp_path / "x.keras")
    assert_same(weights.open(tmp_path / "x.keras"), network)
    with pytest.raises(UserError, match="such as stem_bn: take it whole with load_model"):
        keras_resnets.ResNet20(weights=tmp_path / "x.keras")


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("fractalnet10", ".safetensors"),
        ("resnet20_v2", ".weights.h5"),
        ("resnet20_v2", ".keras"),
        *(
            pytest.param(name, suffix, marks=SLOW)
            for name in ("dfn_mr1", "dpn68", "wide_resnet16_4")
            for suffix in (".keras", ".weights.h5", ".safetensors")
        ),
    ],
)
def test_every_family_opens_from_its_own_files(name, suffix, tmp_path):
    network = keras_resnets.create_model(name, num_classes=4)
    path = tmp_path / f"net{suffix}"
    if suffix == ".safetensors":
        weights.save(network, path, "keras_resnets")
    else:
        (network.save if suffix == ".keras" else network.save_weights)(path)
    opened = weights.open(path)
    assert_same(opened, network, network.input_shape[1:3])
