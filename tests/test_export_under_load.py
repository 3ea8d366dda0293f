"""An export that answers for long, and to many at once."""

import ast
import concurrent.futures
import sys

import numpy as np
import pytest
import tensorflow as tf
from test_export import encode, pictures, small_network

import keras_resnets
from keras_resnets import Preprocessing
from keras_resnets.serving import export

REQUESTS = """
import gc
import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context

first, last = {first}, {last}
signatures = tf.saved_model.load({path!r}).signatures
rng = np.random.default_rng(0)

def pixels(*shape):
    return rng.integers(0, 256, (*shape, 3), dtype=np.uint8)

def resident():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

def traced():
    return len(context.context().list_function_names())

kinds = [tf.io.encode_jpeg, tf.io.encode_png]
files = [kinds[n % 2](pixels(*rng.integers(8, 200, 2))).numpy() for n in range(60)]
files += [b"", b"no image", files[0][:40], files[1][:40]]
for number in range(1, last + 1):
    name = list(signatures)[rng.integers(len(signatures))]
    if name == "predict_images":
        count, *sides = rng.integers((1, 8, 8), (9, 129, 129))
        answer = signatures[name](image=tf.constant(pixels(count, *sides)))
    else:
        count = rng.integers(1, 9)
        answer = signatures[name](image_bytes=tf.constant(rng.choice(files, count).tolist()))
    assert all(output.shape[0] == count for output in answer.values())
    if number == 20:
        functions = traced()
    if number == first:
        start = resident()
print((start, resident(), functions, traced()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize(
    ("first", "last", "growth"),
    # Memory settles in the first hundreds of requests.
    [(300, 600, 0.1), pytest.param(1000, 10_000, 0.05, marks=pytest.mark.slow)],
)
def test_memory_stays_and_nothing_is_traced_again(first, last, growth, run_python, tmp_path):
    model = keras_resnets.ResNet20(num_classes=10, input_shape=(32, 32, 3))
    model.preprocessing = Preprocessing((0.5,) * 3, (0.25,) * 3, resize=(32, 32))
    path = export(model, "net", tmp_path)
    done = run_python(REQUESTS.format(path=path, first=first, last=last))
    start, end, functions, later = ast.literal_eval(done.stdout)
    print(f"{start / 2**20:.0f} MiB after {first} requests, {end / 2**20:.0f} after {last}")
    assert functions == later
    assert end <= (1 + growth) * start


def test_eight_threads_at_once(rng, tmp_path):
    signatures = tf.saved_model.load(export(small_network(), "net", tmp_path)).signatures
    images = pictures(rng)
    files = [encode(image, "PNG") for image in images] + [b"no image"]
    requests = []
    for number in range(160):
        name = list(signatures)[number % len(signatures)]
        if name == "predict_images":
            inputs = images[number % len(images)][None]
        else:
            inputs = rng.choice(files, 1 + number % 7).tolist()
        requests.append((signatures[name], tf.constant(inputs)))
    expected = [signature(inputs) for signature, inputs in requests]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda request: request[0](request[1]), requests))
    for answer, alone in zip(answers, expected, strict=True):
        for name, values in alone.items():
            if values.dtype.is_floating:
                np.testing.assert_allclose(answer[name], values, atol=1e-6)
            else:
                np.testing.assert_array_equal(answer[name], values)
