"""The pages in docs/ are run."""

import dataclasses
import functools
import pathlib
import re
import subprocess
import sys
import textwrap
import time
import types

import keras
import numpy as np
import pytest
from slow import first

import keras_resnets
from keras_resnets import UserError, layers
from keras_resnets.checks import Count
from keras_resnets.data import augment, foreign, mixing
from keras_resnets.models import (
    Options,
    Stage,
    StochasticDepth,
    Trunk,
    family,
    records,
    registry,
    residual,
)

DOCS = pathlib.Path(__file__).parents[1] / "docs"


def code_blocks(name):
    return re.findall(r"^```python\n(.*?)^```", (DOCS / name).read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def own_families():
    """What docs/own_family.md defines, once it has run; the registry is as before afterwards."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(registry, "_BUILDERS", dict(registry._BUILDERS))
        monkeypatch.setattr(registry, "_VARIANTS", dict(registry._VARIANTS))
        module = types.ModuleType("own_family")
        monkeypatch.setitem(sys.modules, "own_family", module)  # where dataclasses look types up
        for code in code_blocks("own_family.md"):
            exec(compile(code, "own_family.md", "exec"), module.__dict__)
        yield module.__dict__


def test_own_families_take_at_most_sixty_lines():
    definitions = [code for code in code_blocks("own_family.md") if "= family(" in code]
    assert len(definitions) == 2
    assert all(len(code.splitlines()) <= 60 for code in definitions)


@pytest.mark.slow
def test_own_families_have_the_published_counts(own_families):
    for name, trainable in (("SEResNet50", 28_088_024), ("RegNetX_400MF", 5_495_976)):
        model = own_families[name]()
        assert isinstance(model, keras_resnets.Network)
        assert sum(np.prod(v.shape) for v in model.trainable_variables) == trainable
        assert keras_resnets.complexity(model).trainable == trainable
        assert model.blocks and all(len(block.branches) == 1 for block in model.blocks)
        assert isinstance(model.stem, records.StemRecord)


def test_regnet_has_the_published_stages(own_families):
    model = own_families["RegNetX_400MF"]()
    stages = [(stage.blocks[0].width, len(stage.blocks)) for stage in model.stages]
    assert stages == [(32, 1), (64, 2), (160, 7), (400, 12)]


@pytest.mark.parametrize(
    "options",
    [{"norm": "group", "head_dropout": 0.5}, {"include_top": False, "input_shape": (None, None, 1)},
     *(pytest.param(options, marks=pytest.mark.slow) for options in (
         {"include_top": False, "pooling": "max"}, {"padding": "tensorflow"}, {"survival": 0.5}))],
    ids=str,
)
@pytest.mark.parametrize(
    "name", ["SEResNet50", pytest.param("RegNetX_400MF", marks=pytest.mark.slow)]
)
def test_own_families_have_every_option(own_families, name, options, tmp_path, rng):
    width = {"width": 8} if name == "SEResNet50" else {}
    model = own_families[name](num_classes=3, **{"input_shape": (64, 64, 3), **width, **options})
    channels = model.input_shape[-1]
    x = rng.standard_normal((2, 64, 64, channels)).astype("float32")
    model.save(tmp_path / "x.keras")
    loaded = keras.saving.load_model(tmp_path / "x.keras")
    np.testing.assert_allclose(loaded(x), model(x), atol=1e-5)
    maps = keras_resnets.feature_extractor(loaded)
    assert tuple(maps) == (2, 4, 8, 16, 32)
    assert [computed.shape[1] for computed in maps(x).values()] == [32, 16, 8, 4, 2]
    assert keras_resnets.complexity(loaded, (64, 64)).total == model.count_params()


@pytest.mark.parametrize("survival", [pytest.param(1.0, marks=pytest.mark.slow), 0.5])
@pytest.mark.parametrize(
    "wiring",
    first(2, [{"activation": "full_preact"}, {"skip": "exclusive_gate"}]
          + [{"activation": name} for name in ("bn_after_add", "relu_preact")]
          + [{"skip": name} for name in ("lambda", "conv")]
          + [{"zero_init_residual": True}]),
    ids=str,
)
def test_squeeze_and_excitation_goes_with_every_wiring(own_families, wiring, survival, rng):
    model = own_families["SEResNet50"](
        width=4, input_shape=(32, 32, 3), survival=survival, **wiring
    )
    x = rng.standard_normal((2, 32, 32, 3)).astype("float32")
    assert np.isfinite(model(x, training=True)).all()
    for block in model.blocks:
        (branch,) = block.branches
        scale = branch.output._keras_history.operation
        assert scale.name == f"{block.name}_se_scale"  # inside the branch, at its end
    skipping = [layer for layer in model.layers if isinstance(layer, layers.SkippingMerge)]
    assert bool(skipping) == (survival < 1 and wiring.get("skip") != "exclusive_gate")


def one_block_net(block, **options):
    """A net of one block function of (x, place, net)."""

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class OneBlock(Options, StochasticDepth):
        """One block.

        Args:
            depth: Int. Blocks of the net.
        """

        depth: Count = 1

        def trunk(self):
            stage = Stage(functools.partial(block, net=self), self.depth, 16, stride=1)
            return Trunk(functools.partial(self.build_stem, width=16), [stage])

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(registry, "_BUILDERS", dict(registry._BUILDERS))
        return family("one_block", OneBlock)(input_shape=(32, 32, 3), **options)


def gated_from_outside(x, place, *, net):
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    return residual(x, x, lambda y: keras.layers.Multiply()([y, gate]), place, net=net)


def test_a_branch_that_may_be_left_out_uses_its_argument_alone():
    message = "^The branch stage1_block1 must use no tensor but its argument[^\n]*'sample'$"
    with pytest.raises(UserError, match=message):
        one_block_net(gated_from_outside, survival=0.5)
    one_block_net(gated_from_outside)
    one_block_net(gated_from_outside, survival=0.5, survival_draw="sample")


@pytest.mark.parametrize("survival", [1.0, 0.5])
def test_two_branches_of_a_block_need_two_names(survival):
    def twice(x, place, *, net, names):
        for name in names(place):
            x = residual(x, x, keras.layers.ReLU(), place, net=net, name=name)
        return x

    same = functools.partial(twice, names=lambda place: (None, None))
    with pytest.raises(UserError, match="^stage1_block1 has two branches of one name[^\n]*$"):
        one_block_net(same, survival=survival)
    apart = functools.partial(twice, names=lambda place: (None, f"{place.name}_second"))
    (block,) = one_block_net(apart, survival=survival).blocks
    assert [branch.name for branch in block.branches] == ["stage1_block1", "stage1_block1_second"]


def test_a_known_name_of_another_module_is_refused(own_families):
    with pytest.raises(ValueError, match="`registry_name` must be new.*keras_resnets"):
        keras_resnets.models.family("resnet", own_families["SEResNet"])


def test_augmentation_of_ones_own():
    (code,) = code_blocks("augmentation.md")
    module = types.ModuleType("augmentation")
    exec(compile(code, "augmentation.md", "exec"), module.__dict__)
    images, labels = next(iter(module.train))
    assert images.shape == (16, 32, 32, 3) and labels.shape == (16, 10)


def test_every_operation_is_documented():
    page = (DOCS / "augmentation.md").read_text()
    for word in (*augment.OPERATIONS, *foreign.WORDS, *mixing.MIXES):
        assert re.search(rf"`{word}\b", page), word
    for description in re.findall(r"`([a-z_]+(?::\w+=[^`<>]+)?)`", page):
        if description.split(":")[0] in augment.OPERATIONS:
            assert augment.parse_augment([description])


STUB = """
import pathlib, signal, sys
def stopped(*_):
    pathlib.Path("saved").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, stopped)
pathlib.Path("started").touch()
signal.pause()
"""


def test_a_pod_saves_when_it_is_stopped(tmp_path):
    """What Kubernetes tells process 1 of the page's pod comes to the training, which is awaited."""
    page = (DOCS / "distributed.md").read_text()
    script = textwrap.dedent(re.search(r"args:\n +- \|\n(.*?)\n +resources:", page, re.DOTALL)[1])
    (tmp_path / "stub.py").write_text(STUB)
    stub = f"{sys.executable} stub.py "
    training, count = re.subn(r"python scripts/train.py [^&]*", stub, script)
    assert count == 1
    pod = subprocess.Popen(["bash", "-c", training], cwd=tmp_path, env={"HOSTNAME": "resnet-1"})
    deadline = time.monotonic() + 30
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    pod.terminate()
    assert pod.wait(timeout=30) == 143
    assert (tmp_path / "saved").exists()
    failed = training.replace("stub.py", "missing.py")
    assert subprocess.run(["bash", "-c", failed], cwd=tmp_path, timeout=30).returncode == 2
