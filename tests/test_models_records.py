"""What a network knows of its blocks: records of every merge, strides, maps, and the graph."""

import copy
import gc
import math
import pickle
import weakref

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from slow import first

import keras_resnets
from keras_resnets import create_model, expected_depth, feature_extractor, layers
from keras_resnets.models import Block, Branch, StageRecord

SMALL_DPN = dict(depths=(1, 2), increments=(4, 4), k_r=8, groups=2, base_width=16, stem_width=8,
                 stem="cifar")
# A net of each family and kind with the merges that its blocks have.
NETS = {
    "resnet": ("resnet", dict(depth=18, width=4, stem="cifar"), 8),
    "resnet bottleneck": ("resnet", dict(depth=50, width=4, input_shape=(64, 64, 3)), 16),
    "resnet V2": ("resnet", dict(depth=18, width=4, activation="full_preact",
                                 input_shape=(64, 64, 3)), 8),
    "cifar": ("resnet_cifar", dict(depth=14, width=4), 6),
    "cifar V2": ("resnet_cifar", dict(depth=14, width=4, activation="full_preact"), 6),
    "cifar BN after": ("resnet_cifar", dict(depth=14, width=4, activation="bn_after_add"), 6),
    "cifar gated": ("resnet_cifar", dict(depth=14, width=4, skip="exclusive_gate"), 6),
    "cifar conv": ("resnet_cifar", dict(depth=14, width=4, skip="conv"), 6),
    "plain": ("resnet_cifar", dict(depth=14, width=4, skip="none"), 0),
    "wide": ("wide_resnet", dict(depth=16, widen=2, width=4), 6),
    "dpn": ("dpn", SMALL_DPN, 3),
    "dpn b": ("dpn", dict(SMALL_DPN, variant_b=True), 3),
    "fractalnet": ("fractalnet", dict(columns=3, blocks=2, width=4), 0),
    "fuse plain": ("fusenet", dict(kind="plain", depth=14, width=4), 0),
    "fuse resnet": ("fusenet", dict(kind="resnet", depth=14, width=4), 6),
    "half": ("fusenet", dict(kind="half", depth=14, width=4), 6),
    "side": ("fusenet", dict(kind="side", depth=14, width=4), 0),
    "cross": ("fusenet", dict(kind="cross", depth=26, width=4), 12),
    "fuse3": ("fusenet", dict(kind="fuse3", depth=14, width=4), 3),
    "fuse6": ("fusenet", dict(kind="fuse6", depth=14, width=4), 6),
    "ensemble": ("fusenet", dict(kind="ensemble", depth=8, width=4), 0),
    "cross imagenet": ("fusenet_imagenet", dict(blocks=(1, 2, 1, 1), width=4,
                                                input_shape=(64, 64, 3)), 2),
    "resnet imagenet": ("fusenet_imagenet", dict(kind="resnet", blocks=(1, 2, 1, 1), width=4,
                                                 input_shape=(64, 64, 3)), 1),
}
WITH_SURVIVAL = [
    name for name, (family, options, _) in NETS.items()
    if family in ("resnet", "resnet_cifar", "wide_resnet", "fusenet_imagenet")
    and options.get("skip") != "none"
] + ["fuse resnet", "half", "cross", "fuse3", "fuse6"]


def build(name, **options):
    family, own, _ = NETS[name]
    return create_model(family, **{**own, **options})


def merges_of(model):
    return [layer for layer in model.layers if isinstance(layer, layers.Merge)]


def check_merges(model, expected):
    branches = [branch for block in model.blocks for branch in block.branches]
    assert len(branches) == expected
    recorded = [id(branch.merge) for branch in branches]
    assert len(set(recorded)) == len(recorded)
    unrecorded = [layer for layer in merges_of(model) if id(layer) not in recorded]
    return branches, unrecorded


@pytest.mark.parametrize("name", NETS)
def test_each_merge_is_recorded_once(name):
    model = build(name)
    branches, unrecorded = check_merges(model, NETS[name][2])
    # H1 + H2 of `side` have no identity: not a residual.
    assert bool(unrecorded) == (name == "side")
    assert not any(branch.nested for branch in branches)


