"""Speed: pairs of networks timed in turn, every family in one table, the input, and exports.

    python scripts/benchmark.py                          # all pairs, float32 and mixed_bfloat16
    python scripts/benchmark.py --cases=resnet50 --precisions=float32 --json=speed.json
    python scripts/benchmark.py --suite=families         # images a second of each family, with MACs
    python scripts/benchmark.py --suite=lesions          # all single lesions against evaluations
    python scripts/benchmark.py --suite=input --against=../old  # images read and augmented, each s
    python scripts/benchmark.py --suite=inference        # exports of each format, against others

A case compares this package ("ours") with a reference. Both sides are warmed up; then they take
turns, step by step, so that whatever else the machine does falls on both. The speed-up quoted is
the median of the ratios of neighbouring steps, the times are medians of single steps.
"""

import json
import os
import statistics
import time

from absl import flags
from benchmark_inference import INFERENCE_CASES, POLICIES, run_inference
from benchmark_input import CASES, run_input
from benchmark_machine import machine
from benchmark_pairs import PAIRS, ours
from cli import COUNT, run

from keras_resnets.errors import UserError
from keras_resnets.training.recipe import PRECISIONS

_SUITE = flags.DEFINE_enum(
    "suite", "pairs", ["pairs", "families", "lesions", "input", "inference"], "What to measure."
)
_CASES = flags.DEFINE_list("cases", [], "Cases, or models with other suites; all by default.")
_IMAGES = flags.DEFINE_integer("images", 10_000, "Images of --suite=lesions.", **COUNT)
_PRECISIONS = flags.DEFINE_list(
    "precisions",
    ["float32", "mixed_bfloat16"],
    "Keras dtype policies to run each case under (--suite=pairs, families, inference).",
)
_STEPS = flags.DEFINE_integer("steps", 10, "Timed steps (or turns) of each side.", **COUNT)
_WARMUP = flags.DEFINE_integer("warmup", 2, "Steps (or turns) of each side before timing.", **COUNT)
_JSON = flags.DEFINE_string("json", None, "File for the results.")


# A net or more of each family: the first two lines at 224 pixels, the others at 32.
FAMILIES = (
    *("resnet18", "resnet50", "resnet50_v2", "resnext50_32x4d", "wide_resnet50_2", "plain34"),
    *("dpn68", "dpn92", "dfn_mr50"),
    *("resnet20", "resnet110", "resnet20_v2", "resnet164_v2", "wide_resnet16_4", "plain20"),
    *("resnext29_32x4d", "resnext29_8x64d", "dfn_mr1", "fractalnet20"),
)

LESIONS = ("resnet20", "resnet56", "resnet110", "plain56")


class Step:
    """One network under training on one fixed batch of noise, a step a call."""

    def __init__(self, build, batch_size):
        import keras
        import numpy as np
        import tensorflow as tf

        self.model = build()
        self.batch_size = batch_size
        self.model.compile(
            keras.optimizers.SGD(0.01, momentum=0.9),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=False,
        )
        noise = np.random.default_rng(0)
        shape = (batch_size, *self.model.input_shape[1:])
        self.images = tf.constant(noise.standard_normal(shape, dtype="float32"))
        self.labels = tf.constant(noise.integers(self.model.output_shape[-1], size=batch_size))

    def __call__(self):
        start = time.perf_counter()
        self.model.train_on_batch(self.images, self.labels)
        return time.perf_counter() - start


def measure_pair(case, precision):
    """Times both sides of a case in turn. Returns a JSON-able row."""
    import keras

    from keras_resnets.models.policies import dtype_policy

    name, reference, *builders, batch_size = PAIRS[case]
    keras.backend.clear_session()
    with dtype_policy(precision):
        sides = [Step(build, batch_size) for build in builders]
    for _ in range(_WARMUP.value):
        for side in sides:
            side()
    times = [[side() for side in sides] for _ in range(_STEPS.value)]
    mine, others = (statistics.median(column) for column in zip(*times, strict=True))
    return {
        "case": case,
        "what": name,
        "reference": reference,
        "precision": precision,
        "batch_size": batch_size,
        "images_per_second": batch_size / mine,
        "reference_images_per_second": batch_size / others,
        "speed_up": statistics.median(other / own for own, other in times),
        "steps": _STEPS.value,
    }


