"""The speed of exports for scripts/benchmark.py: each format, against what else serves ResNet-50.

All sides hold one network's architecture and the same number of multiplications, and take turns,
step by step; the ratios quoted are medians of those of neighbouring steps. Images are pixels in the
size of the network: reading files is measured by `--suite=input`.
"""

import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

from absl import flags
from benchmark_machine import gemm_rates, processor
from cli import COUNT

from keras_resnets.errors import UserError

SIDE = 224
# case: what is compared, options of `ResNet50`
INFERENCE_CASES = {
    "keras_applications": (
        "ResNet50(stride_in='1x1') against keras.applications.ResNet50().export()",
        {"stride_in": "1x1"},
    ),
    "torchvision": ("ResNet50() against torchvision's resnet50, both v1.5", {}),
}
CALIBRATION_IMAGES = 16

_BATCHES = flags.DEFINE_multi_integer(
    "batch", [1, 16], "Batch sizes (--suite=inference); give it once for each.", **COUNT
)
_TORCH_PYTHON = flags.DEFINE_string(
    "torch_python", ".venv-torch/bin/python", "A Python that has torchvision (--suite=inference)."
)


class SavedModelSide:
    """A signature of a SavedModel on one fixed batch."""

    def __init__(self, path, name, images):
        import tensorflow as tf

        self._model = tf.saved_model.load(path)
        self._signature = self._model.signatures[name]
        (key, spec), *_ = self._signature.structured_input_signature[1].items()
        self._inputs = {key: tf.cast(images, spec.dtype)}

    def __call__(self):
        start = time.perf_counter()
        for values in self._signature(**self._inputs).values():
            values.numpy()
        return time.perf_counter() - start


class OpenVINOSide:
    """An OpenVINO model, compiled for one precision, on one fixed batch."""

    def __init__(self, model, images, precision):
        import openvino

        settings = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        compiled = openvino.Core().compile_model(model, "CPU", settings)
        self._request = compiled.create_infer_request()
        self._images = images.astype(compiled.input(0).element_type.to_dtype())

    def __call__(self):
        start = time.perf_counter()
        self._request.infer([self._images])
        return time.perf_counter() - start


