"""The articles' experiments on a trained network: a table and a figure each.

    python scripts/analyze.py lesions --weights=cifar10 --dataset=cifar10 --output_dir=lesions
    python scripts/analyze.py paths --run_dir=runs/resnet20_cifar10
    python scripts/analyze.py degradation --runs=runs/plain20,runs/plain56 --output_dir=figures

gradients    norms of the gradient by layer, and the five dense layers with and without a skip;
             with --runs, during trainings that had --log_gradients
degradation  training and test error of several runs over the epochs
sums         x_L = x_l + sum of F(x_i) on a pre-activation net, and scaled shortcuts
lesions      the error without each block, without several, and with blocks in another order
paths        length of paths, gradient by length, and their product
depth        stochastic depth: expected depth, blocks that are on, the first layer's gradient
cost         operations and parameters by layer; accuracy against cost of all runs in a folder
gradcam      where a network looks
"""

import os

from absl import flags
from cli import COUNT, run

from keras_resnets.errors import UserError

_MODEL = flags.DEFINE_string("model", None, "A .keras file.")
_RUN_DIR = flags.DEFINE_string("run_dir", None, "A run of scripts/train.py: its best.keras.")
_WEIGHTS = flags.DEFINE_string("weights", None, "File of weights or name of a set: cifar10.")
_DATASET = flags.DEFINE_string(
    "dataset", None, "A tfds name, `digits`, a folder or a CSV list; the run's."
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of prepared tfds sets.")
_TEST_SPLIT = flags.DEFINE_string("test_split", None, "tfds slice; the test set by default.")
_IMAGES = flags.DEFINE_integer(
    "images", None, "Images to take; as many as the experiment needs by default.", **COUNT
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder for tables and figures.")
_TRIALS = flags.DEFINE_integer("trials", 10, "lesions: draws for each number of blocks.", **COUNT)
_SAMPLES = flags.DEFINE_integer("samples", 20, "paths: paths drawn for each length.", **COUNT)
_RUNS = flags.DEFINE_list(
    "runs", [], "degradation, gradients: folders of runs. cost: a folder of them."
)
_SEED = flags.DEFINE_integer("seed", 0, "Of draws.")


def network():
    """The network that the flags name."""
    from keras_resnets import load_model, weights

    given = [name for name in ("model", "run_dir", "weights") if flags.FLAGS[name].value]
    if len(given) != 1:
        raise UserError(
            "one of --model, --run_dir and --weights must say which network. "
            f"Received: {', '.join('--' + name for name in given) or 'none'}"
        )
    if _WEIGHTS.value:
        return weights.open(_WEIGHTS.value)
    return load_model(_MODEL.value or os.path.join(_RUN_DIR.value, "best.keras"))


def test_images(model, count):
    """Images as the network takes them, and their labels: a pair of arrays."""
    import itertools

    import numpy as np

    from keras_resnets import data
    from keras_resnets.training.recipe import Recipe

    dataset, data_dir, split = _DATASET.value, _DATA_DIR.value, _TEST_SPLIT.value
    if not dataset and _RUN_DIR.value:
        recipe = Recipe.load(os.path.join(_RUN_DIR.value, "recipe.json"))
        dataset, data_dir = recipe.dataset, data_dir or recipe.data_dir
        split = split or recipe.test_split
    if not dataset:
        raise UserError(
            "--dataset must name the images: a tfds name, `digits`, a folder or a CSV list"
        )
    if not model.preprocessing:
        raise UserError(f"{model.name} must have its preprocessing, to be shown images")
    source = data.load_splits(
        dataset, data_dir or None, test_split=split or None, splits=("test",)
    ).test
    pairs = list(itertools.islice(source, _IMAGES.value or count or source.num_examples))
    images = np.stack([np.asarray(model.preprocessing(image)) for image, _ in pairs])
    return images, np.array([label for _, label in pairs]), source


def folder():
    """Where tables and figures go."""
    if not (_OUTPUT_DIR.value or _RUN_DIR.value):
        raise UserError("--output_dir must name a folder for tables and figures")
    return _OUTPUT_DIR.value or os.path.join(_RUN_DIR.value, "analysis")


def lesions():
    import keras

    from keras_resnets.analysis import lesion_study

    model, bar = network(), []

    def progress(done, total):
        if not bar:
            bar.append(keras.utils.Progbar(total, unit_name="study"))
        bar[0].update(done)

    images, labels, _ = test_images(model, None)
    return lesion_study(model, images, labels, folder(), _TRIALS.value, _SEED.value, progress)


def paths():
    from keras_resnets.analysis import path_study

    model = network()
    images, labels, _ = test_images(model, 32)
    return path_study(model, images, labels, folder(), _SAMPLES.value, _SEED.value)


def degradation():
    from keras_resnets.analysis import degradation_study

    if not _RUNS.value:
        raise UserError("--runs must name the folders of runs: --runs=runs/plain20,runs/plain56")
    return degradation_study(_RUNS.value, folder())


def gradients():
    from keras_resnets.analysis import gradient_log_study, gradient_study

    if _RUNS.value:
        return gradient_log_study(_RUNS.value, folder())
    model = network()
    images, labels, _ = test_images(model, 128)
    return gradient_study(model, images, labels, folder(), _SEED.value)


def sums():
    from keras_resnets.analysis import sum_study

    model = network()
    images, _, _ = test_images(model, 8)
    return sum_study(model, images, folder())


def depth():
    from keras_resnets.analysis import depth_study

    model = network()
    images, labels, _ = test_images(model, 1000)
    return depth_study(model, images, labels, folder())


def cost():
    from keras_resnets.analysis import cost_study

    given = _MODEL.value or _RUN_DIR.value or _WEIGHTS.value
    if len(_RUNS.value) > 1 or not (given or _RUNS.value):
        raise UserError("--runs must name one folder of runs, or --model a network, or both")
    model = network() if given else None
    return cost_study({model.name: model} if model else {}, folder(), *_RUNS.value)


def gradcam():
    import itertools

    from keras_resnets.analysis import grad_cam_study

    model = network()
    images, labels, source = test_images(model, 12)
    pixels = [image for image, _ in itertools.islice(source, len(images))]
    return grad_cam_study(model, images, pixels, labels, source.class_names, folder())


EXPERIMENTS = {
    experiment.__name__: experiment
    for experiment in (gradients, degradation, sums, lesions, paths, depth, cost, gradcam)
}


def main(names):
    if len(names) != 1 or names[0] not in EXPERIMENTS:
        raise UserError(
            f"one of {', '.join(EXPERIMENTS)} must be named. Received: {' '.join(names) or 'none'}"
        )
    print("wrote", *EXPERIMENTS[names[0]](), sep="\n  ")


if __name__ == "__main__":
    run(main, positional=True)
