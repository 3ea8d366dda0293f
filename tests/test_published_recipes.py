"""The flagfiles of published results, against numbers copied from the papers by hand."""

import csv
import dataclasses
import functools
import re
import types
from pathlib import Path

import numpy as np
import pytest
from recipe_helpers import FLAGFILES, SCRIPTS, name_of

import keras_resnets
from keras_resnets import Preprocessing, data, training
from keras_resnets.data import splits
from keras_resnets.training.building import loss_of, optimizer_of, schedule_of
from keras_resnets.training.recipe_values import parse_options
from keras_resnets.training.schedules import boundary_steps

TABLE = Path(__file__).parent / "data" / "recipes.csv"
with open(TABLE, encoding="utf-8", newline="") as file:
    ROWS = {row["file"]: row for row in csv.DictReader(file)}
BASES = sorted((SCRIPTS / "flagfiles").rglob("*.base.flags"))
PATHS = {name_of(path): path for path in FLAGFILES}
PUBLISHED = [pytest.param(path, id=name) for name, path in PATHS.items() if name in ROWS]
OPTIMIZERS = {
    "momentum": ("sgd", False, 0.9),
    "nesterov": ("sgd", True, 0.9),
    "lamb": ("lamb", False, 0.9),
}
BOTTLENECKS = {"depth": 20, "block": "bottleneck"}
# Large networks by the same blocks in few layers or channels, which takes the same options.
SMALL = {
    **dict.fromkeys(("resnet44", "resnet56", "resnet110", "resnet1202"), ("resnet20", {})),
    "resnet110_v2": ("resnet20_v2", {}),
    **dict.fromkeys(("resnet164", "resnet1001"), ("resnet_cifar", BOTTLENECKS)),
    **dict.fromkeys(
        ("resnet164_v2", "resnet1001_v2"),
        ("resnet_cifar", {**BOTTLENECKS, "activation": "full_preact"}),
    ),
    **dict.fromkeys(("resnet101", "resnet152"), ("resnet50", {})),
    **dict.fromkeys(("resnet152_v2", "resnet200_v2"), ("resnet50_v2", {})),
    **dict.fromkeys(("resnext101_32x4d", "resnext101_64x4d"), ("resnext50_32x4d", {})),
    **dict.fromkeys(("resnext29_8x64d", "resnext29_16x64d"), ("resnext29_32x4d", {})),
    **dict.fromkeys(
        ("wide_resnet16_8", "wide_resnet28_10", "wide_resnet40_4", "wide_resnet40_10",
         "wide_resnet52_1"),
        ("wide_resnet", {"depth": 10, "widen": 2}),
    ),
    **dict.fromkeys(("dfn_mr1", "dfn_mr2", "dfn_mr3"), ("fusenet", {"kind": "cross", "depth": 14})),
    "dfn_mr50": ("fusenet_imagenet", {"kind": "cross", "blocks": (1, 1, 1, 1)}),
    "dfn_resnet98": ("fusenet_imagenet", {"kind": "resnet", "blocks": (1, 1, 1, 1)}),
    **dict.fromkeys(("dpn92", "dpn98", "dpn131"), ("dpn68", {})),
}


def test_every_published_recipe_is_in_the_table():
    in_folders = {name for name in PATHS if "/" in name}
    assert in_folders == {name for name in ROWS if "/" in name}
    assert set(ROWS) <= set(PATHS)
    assert all(row["source"] for row in ROWS.values())


def test_every_published_recipe_is_listed():
    listed = (SCRIPTS.parent / "RECIPES.md").read_text()
    for name, row in ROWS.items():
        result = "fails" if row["expected_error"] == "fail" else f"{row['expected_error']} %"
        command = f"`python scripts/train.py --flagfile=scripts/flagfiles/{name}.flags`"
        row = rf"^\| `{name}` \| {re.escape(result)} \|.*\| {re.escape(command)} \|$"
        assert re.search(row, listed, re.MULTILINE), name


def test_runs_of_different_flagfiles_go_to_different_folders():
    assert len({path.stem for path in FLAGFILES}) == len(FLAGFILES)


@pytest.mark.parametrize("path", BASES, ids=lambda path: path.relative_to(SCRIPTS).as_posix())
def test_a_base_is_shared(path):
    assert "arxiv.org" in path.read_text()
    line = f"--flagfile=scripts/{path.relative_to(SCRIPTS).as_posix()}\n"
    assert sum(line in other.read_text() for other in FLAGFILES) > 1


FOLDERS = sorted({name.rpartition("/")[0] for name in ROWS})