def measure_family(name, precision):
    """Times one network alone. Returns a JSON-able row."""
    import keras

    from keras_resnets.analysis import complexity
    from keras_resnets.models.policies import dtype_policy

    keras.backend.clear_session()
    with dtype_policy(precision):
        model = ours(name)
    batch_size = 16 if model.input_shape[1] == 224 else 64
    step = Step(lambda: model, batch_size)
    for _ in range(_WARMUP.value):
        step()
    rate = batch_size / statistics.median(step() for _ in range(_STEPS.value))
    macs = complexity(model).macs
    return {
        "model": name,
        "precision": precision,
        "input": model.input_shape[1],
        "batch_size": batch_size,
        "gmacs": macs / 1e9,
        "images_per_second": rate,
        "gmacs_per_second": rate * macs / 1e9,
        "steps": _STEPS.value,
    }


def measure_lesions(name):
    """Times all single lesions of a network and evaluations of it in turn. Returns a row."""
    import keras
    import numpy as np

    from keras_resnets.analysis import single_lesions

    keras.backend.clear_session()
    model = ours(name)
    noise = np.random.default_rng(0)
    images = noise.standard_normal((_IMAGES.value, *model.input_shape[1:]), dtype="float32")
    labels = noise.integers(model.output_shape[-1], size=len(images))
    model.predict(images[:500], batch_size=250, verbose=0)  # traced before it is timed
    ratios, count = [], 0
    for _ in range(min(_STEPS.value, 3)):
        start = time.perf_counter()
        model.predict(images, batch_size=250, verbose=0)
        evaluated = time.perf_counter()
        count = len(single_lesions(model, images, labels)[1])
        done = time.perf_counter()
        ratios.append((done - evaluated) / (evaluated - start))
    return {
        "model": name,
        "images": len(images),
        "lesions": count,
        "evaluation_seconds": evaluated - start,
        "evaluations": statistics.median(ratios),
    }


def run_pairs(cases):
    """Yields the rows of the pairs and prints them."""
    print(f"{'case':16} {'precision':15} {'images/s':>9} {'reference':>10} {'speed-up':>9}")
    for case in cases:
        for precision in _PRECISIONS.value:
            row = measure_pair(case, precision)
            print(
                f"{case:16} {precision:15} {row['images_per_second']:9.1f} "
                f"{row['reference_images_per_second']:10.1f} {row['speed_up']:8.2f}x"
                f"  {row['what']} against {row['reference']}",
                flush=True,
            )
            yield row


def run_families(names):
    """Yields the rows of the families and prints them."""
    print(
        f"{'model':16} {'precision':15} {'input':>5} {'batch':>5} {'GMACs':>7} {'images/s':>9} "
        f"{'GMACs/s':>8}"
    )
    for name in names:
        for precision in _PRECISIONS.value:
            row = measure_family(name, precision)
            print(
                f"{name:16} {precision:15} {row['input']:5} {row['batch_size']:5} "
                f"{row['gmacs']:7.3f} {row['images_per_second']:9.1f} "
                f"{row['gmacs_per_second']:8.1f}",
                flush=True,
            )
            yield row


def run_lesions(names):
    """Yields the rows of the lesions and prints them."""
    print(f"{'model':16} {'images':>7} {'lesions':>8} {'evaluation':>11} {'evaluations':>12}")
    for name in names:
        row = measure_lesions(name)
        print(
            f"{name:16} {row['images']:7} {row['lesions']:8} {row['evaluation_seconds']:9.1f} s "
            f"{row['evaluations']:12.1f}",
            flush=True,
        )
        yield row


def check_writable(path):
    """Raises an OSError where a file cannot be written; what is there stays as it is."""
    is_new = not os.path.exists(path)
    with open(path, "a", encoding="utf-8"):
        pass
    if is_new:
        os.remove(path)


def main():
    legal, measure = {
        "pairs": (PAIRS, run_pairs),
        "families": (FAMILIES, run_families),
        "lesions": (LESIONS, run_lesions),
        "input": (CASES, lambda cases: run_input(cases, _STEPS.value, _WARMUP.value)),
        "inference": (
            INFERENCE_CASES,
            lambda cases: run_inference(cases, _PRECISIONS.value, _STEPS.value, _WARMUP.value),
        ),
    }[_SUITE.value]
    for name, given, known in (
        ("cases", _CASES.value, legal),
        ("precisions", _PRECISIONS.value, POLICIES if _SUITE.value == "inference" else PRECISIONS),
    ):
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise UserError(f"`--{name}` must be of {', '.join(known)}. Received: {unknown}")
    if _JSON.value:
        check_writable(_JSON.value)
    rows = list(measure(_CASES.value or legal))
    if _JSON.value:
        with open(_JSON.value, "w", encoding="utf-8") as file:
            json.dump({"machine": machine(), "rows": rows}, file, indent=2)
        print(f"written: {_JSON.value}")


if __name__ == "__main__":
    run(main)
