"""Times one side of scripts/benchmark.py --suite=inference, in a process of its own.

    python benchmark_inference_worker.py KIND PATH float32|bfloat16 BATCH SIDE

Each line on standard input asks for one step on a fixed batch of noise; the answer is a JSON object
with its `seconds`. Of a kind's packages it imports only those: torch has an environment of its own.
"""

import json
import os
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # before TensorFlow is imported
sys.modules["openvino_telemetry"] = None  # reports nothing to anyone
import numpy as np  # noqa: E402


def saved_model(path, precision, pixels):
    """The signature of a SavedModel that takes pixels; all that it answers is read."""
    import tensorflow as tf

    signatures = tf.saved_model.load(path).signatures
    name = "predict_images" if "predict_images" in signatures else "serving_default"
    signature = signatures[name]
    ((key, spec),) = signature.structured_input_signature[1].items()
    images = tf.cast(pixels, spec.dtype)
    return lambda: [values.numpy() for values in signature(**{key: images}).values()]


def openvino(path, precision, pixels):
    """An OpenVINO model, or what OpenVINO makes of a SavedModel, compiled for one precision."""
    import openvino as ov

    model = path if path.endswith(".xml") else ov.convert_model(path)
    hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
    settings = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    compiled = ov.Core().compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()
    images = pixels.astype(compiled.input(0).element_type.to_dtype())
    return lambda: request.infer([images])


def torch(path, precision, pixels):
    """torchvision's ResNet-50; `path` is not used."""
    import torch as pytorch
    import torchvision

    layout = {"dtype": getattr(pytorch, precision), "memory_format": pytorch.channels_last}
    model = torchvision.models.resnet50().eval().to(**layout)
    images = pytorch.from_numpy(pixels).permute(0, 3, 1, 2).to(**layout)

    def step():
        with pytorch.inference_mode():
            return model(images).softmax(-1)

    return step


KINDS = {"saved_model": saved_model, "openvino": openvino, "torch": torch}


def main(kind, path, precision, batch, side):
    pixels = np.random.default_rng(0).integers(0, 256, (int(batch), int(side), int(side), 3))
    step = None
    for _ in sys.stdin:
        try:
            step = step or KINDS[kind](path, precision, pixels.astype("uint8"))
            start = time.perf_counter()
            step()
            answer = {"seconds": time.perf_counter() - start}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
