"""Exports a trained network as a SavedModel that takes image files or pixels.

python scripts/export.py --run_dir=runs/resnet20_cifar10
"""

import os

from absl import flags
from cli import COUNT, run

_RUN_DIR = flags.DEFINE_string("run_dir", None, "Run directory of scripts/train.py.")
_CHECKPOINT = flags.DEFINE_enum(
    "checkpoint", "best", ["best", "last", "ema"], "Which one of the run; ema is of --ema_decay."
)
_MODEL = flags.DEFINE_string("model", None, "A .keras file, instead of --run_dir.")
_NAME = flags.DEFINE_string("name", None, "Name to serve by; that of the run or file if not given.")
_ROOT = flags.DEFINE_string("root", "saved_models", "Folder of <name>/<version>/.")
_TOP = flags.DEFINE_integer("top", 5, "How many of the best classes an answer names.", **COUNT)
_MAX_PIXELS = flags.DEFINE_integer(
    "max_pixels", None, "Refuse images that have more pixels; 50 million if not given.",
    **COUNT,
)
flags.mark_flags_as_mutual_exclusive(["run_dir", "model"], required=True)


def main():
    from keras_resnets.models.files import load_model
    from keras_resnets.serving import export

    path = _MODEL.value or os.path.join(_RUN_DIR.value, f"{_CHECKPOINT.value}.keras")
    model = load_model(path)
    name = os.path.basename(os.path.abspath(_RUN_DIR.value or path)).removesuffix(".keras")
    limit = {"max_pixels": _MAX_PIXELS.value} if _MAX_PIXELS.value else {}
    version = export(model, _NAME.value or name, _ROOT.value, _TOP.value, checkpoint=path, **limit)
    print(f"exported {path} to {version}")


if __name__ == "__main__":
    run(main)