class TorchSide:
    """torchvision's ResNet-50 in a process of its own, on one batch of the same size."""

    def __init__(self, batch, precision):
        self._process = subprocess.Popen(
            [_TORCH_PYTHON.value, str(pathlib.Path(__file__).with_name("benchmark_torch.py")),
             str(batch), str(SIDE), precision],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )

    def __call__(self):
        with contextlib.suppress(BrokenPipeError):
            print(file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise UserError(f"{_TORCH_PYTHON.value} cannot run torchvision's resnet50")
        return json.loads(answer)

    def end(self):
        self._process.kill()
        self._process.wait()


def write_exports(case, folder, images):
    """Writes our exports and those of what they are compared with.

    Returns:
        Dictionary from a side's name to its path.
    """
    import keras

    import keras_resnets
    from keras_resnets.serving import export, export_openvino

    model = keras_resnets.ResNet50(**INFERENCE_CASES[case][1])
    model.preprocessing = keras_resnets.Preprocessing((0.5,) * 3, (0.25,) * 3)
    paths = {}
    for precision in ("float32", "bfloat16"):
        paths["saved_model", precision] = export(model, precision, folder, precision=precision)
    if has_openvino():
        with_int8 = ("int8",) if case == "keras_applications" else ()
        for precision in ("float32", "bfloat16", *with_int8):
            kwargs = {"calibration": list(images)} if precision == "int8" else {}
            name = f"openvino_{precision}"
            paths["openvino", precision] = export_openvino(
                model, name, folder, precision=precision, **kwargs
            )
    if case == "keras_applications":
        path = os.path.join(folder, "keras_applications")
        keras.applications.ResNet50(weights=None).export(path, verbose=False)
        paths["keras.applications", "float32"] = path
    return paths


def has_openvino():
    try:
        import nncf  # noqa: F401
        import openvino  # noqa: F401
    except ImportError:
        return False
    return True


def has_torch():
    return pathlib.Path(_TORCH_PYTHON.value).exists()


def make_sides(case, paths, images, stack):
    """The sides of a case on a batch of images: names, precisions and steps."""
    sides = {}
    for (kind, precision), path in paths.items():
        if kind == "openvino":
            hint = "bf16" if precision == "bfloat16" else "f32"
            model = os.path.join(path, "model.xml")
            sides[kind, precision] = OpenVINOSide(model, images, hint)
        else:
            name = "predict_images" if kind == "saved_model" else "serving_default"
            sides[kind, precision] = SavedModelSide(path, name, images)
    if case == "keras_applications" and has_openvino():
        import openvino

        theirs = openvino.convert_model(paths["keras.applications", "float32"])
        for precision, hint in (("float32", "f32"), ("bfloat16", "bf16")):
            sides["openvino of it", precision] = OpenVINOSide(theirs, images, hint)
    if case == "torchvision" and has_torch():
        for precision in ("float32", "bfloat16"):
            sides["torch", precision] = TorchSide(len(images), precision)
            stack.callback(sides["torch", precision].end)
    return sides


def compared(times, batch):
    """Rows of a case's sides: rates, and ratios to the sides that others compare with."""
    references = ("keras.applications", "openvino of it", "torch")
    rows = []
    for (kind, precision), seconds in times.items():
        row = {"side": kind, "precision": precision, "batch_size": batch}
        row["milliseconds"] = statistics.median(seconds) * 1e3
        row["images_per_second"] = batch / statistics.median(seconds)
        for other in references:
            # int8 and bfloat16 against float32 where the other has nothing else
            for theirs in dict.fromkeys((precision, "float32")):
                if (other, theirs) in times and (other, theirs) != (kind, precision):
                    pairs = zip(times[other, theirs], seconds, strict=True)
                    row[f"{other}, {theirs}"] = statistics.median(b / a for b, a in pairs)
        if ("saved_model", "float32") in times and precision == "int8":
            pairs = zip(times["saved_model", "float32"], seconds, strict=True)
            row["saved_model, float32"] = statistics.median(b / a for b, a in pairs)
        rows.append(row)
    return rows


def printed(row):
    """The line of a row."""
    fixed = ("side", "precision", "batch_size", "milliseconds", "images_per_second", "case")
    ratios = [f"{value:.2f}x {key}" for key, value in row.items() if key not in fixed]
    return (
        f"{row['batch_size']:5} {row['side']:19} {row['precision']:9} "
        f"{row['images_per_second']:9.1f} {row['milliseconds']:9.1f}  {'; '.join(ratios)}"
    )


def print_what_there_is(cases):
    rates = ", ".join(f"{name} {rate:.0f} GFLOP/s" for name, rate in gemm_rates().items())
    print(f"{processor()}, {os.cpu_count()} cores; GEMM: {rates}")
    if not has_openvino():
        print("no OpenVINO: pip install 'keras_resnets[openvino]'")
    if "torchvision" in cases and not has_torch():
        print(f"no torch: {_TORCH_PYTHON.value} is not there (scripts/torch_env.sh makes it)")


def run_inference(cases, turns, warmup):
    """Yields the rows of the cases and prints them."""
    import numpy as np

    print_what_there_is(cases)
    noise = np.random.default_rng(0)
    pixels = noise.integers(0, 256, (CALIBRATION_IMAGES, SIDE, SIDE, 3)).astype("uint8")
    for case in cases:
        print(f"{case}: {INFERENCE_CASES[case][0]}")
        print(f"{'batch':>5} {'side':19} {'precision':9} {'images/s':>9} {'ms':>9}  speed-ups")
        with tempfile.TemporaryDirectory() as folder:
            paths = write_exports(case, folder, pixels)
            for batch in _BATCHES.value:
                with contextlib.ExitStack() as stack:
                    images = np.resize(pixels, (batch, SIDE, SIDE, 3))
                    sides = make_sides(case, paths, images, stack)
                    for _ in range(warmup):
                        for side in sides.values():
                            side()
                    steps = [[side() for side in sides.values()] for _ in range(turns)]
                    times = dict(zip(sides, zip(*steps, strict=True), strict=True))
                for row in compared(times, batch):
                    row["case"] = case
                    print(printed(row), flush=True)
                    yield row
