"""Recipes: what is legal, and the flagfiles that are shipped."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from recipe_helpers import FLAGFILES, name_of

from keras_resnets import data
from keras_resnets.errors import UserError
from keras_resnets.training import Recipe

SIMPLE = {"model": "resnet20", "dataset": "digits"}


def test_flags_are_the_fields_with_their_defaults(parse):
    assert parse("--model=resnet20", "--dataset=digits") == Recipe(**SIMPLE)


def test_comments_of_flagfiles():
    for path in FLAGFILES:
        text = path.read_text()
        comment = "".join(line for line in text.splitlines(True) if line[0] == "#")
        assert text.startswith(comment), path
        assert all(word in comment for word in ("arxiv.org", "Expected: ", "Run time: ")), path


@pytest.mark.parametrize("path", FLAGFILES, ids=name_of)
def test_no_flagfile_chooses_on_the_test_set(path, parse):
    recipe = parse(f"--flagfile={path}")
    assert not recipe.test_split  # the set's own; imagenet2012's is its `validation`
    assert recipe.validation_split.startswith("train[") or not recipe.validation_split
    assert recipe.validation_split or recipe.dataset == "digits"
    if "75.63" in path.read_text() or "article" in path.read_text():
        assert recipe.validation_split == "train[49000:]" and not recipe.train_split
        as_in_the_article = parse(f"--flagfile={path}", "--validation_split=test")
        assert as_in_the_article.validation_split == "test"


def test_one_flag_trains_on_all_and_chooses_on_the_test_set():
    held_out = data.load_splits("digits", validation_split="train[1400:]")
    assert [part.num_examples for part in held_out] == [1400, 37, 360]
    as_in_the_article = data.load_splits("digits", validation_split="test")
    assert [part.num_examples for part in as_in_the_article] == [1437, 360, 360]


def test_the_flagfiles_that_are_promised():
    assert {path.stem for path in FLAGFILES} >= {
        "quickstart",
        "smoke",
        "resnet20_cifar10",
        "resnet20_cifar10_short",
        "resnet18_cifar100",
        "resnet18_cifar100_224",
        "resnet18_cifar10_299",
    }


@pytest.mark.parametrize("path", FLAGFILES, ids=name_of)
def test_flag_lines_give_the_recipe_back(path, parse, tmp_path):
    recipe = parse(f"--flagfile={path}", "--option=head_dropout=0.5", "--download")
    copy = tmp_path / "flags.txt"
    copy.write_text("\n".join(recipe.flag_lines()))
    assert parse(f"--flagfile={copy}") == recipe
    copy.write_text(recipe.to_json())
    assert Recipe.load(copy) == recipe


def test_commas_within_brackets_part_nothing(parse, tmp_path):
    recipe = Recipe(**SIMPLE, augment=["keras:RandomRotation:factor=(-0.1, 0.1)", "flip:p=0.5"])
    copy = tmp_path / "flags.txt"
    copy.write_text("\n".join(recipe.flag_lines()))
    assert parse(f"--flagfile={copy}") == recipe
    assert dataclasses.replace(recipe, augment=", ".join(recipe.augment)) == recipe


def test_model_options():
    recipe = Recipe(
        **SIMPLE, option=("width=4", "norm=sync_batch", "zero_init_residual=true", "a=(1, 2)")
    )
    assert recipe.model_options() == {
        "width": 4,
        "norm": "sync_batch",
        "zero_init_residual": True,
        "a": (1, 2),
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 0},
        {"batch_size": 1, "mix": "mixup"},
        {"epochs": 0},
        {"epochs": 10**20},
        {"steps_per_epoch": 2**31},
        {"steps_per_epoch": -1},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"lr": float("inf")},
        {"lr": "0.1"},
        {"lr": None},
        {"epochs": 2.5},
        {"epochs": True},
        {"nesterov": 1},
        {"dataset": 5},
        {"train_split": ["train"]},
        {"option": 5},
        {"option": "width=4"},
        {"option": [("width", 4)]},
        {"option": {"width": object()}},
        {"option": {"num_classes": 3}},
        {"augment": 5},
        {"augment": [None]},
        {"mix": 5},
        {"repeats": 2.0},
        {"boundaries": 5},
        {"boundaries": float("inf")},
        {"boundaries": (30, float("inf"))},
        {"boundaries": "30,x"},
        {"logical_devices": 1_000_000},
        {"boundaries": (5, "x")},
        {"boundaries": (3, 2)},
        {"boundaries": (0, 100)},
        {"decay_factor": 0.0},
        {"momentum": 1.0},
        {"weight_decay": -1.0},
        {"label_smoothing": 1.0},
        {"warmup_epochs": 100.0, "schedule": "cosine"},
        {"precision": "float16"},
        {"strategy": "tpu"},
        {"decay": "none"},
        {"seed": -1},
        {"option": ("width",)},
        {"option": ("width=4", "width=8")},
        {"option": ("num_classes=3",)},
        {"augment": ("mixup",)},
        {"optimizer": "adam"},
        {"momentum_form": "caffe"},
        {"momentum_form": "torch", "optimizer": "lamb"},
        {"nesterov": True, "optimizer": "adamw"},
        {"beta_1": 1.0},
        {"beta_2": -0.1},
        {"epsilon": 0.0},
        {"clip_norm": -1.0},
        {"clip_norm": float("nan")},
        {"accumulate_steps": 0},
        {"accumulate_steps": 1.5},
        {"ema_decay": 1.0},
        {"loss": "hinge"},
        {"target_threshold": 0.2},
        {"target_threshold": 1.0, "loss": "binary_cross_entropy"},
        {"class_weight": "equal"},
        {"schedule": "step"},
        {"decay_epochs": 2.4},
        {"decay_epochs": 0.0, "schedule": "exponential"},
        {"staircase": True, "schedule": "cosine"},
        {"lr_end": 0.01},
        {"lr_end": 0.2, "schedule": "cosine"},
        {"power": 2.0, "schedule": "cosine"},
        {"schedule_epochs": 200},
        {"schedule_epochs": -1, "schedule": "cosine"},
        {"epochs": 101, "schedule": "cosine", "schedule_epochs": 100},
        {"warmup_steps": -1},
        {"warmup_steps": 10, "warmup_epochs": 1.0},
        {"warmup_lr": 0.01},
        {"warmup_lr": 0.2, "warmup_epochs": 1.0},
        {"mix": ("flip",)},
        {"mix": "mixup:p=0.7,cutmix:p=0.7"},
        {"repeats": 0},
        {"train_image_size": -1},
        {"train_image_size": "128,160"},
        {"train_image_size": "2:128"},
        {"train_image_size": "128,6:160,6:192"},
        {"train_image_size": "a:128"},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_bad_values(changes):
    with pytest.raises(ValueError, match=f"`{next(iter(changes))}`") as caught:
        Recipe(**{**SIMPLE, **changes})
    assert "\n" not in str(caught.value)


def test_the_line_says_what_is_legal():
    for changes, legal in (
        ({"lr": float("inf")}, "above 0 and finite"),
        ({"boundaries": (1, float("inf"))}, "above 0, increase, and be finite"),
        ({"option": "width=4"}, "a dictionary, or a sequence of key=value"),
        ({"logical_devices": 10**6}, "in 1..64"),
        ({"epochs": 10**20}, r"at least 1 and below 2\*\*31. Received: epochs=1000"),
    ):
        with pytest.raises(UserError, match=f"must be {legal}"):
            Recipe(**SIMPLE, **changes)


def test_values_as_python_has_them():
    options = {
        "depth": np.int64(8),
        "width": 4,
        "norm": "batch",
        "stem": None,
        "version": "2",
        "name": " a=b, c",
        "pair": (1, "x"),
        "zero_init_residual": True,
    }
    augment, boundaries = "pad_crop:padding=4,flip:p=0.5", (30, np.float32(60))
    recipe = Recipe(
        model="resnet_cifar",
        dataset=Path("photos"),
        option=options,
        augment=augment,
        mix="mixup:alpha=0.2,cutmix",
        boundaries=boundaries,
        lr=1,
        epochs=np.int32(90),
        train_split=None,
    )
    found = recipe.model_options()
    assert found == options and type(found["version"]) is str and type(found["width"]) is int
    assert recipe.augment == ("pad_crop:padding=4", "flip:p=0.5")
    assert recipe.mix == ("mixup:alpha=0.2", "cutmix")
    assert recipe.boundaries == (30.0, 60.0) and recipe.dataset == "photos"
    assert type(recipe.epochs) is int and recipe.train_split == ""
    assert dataclasses.replace(recipe, boundaries="30,60") == recipe
    assert Recipe(**json.loads(recipe.to_json())) == recipe


def test_boundaries_and_one_cycle():
    with pytest.raises(ValueError, match="`boundaries`"):
        Recipe(**SIMPLE, schedule="one_cycle", boundaries=(5,))


def test_every_field_says_what_it_is():
    assert all(field.metadata["help"].endswith(".") for field in dataclasses.fields(Recipe))
    with pytest.raises(TypeError, match="model"):
        Recipe(dataset="digits")


def test_a_schedule_longer_than_the_run():
    recipe = Recipe(**SIMPLE, schedule="cosine", schedule_epochs=100, epochs=5, warmup_epochs=8)
    assert dataclasses.replace(recipe, epochs=100).epochs == 100
    words = "`epochs` must be at most `schedule_epochs`=100, at whose end the rate of schedule="
    with pytest.raises(UserError, match=words):
        dataclasses.replace(recipe, epochs=101)


def test_the_picture_of_a_flagfile_instead_of_a_training(script, parse, tmp_path, capsys):
    png = tmp_path / "rate.png"
    parse("--model=resnet20", "--dataset=digits", "--steps_per_epoch=9", f"--plot_schedule={png}",
          f"--run_dir={tmp_path / 'run'}")
    script.main()
    assert png.stat().st_size > 1000 and [path.name for path in tmp_path.iterdir()] == [png.name]
    assert capsys.readouterr().out == f"{png} is the learning rate over 100 epochs\n"


def test_default_run_dir(script):
    recipe = Recipe(**SIMPLE)
    for arguments, name in (
        (["--lr=1"], "resnet20_digits"),
        (["--flagfile=a/smoke.flags", "--lr=1"], "smoke"),
        (["--flagfile", "a/smoke.flags"], "smoke"),
    ):
        assert re.fullmatch(f"runs/{name}", str(script.default_run_dir(["x", *arguments], recipe)))


def test_a_foreign_recipe_file(tmp_path):
    path = tmp_path / "recipe.json"
    for text in ("{", '{"model": "resnet20", "unknown": 1}'):
        path.write_text(text)
        with pytest.raises(ValueError, match="recipe.json is not a recipe"):
            Recipe.load(path)
