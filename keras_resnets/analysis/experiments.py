"""The articles' experiments, each as files in a folder: `python scripts/analyze.py` and notebooks.

Every experiment is `experiment(network, images, labels, folder, ...)`, writes a table and a figure
of it, and returns the paths that it wrote. Images are standardized as the network takes them.
"""

import csv
import dataclasses
import pathlib

from keras_resnets.analysis import drawing, lesion_plots
from keras_resnets.analysis.cost import (
    accuracy_against_cost,
    cost_table,
    plot_accuracy_against_cost,
    plot_cost,
)
from keras_resnets.analysis.degradation import plot_degradation, read_errors
from keras_resnets.analysis.five_layers import dense_experiment
from keras_resnets.analysis.gradcam import grad_cam, plot_grad_cam
from keras_resnets.analysis.gradient_log import plot_gradient_log, read_gradients
from keras_resnets.analysis.gradients import gradient_norms, plot_gradient_norms
from keras_resnets.analysis.lesions import (
    exchangeable,
    random_lesions,
    shuffles,
    single_lesions,
)
from keras_resnets.analysis.paths import effective_lengths, gradients_by_length
from keras_resnets.analysis.steps import Steps
from keras_resnets.analysis.stochastic_depth import effective_depth, plot_effective_depth
from keras_resnets.analysis.stochastic_training import first_gradients, plot_first_gradients
from keras_resnets.analysis.sums import lambda_gradients, plot_lambda_gradients, residual_sums
from keras_resnets.errors import UserError
from keras_resnets.models import expected_depth

SWAPS = (1, 2, 4, 8, 16, 32)
LAMBDAS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5)


def lesion_study(network, images, labels, folder, trials=10, seed=0, progress=None):
    """Deletes each block, several blocks, and changes their order (Veit 2016, section 4).

    What was computed before, into the same tables, is not computed again.

    Args:
        network: `Network` with a classifier.
        images: Array `(images, height, width, channels)`.
        labels: Array of class numbers.
        folder: Folder to write to, made if missing.
        trials: Int, draws for each number of deleted or exchanged blocks. Defaults to 10.
        seed: Int. Defaults to 0.
        progress: `progress(done, all)`, called as the study goes on, or `None`. Defaults to `None`.

    Returns:
        List of the paths of the files.
    """
    folder, steps = _made(folder), Steps(network)
    many = range(1, len(steps.deletable))
    swaps = SWAPS if exchangeable(steps) else ()  # else no order is another one
    told = progress or (lambda done, total: None)
    total = 1 + len(many) + len(swaps)
    intact, lesions = single_lesions(steps, images, labels)
    single = folder / "lesions_single.csv"
    drawing.write_csv(single, [_lesion_row(lesion, intact) for lesion in lesions])
    told(1, total)
    studies = (
        ("lesions_random.csv", "deleted", many, random_lesions),
        ("lesions_order.csv", "swaps", swaps, shuffles),
    )
    tables, done = [], 1
    for name, key, values, study in studies:
        rows = _read_table(folder / name)
        for value in values:
            if sum(row[key] == value for row in rows) != trials:
                rows = [row for row in rows if row[key] != value]
                rows += study(steps, images, labels, [value], trials=trials, seed=seed + value)
                drawing.write_csv(folder / name, sorted(rows, key=lambda row: row[key]))
            done += 1
            told(done, total)
        tables.append(rows)
    label = network.name
    files = [single, folder / "lesions_single.png"]
    lesion_plots.plot_single_lesions({label: (intact, lesions)}, files[-1])
    plots = (lesion_plots.plot_random_lesions, lesion_plots.plot_shuffles)
    for (name, *_), rows, plot in zip(studies, tables, plots, strict=True):
        if rows:
            files += [folder / name, (folder / name).with_suffix(".png")]
            plot({label: rows}, files[-1])
    return files