@pytest.mark.parametrize("folder", FOLDERS)
def test_numbers_are_the_papers(folder, parse):
    for name, row in ROWS.items():
        if name.rpartition("/")[0] == folder:
            print(name)  # shown where it fails
            check_numbers(parse(f"--flagfile={PATHS[name]}"), row)
            check_expectation(PATHS[name].read_text(), row["expected_error"])


def check_numbers(recipe, row):
    assert (recipe.model, recipe.dataset) == (row["model"], row["dataset"])
    assert (recipe.batch_size, recipe.lr) == (int(row["batch"]), float(row["lr"]))
    steps = trained_on(recipe) // recipe.batch_size
    if row["epochs"] == "64k":
        assert recipe.epochs == 64_000 // steps
    else:
        assert recipe.epochs == int(row["epochs"])
    assert recipe.weight_decay == float(row["weight_decay"])
    kind = (recipe.optimizer, recipe.nesterov, recipe.momentum)
    assert kind == OPTIMIZERS[row["optimizer"]]
    check_rates(recipe, row, steps)
    check_regularization(recipe, row)
    assert recipe.model_options() == parse_options(row["options"].split())


def check_regularization(recipe, row):
    """What is empty in the table is not there, or the default."""
    assert (recipe.decay, recipe.clip_norm) == (row["decay"], float(row["clip"] or 0))
    assert recipe.momentum_form == (row["momentum_form"] or "keras")
    assert (",".join(recipe.augment), ",".join(recipe.mix)) == (row["augment"], row["mix"])
    assert recipe.repeats == int(row["repeats"] or 1)
    assert recipe.label_smoothing == float(row["smoothing"] or 0)
    assert recipe.target_threshold == float(row["threshold"] or 0)
    assert (recipe.loss == "cross_entropy") == (row["optimizer"] != "lamb")
    # torchvision's train.py moves its averages every 32 steps, by so much more of a smaller epoch.
    moved = 32 * recipe.batch_size / recipe.epochs * (1 - float(row["ema"] or 1))
    assert recipe.ema_decay ** 32 == pytest.approx(1 - moved if row["ema"] else 0, abs=2e-5)


def trained_on(recipe):
    """The number of training images."""
    split = recipe.train_split or recipe.validation_split
    return int(re.fullmatch(r"train\[:?(\d+):?\]", split)[1])


