"""Evaluates a run, a .keras file or an export on every test image.

python scripts/evaluate.py --run_dir=runs/resnet20_cifar10
python scripts/evaluate.py --model=resnet.keras --dataset=cifar10 --output_dir=report
python scripts/evaluate.py --saved_model=saved_models/x_openvino_int8 --run_dir=runs/x
"""

import os
import pathlib
import sys

import numpy as np
from absl import flags
from cli import COUNT, run
from image_sets import given, which_images
from progress import Progress

from keras_resnets.errors import UserError
from keras_resnets.training.cluster import find_cluster
from keras_resnets.training.distribution import STRATEGIES, make_strategy

_RUN_DIR = flags.DEFINE_string(
    "run_dir", None, "Run directory of scripts/train.py; its recipe says what to test on."
)
_CHECKPOINT = flags.DEFINE_enum(
    "checkpoint", "best", ["best", "last", "ema"], "Which one of the run; ema is of --ema_decay."
)
_MODEL = flags.DEFINE_string("model", None, "A .keras file, instead of --run_dir.")
_SAVED_MODEL = flags.DEFINE_string(
    "saved_model", None, "An export of any format, saved_models/<name> or one of its versions, on "
    "the test images of --run_dir or --dataset.",
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Where the report goes; <run_dir>/evaluation, <model>_evaluation or "
    "saved_models_evaluation/<name>/<version> if not given.",
)
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", None, "Side of the square input in pixels, instead of what the model remembers.",
    **COUNT,
)
_FLIP = flags.DEFINE_boolean("flip", False, "Average each image's outputs with its mirror image's.")
flags.DEFINE_string(
    "dataset", None, "A tfds name, `digits`, a folder of class folders, or a CSV list."
)
flags.DEFINE_string("data_dir", None, "Folder of prepared tfds sets.")
flags.DEFINE_string("test_split", None, "tfds slice to test on, such as test[:1000].")
flags.DEFINE_boolean("download", None, "Download and prepare a tfds set.")
flags.DEFINE_boolean("skip_corrupt", None, "Leave unreadable images out and count them.")
flags.DEFINE_integer("max_pixels", None, "Refuse images that have more pixels.", **COUNT)
flags.DEFINE_integer("batch_size", None, "Images at a time, over all replicas.", **COUNT)
_STRATEGY = flags.DEFINE_enum("strategy", "auto", STRATEGIES[:3], "As in scripts/train.py.")
_LOGICAL_DEVICES = flags.DEFINE_integer("logical_devices", 1, "As in scripts/train.py.")
flags.mark_flags_as_mutual_exclusive(["run_dir", "model"])

OF_IMAGES = ("dataset", "data_dir", "test_split", "download", "skip_corrupt", "max_pixels")
OF_MODELS = ("checkpoint", "image_size", "flip", "strategy", "logical_devices")
WORST = 5


def main():
    if _SAVED_MODEL.value:
        return evaluate_saved_model()
    if not (_RUN_DIR.value or _MODEL.value):
        raise UserError("Evaluate what? Give --run_dir, --model or --saved_model")
    if _MODEL.value and flags.FLAGS["checkpoint"].present:
        raise UserError("--checkpoint is for --run_dir, --model is one file: give one of them")
    from keras_resnets import Preprocessing, data
    from keras_resnets.models.files import load_model
    from keras_resnets.training import evaluate, write_report
    from keras_resnets.training.image_size import at_image_size

    run_dir, path = _RUN_DIR.value, _MODEL.value
    if run_dir:
        path = os.path.join(run_dir, f"{_CHECKPOINT.value}.keras")
    folder = os.path.join(run_dir, "evaluation") if run_dir else f"{path}_evaluation"
    image_set = which_images(run_dir, *OF_IMAGES)
    if find_cluster():
        raise UserError("TF_CONFIG or Slurm names several workers: evaluation takes one process")
    with make_strategy(_STRATEGY.value, _LOGICAL_DEVICES.value).scope():
        model = load_model(path)
    if getattr(model, "preprocessing", None):
        test = data.load_splits(**image_set, splits=("test",)).test
    else:
        training, test = data.load_splits(**image_set, splits=("train", "test"))[::2]
        mean, std = data.statistics(training)
        model.preprocessing = Preprocessing(mean, std)
        print(f"{path} has no preprocessing: standardizing by the training images' statistics")
    if _IMAGE_SIZE.value:
        model = at_image_size(model, _IMAGE_SIZE.value)

    verbose = int(sys.stdout.isatty())
    size = given("batch_size")
    result = evaluate(model, test, verbose=verbose, flip=_FLIP.value, **size)
    folder = _OUTPUT_DIR.value or folder
    facts = {"checkpoint": path, "images": image_set, "flip": _FLIP.value}
    files = write_report(result, test, folder, **facts)
    print(f"{path} on {len(result.labels)} test images of {test.name}")
    print_figures(result, test.class_names)
    print("wrote", *files, sep="\n  ")


