"""A network among Keras models: edits, freezing, copies, names."""

import json
import warnings

import keras
import numpy as np
import pytest

import keras_resnets
from keras_resnets import Preprocessing, create_model, layers
from keras_resnets.models import network


def small(**options):
    return keras_resnets.ResNet20(**{"width": 4, "input_shape": (16, 16, 3), **options})


def round_trip(model, tmp_path):
    model.save(tmp_path / "model.keras")
    return keras.saving.load_model(tmp_path / "model.keras")


@pytest.fixture
def x(rng):
    return rng.standard_normal((4, 16, 16, 3)).astype("float32")


@pytest.mark.parametrize("survival", [1.0, 0.5])
def test_edits_of_layers_are_saved(x, tmp_path, survival):
    model = small(survival=survival, head_dropout=0.1)
    model.get_layer("stage2_block1_bn1").epsilon = 0.3
    model.get_layer("stem_bn").momentum = 0.5
    model.get_layer("head_dropout").rate = 0.25
    model.get_layer("stem_conv").kernel_regularizer = keras.regularizers.L2(0.01)
    model.get_layer("stage1_block1_conv1").kernel_constraint = keras.constraints.MaxNorm(2)
    model.get_layer("logits").activation = keras.activations.softmax
    loaded = round_trip(model, tmp_path)
    np.testing.assert_array_equal(loaded(x), model(x))
    np.testing.assert_allclose(np.sum(loaded(x), -1), 1, rtol=1e-5)
    assert loaded.get_layer("stem_bn").momentum == 0.5
    assert loaded.get_layer("head_dropout").rate == 0.25
    # As with stock layers, a regularizer counts once the net is built again.
    kernel = loaded.get_layer("stem_conv").kernel
    assert float(sum(loaded.losses)) == pytest.approx(0.01 * float(np.sum(kernel**2)), rel=1e-5)
    assert loaded.get_layer("stage1_block1_conv1").kernel.constraint.max_value == 2
    again = round_trip(loaded, tmp_path)
    assert again.get_config()["edits"] == loaded.get_config()["edits"]
    assert small().get_config()["edits"] == {}


@pytest.mark.parametrize("edit", ["quantize", "rename", "policy"])
def test_edits_that_no_file_can_hold_are_refused(tmp_path, edit):
    model = small()
    if edit == "quantize":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.quantize("int8")
    elif edit == "rename":
        model.get_layer("logits").name = "my_logits"
    else:
        model.get_layer("logits").dtype_policy = "mixed_bfloat16"
    with pytest.raises(ValueError, match="logits was (changed|renamed) after") as caught:
        model.save(tmp_path / "model.keras")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("survival", [1.0, 0.5])
def test_a_frozen_network_stays_frozen(tmp_path, survival):
    model = small(survival=survival)
    model.trainable = False
    loaded = round_trip(model, tmp_path)
    assert not loaded.trainable
    for net in (model, loaded):
        for layer in net.layers[-8:]:
            layer.trainable = True
        assert net.trainable_variables == []
        net.trainable = True
        assert len(net.trainable_variables) == len(small().trainable_variables)
    for layer in model.layers[:-8]:
        layer.trainable = False
    loaded = round_trip(model, tmp_path)
    assert loaded.trainable
    flags = [[layer.trainable for layer in net.layers] for net in (model, loaded)]
    assert flags[0] == flags[1]
    trained = [{v.path for v in net.trainable_variables} for net in (model, loaded)]
    assert trained[0] == trained[1]


def test_configs_carry_the_version(tmp_path):
    config = small().get_config()
    assert config["version"] == keras_resnets.__version__
    assert config["format"] == network.FORMAT
    with pytest.raises(ValueError, match="written by keras_resnets 9.1, whose format 3 .* update"):
        network.Network.from_config(config | {"version": "9.1", "format": 3})


def test_two_networks_of_one_kind_in_one_model(x, tmp_path):
    first, second = small(name="first"), small(name="second")
    image = keras.Input((16, 16, 3))
    both = keras.Model(image, keras.layers.Average()([first(image), second(image)]))
    loaded = round_trip(both, tmp_path)
    np.testing.assert_allclose(loaded(x), both(x), atol=1e-6)
    assert first.name == "first" and first.registry_name == "resnet20"
    for wrong in ("", 3):
        with pytest.raises(ValueError, match="`name` must be None or a string"):
            small(name=wrong)


def test_without_top_sides_are_free():
    assert keras_resnets.ResNet50(include_top=False, width=8).input_shape == (None, None, None, 3)
    assert keras_resnets.ResNet50(width=8).input_shape == (None, 224, 224, 3)


@pytest.mark.parametrize("survival", [1.0, 0.5])
def test_a_new_classifier_keeps_the_rest(x, survival):
    model = small(survival=survival)
    model.preprocessing = Preprocessing((0.5,) * 3, (0.25,) * 3)
    model.class_names = [f"c{i}" for i in range(10)]
    model.get_layer("stem_bn").epsilon = 0.2
    for layer in model.layers[:10]:
        layer.trainable = False
    other = model.reset_classifier(3, class_names=("cat", "dog", "emu"))
    assert isinstance(other, keras_resnets.Network)
    assert other.options == model.options | {"num_classes": 3}
    assert other.class_names == ("cat", "dog", "emu")
    assert other.preprocessing == model.preprocessing
    assert [layer.trainable for layer in other.layers] == [
        layer.trainable for layer in model.layers
    ]
    features = [keras.Model(net.input, net.get_layer("pool").output)(x) for net in (model, other)]
    np.testing.assert_array_equal(*features)
    before = model.get_weights()
    for variable in other.variables:
        variable.assign(np.zeros(variable.shape))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert small().reset_classifier(3).class_names is None


