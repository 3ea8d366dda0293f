"""What the figures of scripts/benchmark.py depend on."""

import os
import pathlib
import platform
import statistics
import time

SIDE = 2048  # of the matrices that are multiplied


def machine():
    """The machine and the versions, for the JSON file."""
    import keras
    import tensorflow as tf

    return {
        "cores": os.cpu_count(),
        "processor": processor(),
        "gpus": len(tf.config.list_physical_devices("GPU")),
        "gemm_gflops": gemm_rates(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }


def processor():
    """The processor's name, as far as the system tells it."""
    path = pathlib.Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def gemm_rates(count=5):
    """Billions of floating-point operations a second in products of large square matrices.

    Args:
        count: Int, products of each type; the median is taken. Defaults to 5.

    Returns:
        Dictionary from `"float32"` and `"bfloat16"` to floats.
    """
    import tensorflow as tf

    rates = {}
    for name in ("float32", "bfloat16"):
        matrix = tf.cast(tf.random.stateless_uniform((SIDE, SIDE), (0, 0)), name)
        float(tf.linalg.matmul(matrix, matrix)[0, 0])  # what happens once
        seconds = []
        for _ in range(count):
            start = time.perf_counter()
            float(tf.linalg.matmul(matrix, matrix)[0, 0])
            seconds.append(time.perf_counter() - start)
        rates[name] = 2 * SIDE**3 / statistics.median(seconds) / 1e9
    return rates
