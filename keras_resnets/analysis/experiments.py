"""The articles' experiments, each as files in a folder: `python scripts/analyze.py` and notebooks.

Every experiment is `experiment(network, images, labels, folder, ...)`, writes a table and a figure
of it, and returns the paths that it wrote. Images are standardized as the network takes them.
"""

import csv
import pathlib

from keras_resnets.analysis import drawing, lesion_plots
from keras_resnets.analysis.degradation import plot_degradation, read_errors
from keras_resnets.analysis.lesions import random_lesions, shuffles, single_lesions
from keras_resnets.analysis.paths import effective_lengths, gradients_by_length
from keras_resnets.analysis.steps import Steps

SWAPS = (1, 2, 4, 8, 16, 32)


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
    folder = _made(folder)
    steps = Steps(network)
    many = range(1, len(steps.deletable))
    told = progress or (lambda done, total: None)
    total = 1 + len(many) + len(SWAPS)
    intact, lesions = single_lesions(steps, images, labels)
    single = folder / "lesions_single.csv"
    drawing.write_csv(single, [_lesion_row(lesion, intact) for lesion in lesions])
    told(1, total)
    studies = (
        ("lesions_random.csv", "deleted", many, random_lesions),
        ("lesions_order.csv", "swaps", SWAPS, shuffles),
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
    figures = [folder / f"lesions_{name}.png" for name in ("single", "random", "order")]
    lesion_plots.plot_single_lesions({label: (intact, lesions)}, figures[0])
    lesion_plots.plot_random_lesions({label: tables[0]}, figures[1])
    lesion_plots.plot_shuffles({label: tables[1]}, figures[2])
    return [single, *(folder / name for name, *_ in studies), *figures]


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
