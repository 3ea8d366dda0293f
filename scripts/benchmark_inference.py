"""The speed of exports for scripts/benchmark.py: each format, against what else serves ResNet-50.

All sides hold one network's architecture and the same number of multiplications, and take turns,
step by step, each in a process of its own; the ratios quoted are medians of those of neighbouring
steps. Images are pixels in the size of the network: `--suite=input` measures reading files.
"""

import concurrent.futures
import contextlib
import importlib.util
import multiprocessing
import os
import pathlib
import statistics
import sys
import tempfile

from absl import flags
from benchmark_machine import gemm_rates, processor
from benchmark_process import Worker
from cli import COUNT

from keras_resnets.errors import UserError

WORKER = pathlib.Path(__file__).with_name("benchmark_inference_worker.py")
SIDE = 224
# case: what is compared, options of `ResNet50`
INFERENCE_CASES = {
    "keras_applications": (
        "ResNet50(stride_in='1x1') against keras.applications.ResNet50().export()",
        {"stride_in": "1x1"},
    ),
    "torchvision": ("ResNet50() against torchvision's resnet50, both v1.5", {}),
}
POLICIES = ("float32", "mixed_bfloat16")  # what there are exports in
CALIBRATION_IMAGES = 16
KIND_OF = {"keras.applications": "saved_model"}  # where a side's name is not that of its kind

_BATCHES = flags.DEFINE_multi_integer(
    "batch", [1, 16], "Batch sizes (--suite=inference); give it once for each.", **COUNT
)
_TORCH_PYTHON = flags.DEFINE_string(
    "torch_python", ".venv-torch/bin/python", "A Python that has torchvision (--suite=inference)."
)


def write_exports(case, precisions, folder):
    """Writes our exports and those of what they are compared with.

    Returns:
        Dictionary from a side's name to its path.
    """
    import keras
    import numpy as np

    import keras_resnets
    from keras_resnets.serving import export, export_openvino

    model = keras_resnets.ResNet50(**INFERENCE_CASES[case][1])
    model.preprocessing = keras_resnets.Preprocessing((0.5,) * 3, (0.25,) * 3)
    paths = {}
    for precision in precisions:
        paths["saved_model", precision] = export(model, precision, folder, precision=precision)
    if has_openvino():
        with_int8 = ("int8",) if case == "keras_applications" else ()
        for precision in (*precisions, *with_int8):
            kwargs = {}
            if precision == "int8":
                shape = (CALIBRATION_IMAGES, SIDE, SIDE, 3)
                pixels = np.random.default_rng(0).integers(0, 256, shape).astype("uint8")
                kwargs["calibration"] = list(pixels)
            name = f"openvino_{precision}"
            version = export_openvino(model, name, folder, precision=precision, **kwargs)
            paths["openvino", precision] = os.path.join(version, "model.xml")
    if case == "keras_applications":
        path = os.path.join(folder, "keras_applications")
        keras.applications.ResNet50(weights=None).export(path, verbose=False)
        paths["keras.applications", "float32"] = path
    return paths


def has_openvino():
    return all(importlib.util.find_spec(name) for name in ("openvino", "nncf"))


def has_torch():
    return pathlib.Path(_TORCH_PYTHON.value).exists()


def make_sides(case, paths, precisions, batch, stack):
    """A process for each side of a case: names, precisions and workers."""
    sides = {
        (kind, precision): (KIND_OF.get(kind, kind), path, sys.executable)
        for (kind, precision), path in paths.items()
    }
    if case == "keras_applications" and has_openvino():
        theirs = paths["keras.applications", "float32"]
        for precision in precisions:
            sides["openvino of it", precision] = ("openvino", theirs, sys.executable)
    if case == "torchvision" and has_torch():
        for precision in precisions:
            sides["torch", precision] = ("torch", "", _TORCH_PYTHON.value)
    workers = {}
    for (kind, precision), (runner, path, python) in sides.items():
        computed = "bfloat16" if precision == "bfloat16" else "float32"  # int8 tells by itself
        command = [python, str(WORKER), runner, path, computed, str(batch), str(SIDE)]
        workers[kind, precision] = Worker(command)
        stack.callback(workers[kind, precision].end)
    return workers


def step(side, worker):
    """Seconds of one step of a side."""
    answer = worker.ask()
    if "error" in answer:
        raise UserError(f"{' in '.join(side)} cannot be timed: {answer['error']}")
    return answer["seconds"]


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
    gemm = elsewhere(gemm_rates).items()
    rates = ", ".join(f"{name} {rate:.0f} GFLOP/s" for name, rate in gemm)
    print(f"{processor()}, {os.cpu_count()} cores; GEMM: {rates}", flush=True)
    if not has_openvino():
        print("no OpenVINO: pip install 'keras_resnets[openvino]'")
    if "torchvision" in cases and not has_torch():
        print(f"no torch: {_TORCH_PYTHON.value} is not there (scripts/torch_env.sh makes it)")


def elsewhere(function, *arguments):
    """What a function returns in a process of its own, which gives back all of its memory."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def run_inference(cases, policies, turns, warmup):
    """Yields the rows of the cases and prints them."""
    precisions = [policy.removeprefix("mixed_") for policy in policies]
    print_what_there_is(cases)
    for case in cases:
        print(f"{case}: {INFERENCE_CASES[case][0]}")
        print(f"{'batch':>5} {'side':19} {'precision':9} {'images/s':>9} {'ms':>9}  speed-ups")
        with tempfile.TemporaryDirectory() as folder:
            paths = elsewhere(write_exports, case, precisions, folder)
            for batch in _BATCHES.value:
                with contextlib.ExitStack() as stack:
                    workers = make_sides(case, paths, precisions, batch, stack).items()
                    steps = [[step(*each) for each in workers] for _ in range(warmup + turns)]
                columns = zip(*steps[warmup:], strict=True)
                times = {side: column for (side, _), column in zip(workers, columns, strict=True)}
                for row in compared(times, batch):
                    row["case"] = case
                    print(printed(row), flush=True)
                    yield row