@pytest.mark.parametrize("draw", first(1, ["batch", "sample"]))
@pytest.mark.parametrize("name", WITH_SURVIVAL)
def test_each_merge_is_recorded_once_with_stochastic_depth(name, draw):
    model = build(name, survival=0.5, survival_draw=draw)
    branches, unrecorded = check_merges(model, NETS[name][2])
    assert not unrecorded
    for branch in branches:
        nested = draw == "batch" and name != "cifar gated"
        assert branch.nested == nested == isinstance(branch.merge, layers.SkippingMerge)
        if nested:
            assert branch.input is branch.merge.branch.inputs[0]
            assert branch.output is branch.merge.branch.outputs[0]


@pytest.mark.parametrize("survival", [1.0, 0.5])
@pytest.mark.parametrize("name", ["resnet", "cifar V2", "wide", "half", "cross"])
def test_the_tensors_of_a_branch_are_those_of_its_merge(rng, name, survival):
    model = build(name, survival=survival, input_shape=(16, 16, 3))
    x = rng.standard_normal((2, 16, 16, 3)).astype("float32")
    for block in model.blocks:
        for branch in block.branches:
            merged = branch.merge.output
            shortcut, source, y = keras.Model(
                model.input, [branch.shortcut, branch.source, merged]
            )(x)
            inner = branch.merge.branch if branch.nested else keras.Model(
                branch.input, branch.output
            )
            factor = getattr(branch.merge, "survival", 1.0)
            expected = shortcut + factor * inner(source)
            if branch.merge.activation:
                expected = tf.nn.relu(expected)
            np.testing.assert_allclose(y, expected, atol=1e-4)