def path_study(network, images, labels, folder, samples=20, seed=0):
    """How long paths are and what gradient they carry (Veit 2016, section 4.3 and Figure 6).

    Args:
        network: `Network` with one branch in every block.
        images: Array `(images, height, width, channels)`; some ten suffice.
        labels: Array of class numbers.
        folder: Folder to write to, made if missing.
        samples: Int, paths drawn for each length. Defaults to 20.
        seed: Int. Defaults to 0.

    Returns:
        List of the paths of the files.
    """
    folder = _made(folder)
    rows = gradients_by_length(network, images, labels, samples=samples, seed=seed)
    table, figure = folder / "paths.csv", folder / "paths.png"
    drawing.write_csv(table, rows)
    lesion_plots.plot_paths(rows, figure, network.name, effective_lengths(rows))
    return [table, figure]


def degradation_study(run_dirs, folder):
    """Training and test error of several runs over the epochs (He 2015, Figure 6).

    Args:
        run_dirs: Sequence of folders of runs, or a dictionary of them by labels.
        folder: Folder to write to, made if missing.

    Returns:
        List of the paths of the files.
    """
    rows, folder = read_errors(run_dirs), _made(folder)
    table, figure = folder / "degradation.csv", folder / "degradation.png"
    drawing.write_csv(table, rows)
    plot_degradation(rows, figure)
    return [table, figure]


def gradient_study(network, images, labels, folder, seed=0):
    """Norms of the gradient by layer: of a network, and of five dense layers with and without skip.

    Args:
        network: `Network` or functional `keras.Model` with a classifier.
        images: Array `(images, height, width, channels)`; a batch.
        labels: Array of class numbers.
        folder: Folder to write to, made if missing.
        seed: Int, of the dense layers. Defaults to 0.

    Returns:
        List of the paths of the files.
    """
    folder = _made(folder)
    curves = {network.name: gradient_norms(network, images, labels)}
    dense = dense_experiment(seed)
    names = [folder / f"gradients{part}" for part in ("", "_five_layers")]
    for found, name in zip((curves, dense), names, strict=True):
        pairs = [(label, row) for label, rows in found.items() for row in rows]
        table = [{"net": label, **dataclasses.asdict(row)} for label, row in pairs]
        drawing.write_csv(name.with_suffix(".csv"), table)
        plot_gradient_norms(found, name.with_suffix(".png"))
    return [name.with_suffix(suffix) for name in names for suffix in (".csv", ".png")]


def gradient_log_study(run_dirs, folder):
    """Norms of the gradient by layer during trainings that logged them (`--log_gradients`).

    Args:
        run_dirs: Sequence of folders of runs.
        folder: Folder to write to, made if missing.

    Returns:
        List of the paths of the files.

    Raises:
        UserError: If a run has not logged its gradients.
    """
    logs = {}
    for run_dir in map(pathlib.Path, run_dirs):
        if not (run_dir / "gradients.csv").exists():
            raise UserError(
                f"{run_dir} must be a run that logs its gradients: train with --log_gradients=1"
            )
        logs[run_dir.name] = read_gradients(run_dir / "gradients.csv")
    folder = _made(folder)
    names = [folder / f"gradients_in_training.{suffix}" for suffix in ("csv", "png")]
    rows = [{"run": label, **row} for label, rows in logs.items() for row in rows]
    drawing.write_csv(names[0], rows)
    plot_gradient_log(logs, names[1])
    return names


def sum_study(network, images, folder, lambdas=LAMBDAS, depth=20):
    """x_L = x_l + sum of F(x_i) on a pre-activation net, and the gradient over scaled shortcuts.

    Args:
        network: Pre-activation `Network`.
        images: Array `(images, height, width, channels)`; a batch.
        folder: Folder to write to, made if missing.
        lambdas: Sequence of floats, the factors of all shortcuts. Defaults to 0.5 up to 1.5.
        depth: Int, 6n+2, of the nets with scaled shortcuts. Defaults to 20.

    Returns:
        List of the paths of the files.
    """
    sums, folder = residual_sums(network, images), _made(folder)
    drawing.write_csv(folder / "sums.csv", [dataclasses.asdict(row) for row in sums])
    rows = lambda_gradients(lambdas, depth=depth)
    drawing.write_csv(folder / "lambdas.csv", [dataclasses.asdict(row) for row in rows])
    plot_lambda_gradients(rows, folder / "lambdas.png")
    return [folder / name for name in ("sums.csv", "lambdas.csv", "lambdas.png")]