def test_copies_with_other_options(x):
    model = small()
    free = model.copy_with(input_shape=(None, None, 3))
    np.testing.assert_array_equal(free(x), model(x))
    half = model.copy_with(dtype="bfloat16")
    assert half.get_layer("stem_conv").kernel.dtype == "bfloat16"
    bare = model.copy_with(include_top=False)
    np.testing.assert_array_equal(
        bare(x), keras.Model(model.input, model.final)(x)
    )
    with pytest.raises(ValueError, match="only the classifier may differ"):
        model.copy_with(width=8)


def test_xla_with_skippable_branches_warns(tmp_path):
    def train_function(**options):
        model = small(survival=options.pop("survival"))
        model.compile("sgd", "mse", **options)
        model.make_train_function()
        return model

    with pytest.warns(UserWarning, match="many times more slowly"):
        train_function(survival=0.5, jit_compile=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        train_function(survival=0.5)
        train_function(survival=1.0, jit_compile=True)
        loaded = round_trip(train_function(survival=0.5, jit_compile=False), tmp_path)
    assert loaded.compiled and loaded.jit_compile is False


def test_layers_of_a_skippable_branch_start_at_its_input(x):
    model = small(survival=0.5)
    (branch,) = model.blocks[1].branches
    assert isinstance(branch.merge, layers.SkippingMerge)
    inner = keras.Model(branch.input, model.get_layer("stage1_block2_bn1").output)
    source = keras.Model(model.input, branch.source)(x)
    assert inner(source).shape == (4, 16, 16, 4)


def test_unknown_options_name_the_nearest_and_a_few():
    with pytest.raises(ValueError) as caught:
        keras_resnets.ResNet50(num_clases=3)
    message = str(caught.value)
    assert "Did you mean 'num_classes'?" in message
    assert "help(ResNet50)" in message and len(message) < 200


def test_help_documents_what_a_builder_takes():
    import inspect

    for name, gone in (("ResNet50", ["depth"]), ("ResNet18", ["depth", "stride_in", "groups"]),
                       ("Plain20", ["skip", "skip_scale", "stride_in"])):
        builder = getattr(keras_resnets, name)
        parameters = list(inspect.signature(builder).parameters)
        documented = [
            line.split(":")[0].strip() for line in builder.__doc__.splitlines()
            if line.startswith("    ") and not line.startswith("     ") and ":" in line
        ]
        assert documented == [*parameters, "ValueError"]
        assert not set(gone) & set(parameters)
        assert parameters[:2] == ["num_classes", "input_shape"]


def test_create_model_names_a_network():
    model = create_model("resnet20", width=4, name="mine")
    assert (model.name, model.registry_name) == ("mine", "resnet20")
    assert create_model(model.registry_name, **model.options).name == "mine"
    assert model.copy_with(name="yours").options["name"] == "yours"


def test_a_new_classifier_of_as_many_classes_is_new():
    model = small()
    other = model.reset_classifier(10)
    kernels = [net.get_layer("logits").get_weights()[0] for net in (model, other)]
    assert not np.array_equal(*kernels)


def test_a_new_classifier_on_a_frozen_network_trains():
    model = small()
    model.trainable = False
    other = model.reset_classifier(3)
    assert [v.path.split("/")[-2] for v in other.trainable_variables] == ["logits", "logits"]


def test_an_edit_back_to_a_default_is_saved(x, tmp_path):
    model = small(padding="tensorflow")
    model.get_layer("stage2_block1_conv1").same_padding = "symmetric"
    loaded = round_trip(model, tmp_path)
    assert loaded.get_layer("stage2_block1_conv1").same_padding == "symmetric"
    np.testing.assert_array_equal(loaded(x), model(x))


def test_objects_that_no_process_could_read_are_refused(tmp_path):
    model = small()
    model.get_layer("logits").activation = lambda x: x * 2
    with pytest.raises(ValueError, match="its `activation` cannot be stored"):
        model.save(tmp_path / "x.keras")
    model = small()
    model.get_layer("logits").enable_lora(2)
    with pytest.raises(ValueError, match="its `lora_(rank|alpha)` cannot be stored"):
        model.save(tmp_path / "x.keras")


def test_numpy_numbers_in_tuples_are_options():
    model = small(input_shape=[np.int64(16), np.int32(24), 3])
    assert model.options["input_shape"] == (16, 24, 3)
    json.dumps(model.options)


def test_preprocessing_is_one_or_none():
    network = keras_resnets.ResNet20()
    with pytest.raises(keras_resnets.UserError, match="a keras_resnets.Preprocessing or None"):
        network.preprocessing = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    assert network.preprocessing is None