@pytest.mark.parametrize("name", NETS)
def test_blocks_follow_each_other(name):
    model = build(name, input_shape=(None, None, 3))
    assert [block.name for block in model.blocks] == [
        f"stage{stage.number}_block{index}"
        for stage in model.stages for index in range(1, len(stage.blocks) + 1)
    ]
    for before, after in zip(model.blocks, model.blocks[1:], strict=False):
        flat = keras.tree.flatten([before.output, after.input])
        assert all(a is b for a, b in zip(flat, flat[len(flat) // 2 :], strict=False))
    assert [block.is_first for block in model.blocks] == [True] + [False] * (
        len(model.blocks) - 1
    )
    assert [block.is_last for block in model.blocks][-1]
    assert model.blocks[-1].position == 1
    assert model.stages[-1].map is model.final
    # Every layer with weights belongs to stem, one block, or the end.
    seen = [layer.name for block in model.blocks for layer in block.layers]
    inside = {layer.name for layer in model.layers if layer.name.startswith("stage")}
    assert inside <= set(seen)
    assert len(seen) == len(set(seen))


def strides_of(model):
    return [stage.stride for stage in model.stages]


def test_strides_are_the_product_of_those_taken():
    free = (None, None, 3)
    assert strides_of(create_model("resnet50", width=4, input_shape=free)) == [4, 8, 16, 32]
    assert strides_of(create_model("resnet50", width=4, output_stride=8)) == [4, 8, 8, 8]
    assert strides_of(create_model("resnet18", width=4, stem="cifar")) == [1, 2, 4, 8]
    assert strides_of(create_model("dpn68")) == [4, 8, 16, 32]
    fractal = build("fractalnet", stem="imagenet", input_shape=free)
    assert strides_of(fractal) == [8, 16]
    assert list(fractal.stem.maps) == [2, 4]
    net = create_model("resnet50", width=4, output_stride=16)
    assert [block.stride for block in net.blocks if block.index == 1] == [1, 2, 2, 1]
    assert net.blocks[-1].dilation == 2


def test_the_stem_knows_its_maps():
    model = create_model("resnet18", width=4)
    assert list(model.stem.maps) == [2, 4]
    assert model.stem.maps[2] is model.get_layer("stem_relu").output
    assert model.stem.maps[4] is model.stem.output is model.get_layer("stem_pool").output
    assert model.stem.stride == 4
    assert list(build("cifar V2").stem.maps) == [1]


def summary(model):
    return [
        (block.name, block.stage, block.index, block.stride, block.dilation, block.position,
         [(b.name, b.nested, b.merge.name, b.shortcut.shape) for b in block.branches])
        for block in model.blocks
    ] + [(stage.name, stage.stride, stage.map is None) for stage in model.stages]


@pytest.mark.parametrize("name", first(2, ["cifar V2", "cross", "half", "dpn", "fractalnet"]))
def test_records_survive_every_way_of_copying(name, tmp_path):
    options = {"survival": 0.5} if name in WITH_SURVIVAL else {}
    model = build(name, **options)
    model.save(tmp_path / "x.keras")
    copies = (
        keras.saving.load_model(tmp_path / "x.keras"),
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
    )
    for other in copies:
        assert summary(other) == summary(model)
        own = {id(layer) for layer in other.layers}
        for block in other.blocks:
            assert isinstance(block, Block)
            for branch in block.branches:
                assert isinstance(branch, Branch)
                assert id(branch.merge) in own
        assert all(isinstance(stage, StageRecord) for stage in other.stages)


def test_records_are_not_written_to_files(tmp_path):
    model = build("half", survival=0.5)
    model.save_weights(tmp_path / "x.weights.h5")
    with h5py.File(tmp_path / "x.weights.h5") as file:
        assert set(file) == {"layers", "vars"}
    tracked = [layer.name for layer in model._layers]
    assert len(tracked) == len(set(tracked)) == len(model.layers)


@pytest.mark.parametrize("name", ["cifar", "half", "dpn", "fractalnet"])
def test_a_deleted_network_is_freed(name):
    options = {"survival": 0.5} if name in WITH_SURVIVAL else {}
    model = build(name, **options)
    records = model.blocks[0]
    died = weakref.ref(model)
    del model, records
    keras.backend.clear_session()
    gc.collect()
    assert died() is None


def test_maps_by_stage_at_sides_that_no_stride_divides(rng):
    for side in (33, 40, 47):
        model = create_model("resnet18", width=4, input_shape=(side, side, 3))
        maps = feature_extractor(model)
        assert tuple(maps) == (2, 4, 8, 16, 32)
        images = rng.standard_normal((1, side, side, 3)).astype("float32")
        for stride, computed in maps(images).items():
            assert computed.shape[1] == math.ceil(side / stride)
        by_stage = feature_extractor(model, by="stage")
        assert by_stage.strides == {"stem": 4, "stage1": 4, "stage2": 8, "stage3": 16,
                                    "stage4": 32}
        for number in (1, 2, 3, 4):
            last = model.stages[number - 1].blocks[-1].output
            assert by_stage[f"stage{number}"] is last


def test_dilated_stages_all_have_maps():
    model = create_model("resnet50", width=4, output_stride=8, input_shape=(64, 64, 3))
    maps = feature_extractor(model, by="stage")
    assert [maps.strides[f"stage{n}"] for n in (1, 2, 3, 4)] == [4, 8, 8, 8]
    assert len({id(tensor) for tensor in maps.values()}) == 5
    assert feature_extractor(model)[8] is maps["stage4"]
    with pytest.raises(ValueError, match="`by` must be one of"):
        feature_extractor(model, by="block")
    with pytest.raises(ValueError, match="must be a keras_resnets.Network"):
        feature_extractor(keras.Model(model.input, model.output))


def test_expected_depth_counts_each_block_once():
    linear = [1 - (position / 6) * 0.5 for position in range(1, 7)]
    assert expected_depth(build("cifar", survival=0.5)) == pytest.approx(sum(linear))
    linear = [1 - (position / 3) * 0.5 for position in range(1, 4)]
    assert expected_depth(build("half", survival=0.5)) == pytest.approx(sum(linear))
    linear = [1 - (position / 6) * 0.5 for position in range(1, 7)]
    assert expected_depth(build("cross", survival=0.5)) == pytest.approx(sum(linear))
    assert expected_depth(build("plain")) == 6
    assert expected_depth(build("fractalnet")) == 2
    # Of five blocks only the second of stage 2 has a shortcut.
    imagenet = build("cross imagenet", survival=0.5)
    assert expected_depth(imagenet) == pytest.approx(4 + 1 - 3 / 5 * 0.5)


def test_the_parts_of_the_cost_come_from_the_records():
    model = keras_resnets.ResNet20(width=4)
    x = model.output
    wrapped = keras.Model(model.input, keras.layers.Dense(2, name="stage9_like")(x))
    parts = keras_resnets.complexity(model).stages
    assert list(parts) == ["stem", "stage1", "stage2", "stage3", "head"]
    assert "stage9" not in keras_resnets.complexity(wrapped).stages
