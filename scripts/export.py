"""Exports a trained network as a SavedModel that takes files or pixels, as OpenVINO IR or ONNX.

python scripts/export.py --run_dir=runs/resnet20_cifar10
python scripts/export.py --run_dir=runs/resnet20_cifar10 --format=openvino --precision=int8
"""

import os

import other_formats
from absl import flags
from cli import COUNT, run

from keras_resnets.errors import UserError

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
_KEEP = flags.DEFINE_integer(
    "keep", None, "Remove the oldest versions but this many; labelled ones stay. All stay if not "
    "given.", **COUNT,
)
_WARMUP = flags.DEFINE_list(
    "warmup_batch_sizes", None, "Batch sizes that TensorFlow Serving warms up with, 1,2,4,8 if not "
    "given; empty for none.",
)
_MODELS_CONFIG = flags.DEFINE_boolean(
    "models_config", False, "Enter the model in <root>/models.config of TensorFlow Serving."
)
_VERSION_LABEL = flags.DEFINE_string(
    "version_label", None, "Label of the new version in models.config, such as stable or canary."
)
_BASE_PATH = flags.DEFINE_string(
    "base_path", None, "Where the server sees root, for models.config; /models if not given."
)
_BATCHING = flags.DEFINE_boolean(
    "batching_parameters", False, "Write <root>/batching_parameters.txt for TensorFlow Serving."
)
flags.mark_flags_as_mutual_exclusive(["run_dir", "model"], required=True)

OF_SAVED_MODELS = (
    *("top", "warmup_batch_sizes", "models_config", "version_label", "base_path"),
    "batching_parameters",
)


def main():
    from keras_resnets.models.files import load_model
    from keras_resnets.serving import export, server_files, warmup
    from keras_resnets.serving.formats import read_metadata
    from keras_resnets.serving.versions import exports

    other_formats.check_flags(_RUN_DIR.value, OF_SAVED_MODELS)
    if _MODEL.value and flags.FLAGS["checkpoint"].present:
        raise UserError("--checkpoint is for --run_dir, --model is one file: give one of them")
    path = _MODEL.value or os.path.join(_RUN_DIR.value, f"{_CHECKPOINT.value}.keras")
    name = os.path.basename(os.path.abspath(_RUN_DIR.value or path)).removesuffix(".keras")
    root, name = _ROOT.value, _NAME.value or other_formats.default_name(name)
    sizes, label = batch_sizes(), _VERSION_LABEL.value
    entry = {"label": label, "base_path": _BASE_PATH.value}
    has_entry = _MODELS_CONFIG.value or any(value is not None for value in entry.values())
    # What would fail at the end of a long export fails now.
    if has_entry:
        server_files.check_models_config(root, name, **entry)
    if _BATCHING.value:
        server_files.check_batching_parameters(root, sizes)

    model = load_model(path)
    folder = os.path.join(root, name)
    before = exports(folder)
    limit = {"max_pixels": _MAX_PIXELS.value} if _MAX_PIXELS.value else {}
    common = {"checkpoint": path, "keep": _KEEP.value, **limit}
    if other_formats.is_other():
        other_formats.export_other(model, name, root, _RUN_DIR.value, **common)
    else:
        precision = other_formats.precision()
        version = export(
            model, name, root, _TOP.value, precision=precision, warmup_batch_sizes=sizes, **common
        )
        print(f"exported {path} to {version}")
        other_formats.print_difference(read_metadata(version))
    if not other_formats.is_other() and sizes is None and not warmup.has_serving_api():
        print(f"without warm-up requests: a file of them {warmup.MISSING}")
    for old in sorted({*before} - {*exports(folder)}):
        print(f"removed {os.path.join(folder, str(old))} (--keep={_KEEP.value})")
    if has_entry:
        number = int(os.path.basename(version))
        print(f"wrote {server_files.update_models_config(root, name, number, **entry)}")
        if not server_files.is_listed(root, name, number):
            print(f"version {number} is not served: models.config lists others (--version_label)")
    if _BATCHING.value:
        print(f"wrote {server_files.write_batching_parameters(root, sizes)}")


def batch_sizes():
    """The sizes to warm up with, or `None` if they were not given."""
    try:
        return None if _WARMUP.value is None else [int(size) for size in _WARMUP.value]
    except ValueError:
        raise UserError(
            "--warmup_batch_sizes must be positive integers such as 1,2,4. "
            f"Received: {','.join(_WARMUP.value)}"
        ) from None


if __name__ == "__main__":
    run(main)