def depth_study(network, images, labels, folder, steps=1000, train_steps=120):
    """Stochastic depth: blocks that are on at each step, and the first convolution's gradient.

    Args:
        network: `Network` with `survival` below 1, drawn by the batch.
        images: Array `(images, height, width, channels)` to train on, for a few steps.
        labels: Array of class numbers.
        folder: Folder to write to, made if missing.
        steps: Int, whose draws are repeated. Defaults to 1000.
        train_steps: Int, of each of the two trainings. Defaults to 120.

    Returns:
        List of the paths of the files.
    """
    depths, folder = effective_depth(network, steps), _made(folder)
    names = ("effective_depth.csv", "effective_depth.png", "first_gradients.csv",
             "first_gradients.png")
    files = [folder / name for name in names]
    rows = [{"step": n, "blocks": float(blocks)} for n, blocks in enumerate(depths, 1)]
    drawing.write_csv(files[0], rows)
    plot_effective_depth(depths, expected_depth(network), files[1])
    options = network.options
    found = first_gradients(
        network, images, labels, options["survival"], options["survival_rule"], steps=train_steps
    )
    drawing.write_csv(files[2], [dataclasses.asdict(row) for row in found])
    plot_first_gradients(found, files[3])
    return files


def cost_study(networks, folder, runs_folder=None):
    """Operations and parameters by layer, and the accuracy of finished runs against their cost.

    Args:
        networks: Dictionary of `Network`s by their labels; may be empty.
        folder: Folder to write to, made if missing.
        runs_folder: Folder that holds runs, or `None`. Defaults to `None`.

    Returns:
        List of the paths of the files.
    """
    folder, files = _made(folder), []
    for label, network in networks.items():
        files.append(folder / f"cost_{label}.csv")
        drawing.write_csv(files[-1], cost_table(network))
    if networks:
        files.append(folder / "cost.png")
        plot_cost(networks, files[-1])
    if runs_folder:
        rows = accuracy_against_cost(runs_folder)
        files += [folder / f"accuracy_against_cost.{suffix}" for suffix in ("csv", "png")]
        drawing.write_csv(files[-2], rows)
        plot_accuracy_against_cost(rows, files[-1])
    return files


def grad_cam_study(network, images, pixels, labels, names, folder):
    """Where a network looks (Grad-CAM): images beside themselves under their maps.

    Args:
        network: `Network` with a classifier.
        images: Array `(images, height, width, channels)`, as the network takes them.
        pixels: The same images as uint8, to be shown.
        labels: Array of class numbers.
        names: Sequence of strings, the names of the classes.
        folder: Folder to write to, made if missing.

    Returns:
        List of the paths of the files.
    """
    answers = network.predict(images, verbose=0).argmax(-1)
    maps, figure = grad_cam(network, images), _made(folder) / "gradcam.png"
    titles = [f"{names[a]} ({names[label]})" for a, label in zip(answers, labels, strict=True)]
    plot_grad_cam(pixels, maps, figure, titles)
    return [figure]


def _made(folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _lesion_row(lesion, intact):
    return {
        "block": lesion.name,
        "stage": lesion.stage,
        "changes_shape": lesion.is_downsampling,
        "error": lesion.error,
        "error_without_lesion": intact,
    }


def _read_table(path):
    """The rows of an earlier run, with numbers as numbers."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [
            {key: float(text) if "." in text else int(text) for key, text in row.items()}
            for row in csv.DictReader(file)
        ]
