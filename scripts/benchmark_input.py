"""The speed of the input for scripts/benchmark.py: chains, folders of JPEG files, and opening them.

Each version of the package works in a process of its own, and they take turns: a few seconds of
batches from one, then from the next. The ratios quoted are medians of those of neighbouring turns.
"""

import contextlib
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

ROOT = pathlib.Path(__file__).resolve().parents[1]
WORKER = ROOT / "scripts" / "benchmark_input_worker.py"
PHOTOS = 128
# case: what is measured, and whether bare TensorFlow operations are timed in turn with it
CASES = {
    "cifar": ("crop, flip, normalize; 50,000 arrays of 32x32, batches of 128", False),
    "article": ("flip, rotate, translate, erase, crop, normalize; the same arrays", False),
    "crops": ("random-resized-crop to 224 of JPEG files of 500x375, batches of 32", True),
    "evaluation": ("JPEG files resized to 256, centre of 224, batches of 32", True),
    "opening": ("a folder of small JPEG files, the first and the second time", False),
}

_AGAINST = flags.DEFINE_string(
    "against", None, "Checkout of another version of the package, timed in turn (--suite=input)."
)
_THREADS = flags.DEFINE_integer(
    "threads", 0, "Cores that each side may use (--suite=input); 0 for all.", lower_bound=0
)
_FILES = flags.DEFINE_integer("files", 100_000, "Files of the case `opening`.", **COUNT)
_SECONDS = flags.DEFINE_float("seconds", 3.0, "Length of a turn (--suite=input).", lower_bound=0.1)


def write_photos(folder):
    """Writes JPEG files of about 500x375 pixels and 60 KB, smooth with some noise."""
    import numpy as np
    import tensorflow as tf

    noise = np.random.default_rng(0)
    for place in range(PHOTOS):
        sides = 375, 500 + place % 3  # of one size they would be kept in memory
        coarse = noise.integers(0, 256, (24, 32, 3))
        image = tf.image.resize(coarse, sides, "bicubic") + noise.normal(0, 6, (*sides, 3))
        _write(folder / f"class{place % 2}" / f"{place}.jpg", image)


def write_small(folder, count):
    """Writes JPEG files of about 64x48 pixels; few are different, the others are links to them."""
    import numpy as np

    noise = np.random.default_rng(0)
    first = []
    for place in range(count):
        path = folder / f"class{place % 10}" / f"{place}.jpg"
        if place < 20 or place % 50_000 < 20:  # a file takes so many links only
            first = first if place % 50_000 else []
            _write(path, noise.integers(0, 256, (48, 64 + place % 3, 3)))
            first.append(path)
        else:
            os.link(first[place % len(first)], path)


def _write(path, pixels):
    import tensorflow as tf

    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = tf.cast(tf.clip_by_value(tf.cast(pixels, tf.float32), 0, 255), tf.uint8)
    path.write_bytes(tf.io.encode_jpeg(pixels, quality=90).numpy())


def in_turns(case, workers, folder, turns, warmup):
    """Times a case's sides in turn. Returns a JSON-able row."""
    sides = [(name, worker, case) for name, worker in workers.items()]
    if CASES[case][1]:
        sides.append(("bare", workers["this"], f"bare {case}"))
    row, rates = {"case": case, "what": CASES[case][0]}, {}
    for turn in range(warmup + turns):
        for name, worker, request in sides:
            if f"{name}_error" in row:
                continue
            answer = worker.ask(case=request, folder=str(folder), seconds=_SECONDS.value)
            if "error" in answer:
                row[f"{name}_error"] = answer["error"]
            elif turn >= warmup:
                rates.setdefault(name, []).append(answer["images_per_second"])
    for name, values in rates.items():
        row[f"{name}_images_per_second"] = statistics.median(values)
        if name != "this" and "this" in rates:
            pairs = zip(rates["this"], values, strict=True)
            row[f"against_{name}"] = statistics.median(own / other for own, other in pairs)
    return row


def opening(workers, folder):
    """Times opening a folder twice, by each version. Returns a JSON-able row."""
    row = {"case": "opening", "what": CASES["opening"][0], "files": _FILES.value}
    for name, worker in workers.items():
        for time in ("first", "second"):
            answer = worker.ask(case="opening", folder=str(folder))
            if "error" in answer:
                row[f"{name}_error"] = answer["error"]
                break
            row[f"{name}_{time}_seconds"] = answer["seconds"]
    return row


def printed(row):
    """The lines of a row."""
    units = {"images_per_second": "{:,.0f} images/s", "seconds": "{:.1f} s"}
    figures = []
    for name in ("this", "other", "bare"):
        for key, value in row.items():
            unit = next((text for end, text in units.items() if key.endswith(end)), None)
            if key.startswith(name) and unit:
                label = key.removesuffix("_images_per_second").removesuffix("_seconds")
                figures.append(f"{label.replace('_', ' ')} {unit.format(value)}")
        if f"against_{name}" in row:
            figures[-1] += f" ({row[f'against_{name}']:.2f}x)"
        if f"{name}_error" in row:
            figures.append(f"{name} cannot be timed: {row[f'{name}_error']}")
    return f"{row['case']:11} {', '.join(figures)}\n            {row['what']}"


def run_input(cases, turns, warmup):
    """Yields the rows of the cases and prints them."""
    roots = {"this": ROOT}
    if _AGAINST.value is not None:
        roots["other"] = pathlib.Path(_AGAINST.value).expanduser().resolve()
        if not (roots["other"] / "keras_resnets").is_dir():
            raise UserError(
                "`--against` must be a checkout of the package. "
                f"Received: --against={_AGAINST.value}"
            )
    rates = ", ".join(f"{name} {rate:.0f} GFLOP/s" for name, rate in gemm_rates().items())
    cores = _THREADS.value or os.cpu_count()
    print(f"{processor()}, {cores} cores for each side; GEMM on {os.cpu_count()}: {rates}")
    with tempfile.TemporaryDirectory() as root, contextlib.ExitStack() as stack:
        folder, workers = pathlib.Path(root), {}
        for name, path in roots.items():
            workers[name] = Worker(
                [sys.executable, str(WORKER), str(_THREADS.value)],
                PYTHONPATH=str(path), XDG_CACHE_HOME=str(folder / f"cache_{name}"),
            )
            stack.callback(workers[name].end)
        if any(CASES[case][1] for case in cases):
            write_photos(folder / "photos")
        for case in cases:
            if case == "opening":
                write_small(folder / "small", _FILES.value)
                row = opening(workers, folder / "small")
            else:
                row = in_turns(case, workers, folder / "photos", turns, warmup)
            print(printed(row), flush=True)
            yield row