def evaluate_saved_model():
    """Evaluates an export, and says how fast it is."""
    if _MODEL.value:
        raise UserError("--model and --saved_model are two models: give one of them")
    for name in OF_MODELS:
        if flags.FLAGS[name].present:
            raise UserError(f"--{name} is for --run_dir and --model, an export is as it is")
    from keras_resnets import data
    from keras_resnets.serving import Predictor
    from keras_resnets.serving.evaluation import evaluate_export
    from keras_resnets.training import write_report

    predictor = Predictor(_SAVED_MODEL.value)
    folder = _OUTPUT_DIR.value or report_folder(predictor.path)
    image_set = which_images(_RUN_DIR.value, *OF_IMAGES)
    test = data.load_splits(**image_set, splits=("test",)).test
    with Progress(len(test), sys.stderr) as progress:
        result, rate = evaluate_export(predictor, test, **given("batch_size"), show=progress.show)
    facts = {
        "saved_model": predictor.path, "format": predictor.format,
        "precision": predictor.metadata.get("precision"), "images": image_set,
        "images_per_second": rate,
    }
    files = write_report(result, test, folder, **facts)
    print(f"{predictor.path} on {len(result.labels)} test images of {test.name}")
    print_figures(result, test.class_names)
    # An export of an earlier version does not say what it computes in.
    print(f"{rate:.1f} images/s by {predictor.format}, {facts['precision'] or 'precision unknown'}")
    print("wrote", *files, sep="\n  ")


def report_folder(version):
    """Beside the folder that a server looks into."""
    path = pathlib.Path(os.path.abspath(version))
    root, (name, number) = path.parent.parent, path.parts[-2:]
    if root == root.parent:  # the top of a file system has nothing beside it
        raise UserError(f"{version} is in no folder of models: give --output_dir for the report")
    folder = os.path.join(f"{root}_evaluation", name, number)
    relative = os.path.relpath(folder)
    return folder if relative.startswith(os.pardir) else relative


def print_figures(result, class_names):
    counts = result.confusion.sum(axis=1)
    print(f"loss   {result.loss:.4f}")
    print(f"top-1  {result.top1:.2%}")
    if result.topk is not None:
        print(f"top-{result.k}  {result.topk:.2%}")
    print(f"balanced accuracy {result.balanced_accuracy:.2%}, F1 {result.f1:.4f}")
    print(f"expected calibration error {result.calibration_error:.4f}")
    order = np.argsort(result.per_class, kind="stable")  # NaN, a class without images, last
    worst = [index for index in order[:WORST] if counts[index]]
    print(f"worst {len(worst)} of {len(class_names)} classes")
    width = max(len(class_names[index]) for index in worst)
    for index in worst:
        right = result.confusion[index, index]
        share = f"{result.per_class[index]:.2%}"
        print(f"  {class_names[index]:<{width}}  {share:>7}  ({right} of {counts[index]})")


if __name__ == "__main__":
    run(main)