def check_rates(recipe, row, steps):
    rate = schedule_of(recipe, steps)
    length, _, unit = (row["warmup"] or "0 updates").partition(" ")
    warmup = int(length) * {"updates": 1, "epochs": steps}[unit]
    if warmup:
        assert float(rate(0)) == pytest.approx(float(row["warmup_lr"]))
        middle = (float(row["warmup_lr"]) + recipe.lr) / 2
        assert float(rate(warmup // 2)) == pytest.approx(middle, rel=1e-2)
    assert float(rate(warmup)) == pytest.approx(recipe.lr)
    if row["decay_points"] == "cosine":
        assert recipe.schedule == "cosine" and warmup == 5 * steps
        middle = (recipe.epochs + 5) * steps // 2
        assert float(rate(middle)) == pytest.approx(recipe.lr / 2, rel=1e-2)
        return
    points = [
        int(point[:-1]) * 1000 if point.endswith("k") else int(point) * steps
        for point in row["decay_points"].split()
    ]
    assert recipe.schedule == "piecewise"
    assert boundary_steps(recipe.boundaries, steps) == points
    for drops, step in enumerate(points):
        before = recipe.lr * float(row["decay_factor"]) ** drops
        assert float(rate(step - 1)) == pytest.approx(before)
        assert float(rate(step)) == pytest.approx(before * float(row["decay_factor"]))


def check_expectation(text, error):
    if error == "fail":
        assert "Expected: it fails, more than 20 % error" in text
    elif "test accuracy" in text:
        assert f"Expected: {100 - float(error):.2f} % test accuracy" in text
    else:
        assert f"Expected: {error} % error" in text


@pytest.mark.parametrize("path", [pytest.param(path, id=name) for name, path in PATHS.items()])
def test_everything_is_built(path, parse):
    recipe = parse(f"--flagfile={path}")
    model, options = SMALL.get(recipe.model, (recipe.model, {}))
    assert parameters(model, tuple({**options, **recipe.model_options()}.items())) > 0
    assert optimizer_of(recipe, steps=500).weight_decay == recipe.weight_decay
    logits, labels = np.zeros((2, 5), "float32"), np.eye(5, dtype="float32")[:2]
    assert float(loss_of(recipe, None)(labels, logits)) > 0
    # Policies take long to trace; their own tests, and the two steps below, run them.
    has_policy = any("rand-" in entry or "trivial" in entry for entry in recipe.augment)
    if recipe.dataset != "digits" and not has_policy:
        side = 32 if recipe.dataset.startswith("cifar") else 48
        batch_shape(recipe.augment, recipe.mix, recipe.repeats, side, recipe.image_size)


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [pytest.param(path, id=name) for name, path in PATHS.items()
             if name in ROWS and ROWS[name]["model"] in SMALL]
)  # fmt: skip
def test_large_networks_are_built_whole(path, parse):
    recipe = parse(f"--flagfile={path}")
    assert parameters(recipe.model, tuple(recipe.model_options().items())) > 0


@functools.cache
def parameters(model, options):
    """The number of parameters of a network, which is built once for all recipes that have it."""
    options = {**dict(options), "num_classes": 3}
    return keras_resnets.create_model(model, **options).count_params()


@functools.cache
def batch_shape(augment, mix, repeats, side, image_size):
    """Prepares a batch as a recipe does, once for all recipes that do so alike."""
    images = np.random.default_rng(0).integers(0, 256, (8, side, side, 3))
    size = (min(image_size, 32),) * 2 if image_size else None
    batches = data.training_dataset(
        data.from_arrays(images, np.arange(8) % 4),
        Preprocessing((0.5,) * 3, (0.25,) * 3),
        augment, batch_size=4, mix=mix, repeats=repeats, image_size=size,
    )  # fmt: skip
    images, labels = next(iter(batches))
    assert images.shape == (4, *(size or (side, side)), 3) and labels.shape == (4, 4)
    assert np.isfinite(images).all()


def test_imagenet_is_tested_on_its_validation_images(parse):
    recipe = parse(f"--flagfile={PATHS['torchvision/torchvision_resnet50']}")
    archive = types.SimpleNamespace(
        name="imagenet2012", sizes={"train": 1_281_167, "validation": 50_000}
    )
    given = {"train": "", "validation": recipe.validation_split, "test": ""}
    chosen = splits._select(archive, given, 0, ("train", "validation", "test"))
    sizes = {part: {split: len(rows) for split, rows in chosen[part].items()} for part in chosen}
    assert sizes == {
        "train": {"train": 1_271_167}, "validation": {"train": 10_000},
        "test": {"validation": 50_000},
    }  # fmt: skip


def test_training_on_smaller_images_and_testing_at_224(parse):
    sides = {}
    for name in ("torchvision/torchvision_resnet50_2021", "wightman2021/rsb_resnet50_a1",
                 "wightman2021/rsb_resnet50_a3"):  # fmt: skip
        recipe = parse(f"--flagfile={PATHS[name]}")
        sides[name[-4:]] = (recipe.train_image_size, recipe.image_size, recipe.repeats)
    assert sides == {"2021": (("176",), 224, 4), "0_a1": ((), 224, 3), "0_a3": (("160",), 224, 1)}


@pytest.mark.slow
@pytest.mark.parametrize("path", PUBLISHED)
def test_two_steps(path, parse, tmp_path, rng):
    recipe = parse(f"--flagfile={path}")
    of_imagenet = recipe.dataset == "imagenet2012"
    side = 32 if of_imagenet or recipe.model.startswith("fractalnet") else 8
    small = dataclasses.replace(
        recipe, batch_size=4, steps_per_epoch=2, epochs=1, train_split="", validation_split="",
        lr=recipe.lr * 4 / recipe.batch_size,  # else deep nets overflow by two steps' statistics
        image_size=side if recipe.image_size else 0,
        train_image_size=side + 8 if recipe.train_image_size else (),
        warmup_epochs=0, warmup_steps=0, warmup_lr=0,  # longer than the two steps
    )  # fmt: skip
    shape = (48, 40) if of_imagenet else (side, side)
    images = rng.integers(0, 256, (16, *shape, 3))
    labels = np.arange(16) % 4
    parts = data.make_splits((images, labels), (images[:4], labels[:4]))
    try:
        results = training.train(small, tmp_path / "run", parts)
    except FloatingPointError as error:
        # By the statistics of two steps maps grow from layer to layer: too much for 110 of them.
        assert "val_loss is nan" in str(error)
        assert re.search(r"resnet(110|1001|1202)", recipe.model)
        return
    assert results["last"]["epoch"] == 1 and np.isfinite(results["last"]["loss"])
