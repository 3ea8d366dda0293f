"""Test error over survival, rule and depth (Huang 2016, arXiv 1603.09382, Figure 8)."""

import dataclasses
import math
from pathlib import Path

import numpy as np

from keras_resnets.analysis import drawing
from keras_resnets.checks import check_choice, is_number, must
from keras_resnets.errors import UserError
from keras_resnets.models import registry
from keras_resnets.models.builders import options_of

RULES = ("linear", "uniform")


def sweep(recipe, output_dir, survivals, rules=RULES, depths=None):
    """Trains one network for each survival, rule and depth, or goes on where it was stopped.

    Each is a run of `keras_resnets.training.train` in a folder of its own below `output_dir`:
    `depth20_linear_survival0.5`. A run that was stopped goes on, a finished one is not trained
    again. Nets with survival 1 are the same by every rule and trained once. sweep.csv and sweep.png
    are written after every run.

    Args:
        recipe: `keras_resnets.training.Recipe` of all runs; its options `survival`,
            `survival_rule` and, with `depths`, `depth` are replaced.
        output_dir: Folder.
        survivals: Sequence of floats in (0, 1], of the last block.
        rules: Sequence of `"linear"` and `"uniform"`. Defaults to both.
        depths: Sequence of ints that the model's option `depth` takes, or `None` for the recipe's
            own depth. Defaults to `None`.

    Returns:
        List of dictionaries, the rows of sweep.csv, by depth, rule and survival: `depth`, `rule`,
        `survival`, `epochs`, `val_accuracy` and `test_error` of the last epoch (NaN of a training
        that diverged), `best_test_error` (of the epoch that was best in validation), `seconds` of
        training and `run`, the folder.

    Raises:
        UserError: If a value is not legal, or the model has no such option; before the first
            training. And as `keras_resnets.training.train` does, so do `OSError`s.
    """
    from keras_resnets.training import Recipe

    must("recipe", recipe, isinstance(recipe, Recipe), "a keras_resnets.training.Recipe")
    cells = list(_cells(recipe, survivals, rules, depths))
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    rows, known = [], {}
    for cell, name, own in cells:
        print(f"{name}: {len(rows) + 1} of {len(cells)}", flush=True)
        if name not in known:
            known[name] = _scores(own, output_dir / name)
        rows.append({**cell, **known[name], "run": name})
        drawing.write_csv(output_dir / "sweep.csv", rows)
        plot_sweep(rows, output_dir / "sweep.png", recipe.model)
    return rows


def _cells(recipe, survivals, rules, depths):
    """Yields each cell, the name of its run and its recipe; all are checked."""
    for value in survivals:
        must("survivals", value, is_number(value) and 0 < value <= 1, "numbers in (0, 1]")
    for rule in rules:
        check_choice("rules", rule, RULES)
    own = {**options_of(recipe.model), **registry.find(recipe.model).fixed}
    given = {**own, **recipe.model_options()}
    for option in ("survival", "survival_rule", *(() if depths is None else ("depth",))):
        if option not in options_of(recipe.model):
            raise UserError(
                f"`model` must have the option {option}, as the family `resnet_cifar` has. "
                f"Received: model={recipe.model!r}"
            )
    depths = [given.get("depth")] if depths is None else depths
    for name, values in (("survivals", survivals), ("rules", rules), ("depths", depths)):
        must(name, values, len(values) > 0, "a sequence of one value at least")
    for depth in sorted(set(depths)):
        for rule in dict.fromkeys(rules):
            for survival in sorted(map(float, set(survivals))):
                yield _cell(recipe, depth, rule, survival)


def _cell(recipe, depth, rule, survival):
    options = recipe.model_options() | {"survival": survival, "survival_rule": rule}
    name = f"{rule}_survival{survival}"
    if survival == 1:  # the same net by every rule
        options, name = options | {"survival_rule": RULES[0]}, "survival1"
    if depth is not None:
        name = f"depth{depth}_{name}"
    if "depth" in options_of(recipe.model):
        options["depth"] = depth
    builder = registry.find(recipe.model)
    fields = {field.name for field in dataclasses.fields(builder.options)}
    known = {key: value for key, value in options.items() if key in fields}
    builder.options(**{**known, **builder.fixed})  # raises before the first training
    cell = {"depth": depth, "rule": rule, "survival": survival}
    return cell, name, dataclasses.replace(recipe, option=options)


def _scores(recipe, run_dir):
    from keras_resnets.training import train

    try:
        results = train(recipe, run_dir)
    except FloatingPointError as error:
        print(f"{run_dir}: {error}", flush=True)
        names = ("val_accuracy", "test_error", "best_test_error", "seconds")
        return {"epochs": recipe.epochs} | dict.fromkeys(names, math.nan)
    return {
        "epochs": results["last"]["epoch"],
        "val_accuracy": results["last"]["val_accuracy"],
        "test_error": 1 - results["last"]["top1"],
        "best_test_error": 1 - results["best"]["top1"],
        "seconds": results["seconds"],
    }


def plot_sweep(rows, path, title=None):
    """Draws the test error over survival, one panel a depth, one line a rule.

    Args:
        rows: Rows of `sweep`, or of its sweep.csv with numbers as numbers.
        path: Path of the PNG or SVG file to write.
        title: String or `None`. Defaults to `None`.

    Raises:
        UserError: If there are no rows.
    """
    from matplotlib.ticker import PercentFormatter

    must("rows", rows, len(rows) > 0, "rows of `sweep`, at least one")
    depths = list(dict.fromkeys(row["depth"] for row in rows))
    figure, panels = drawing.new_figure(columns=len(depths), width=4.4)
    errors = [row["test_error"] for row in rows if np.isfinite(row["test_error"])]
    low, high = (min(errors), max(errors)) if errors else (0.0, 1.0)
    room = 0.08 * (high - low) or 0.01
    for axes, depth in zip(panels, depths, strict=True):
        for rule, look in zip(RULES, drawing.styles(), strict=False):
            own = [row for row in rows if (row["depth"], row["rule"]) == (depth, rule)]
            line = sorted((row["survival"], row["test_error"]) for row in own)
            if line:
                axes.plot(*zip(*line, strict=True), label=rule, **look)
        axes.set_ylim(low - room, high + room)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        name = "" if depth is None else f"{depth} layers"
        name = ", ".join(part for part in (title, name) if part)
        drawing.finish(
            axes, "survival of the last block", "test error", name, legend=axes is panels[0]
        )
    drawing.save(figure, path)
