"""Files of weights and models: orders that hold, formats that are read, names that rebuild."""

import dataclasses
import hashlib
import io
import json
import pathlib
import zipfile

import keras
import numpy as np
import pytest
from slow import first
from test_models_records import WITH_SURVIVAL, build

import keras_resnets
from keras_resnets import create_model, list_models, models

DATA = pathlib.Path(__file__).parent / "data"
ORDERS = json.loads((DATA / "weight_order.json").read_text())
FORMAT_1 = ("resnet_cifar", "dpn", "fractalnet", "half", "cross")


@pytest.mark.parametrize("row", ORDERS, ids=lambda row: f"{row['family']} {len(str(row))}")
def test_the_order_of_weights_is_the_one_that_files_have(row):
    model = create_model(row["family"], **row["options"])
    paths = [v.path for v in model.weights if "seed_generator" not in v.path]
    digest = hashlib.sha256("\n".join(paths).encode()).hexdigest()
    assert digest.startswith(row["weights"])


def own_weights(model):
    return {v.path: v for v in model.weights if "seed_generator" not in v.path}


# The others are slow: the fused nets' layers have the orders that differ most.
EVERY = [
    name
    if name in ("cifar V2", "cross")
    else pytest.param(name, marks=pytest.mark.slow)
    for name in WITH_SURVIVAL
]


@pytest.mark.parametrize("name", EVERY)
def test_files_load_across_survival(name, rng, tmp_path):
    nets = [
        build(name, survival=survival, survival_draw=draw)
        for survival, draw in ((1.0, "batch"), (0.5, "batch"), (0.5, "sample"))
    ]
    for source in nets:
        assert [layer.name for layer in source.layers] == [layer.name for layer in nets[0].layers]
        for variable in own_weights(source).values():
            variable.assign(rng.standard_normal(variable.shape))
        wanted = {path: variable.numpy() for path, variable in own_weights(source).items()}
        source.save_weights(tmp_path / "x.weights.h5")
        source.save(tmp_path / "x.keras")
        for target in nets:
            for file in ("x.weights.h5", "x.keras"):
                for variable in own_weights(target).values():
                    variable.assign(np.zeros(variable.shape))
                target.load_weights(tmp_path / file)
                for path, variable in own_weights(target).items():
                    np.testing.assert_array_equal(variable, wanted[path])


@pytest.mark.parametrize("name", FORMAT_1)
def test_files_of_the_first_format_load(name, tmp_path):
    golden = np.load(DATA / "format1_outputs.npz")
    model = keras.saving.load_model(DATA / f"{name}_format1.keras")
    np.testing.assert_allclose(model(golden["images"]), golden[name], atol=1e-5)
    assert model.class_names == ("cat", "dog", "emu")
    assert model.preprocessing.std == (0.25, 0.25, 0.25)
    assert [layer.name for layer in model.layers if not layer.trainable]
    model.save(tmp_path / "again.keras")
    again = keras.saving.load_model(tmp_path / "again.keras")
    np.testing.assert_allclose(again(golden["images"]), golden[name], atol=1e-5)
    assert again.options == model.options


@pytest.mark.parametrize("name", ["half", "cross"])
def test_weights_in_the_old_order_are_refused(name, tmp_path):
    archive = zipfile.ZipFile(DATA / f"{name}_format1.keras")
    path = tmp_path / "old.weights.h5"
    path.write_bytes(archive.read("model.weights.h5"))
    options = dict(kind=name, depth=14, width=4, num_classes=3, input_shape=(8, 8, 3))
    for survival in (1.0, 0.5):
        model = create_model("fusenet", survival=survival, **options)
        before = model.get_weights()
        for file in (path, DATA / f"{name}_format1.keras"):
            with pytest.raises(ValueError, match="stand in another order") as caught:
                model.load_weights(file)
            assert "\n" not in str(caught.value)
        for old, new in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)


def rewritten(path, **changes):
    """The bytes of a .keras file with another config."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    config = json.loads(members["config.json"])
    config["config"] |= changes
    members["config.json"] = json.dumps(config)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_a_file_of_a_newer_format_says_so(tmp_path):
    path = tmp_path / "x.keras"
    create_model("resnet20", width=4).save(path)
    path.write_bytes(rewritten(path, format=99))
    with pytest.raises((ValueError, TypeError), match="format 99 this version"):
        keras.saving.load_model(path)


def test_options_without_effect_in_old_files_are_dropped(tmp_path):
    path = tmp_path / "x.keras"
    create_model("resnet18", width=4, stem="cifar", input_shape=(16, 16, 3)).save(path)
    options = create_model("resnet18", width=4, stem="cifar").options
    options |= {"stride_in": "1x1", "skip_scale": 3.0, "input_shape": [16, 16, 3]}
    del options["depth"], options["padding"], options["stem_width"]
    path.write_bytes(rewritten(path, format=1, layer_order=1, options=options))
    assert keras.saving.load_model(path).options["stride_in"] == "3x3"


@pytest.mark.parametrize(
    "name", first(4, ["resnet20_v2", "wide_resnet16_4", "fractalnet5", "dfn_mr1", "resnet18",
                      "plain20", "dpn68", "resnext29_32x4d", "wide_resnet50_2", "dfn_resnet98"])
)
def test_name_and_options_rebuild_a_network(name):
    model = create_model(name, num_classes=3)
    again = create_model(model.registry_name, **json.loads(json.dumps(model.options)))
    assert again.options == model.options
    assert [v.path for v in again.weights] == [v.path for v in model.weights]
    by_family = create_model(model.family, **model.options)
    assert [v.shape for v in by_family.weights] == [v.shape for v in model.weights]


def test_options_hold_what_a_variant_fixes():
    assert keras_resnets.ResNet50(width=4).options["depth"] == 50
    assert keras_resnets.ResNet50(width=4, depth=50).family == "resnet"
    with pytest.raises(ValueError, match="ResNet50 fixes `depth` at 50; `resnet` builds other"):
        keras_resnets.ResNet50(depth=18)
    with pytest.raises(ValueError, match="takes its options by name"):
        keras_resnets.ResNet50(100)
    for name in list_models():
        builder = models.registry.find(name)
        options = dataclasses.asdict(builder.options(**builder.fixed))
        assert builder.fixed.items() <= options.items()


@pytest.mark.parametrize(
    ("name", "options", "word"),
    [
        ("resnet18", {"stride_in": "1x1"}, "stride_in"),
        ("resnet34", {"groups": 2}, "groups"),
        ("resnet20", {"stride_in": "3x3"}, "stride_in"),
        ("resnet20", {"skip_scale": 0.1}, "skip_scale"),
        ("resnet20", {"skip": "lambda", "gate_bias": -1}, "gate_bias"),
        ("resnet20", {"skip": "conv", "shortcut": "B"}, "shortcut"),
        ("resnet50", {"shortcut_pad": "both"}, "shortcut_pad"),
        ("plain20", {"shortcut": "C"}, "shortcut"),
        ("fractalnet20", {"stem_width": 8}, "stem_width"),
    ],
)
def test_options_that_a_net_does_not_use_are_refused(name, options, word):
    with pytest.raises(ValueError, match=f"`{word}` must be .* which does not use it") as caught:
        create_model(name, **options)
    assert "\n" not in str(caught.value)
