"""The names of keras.applications' ResNet50, ResNet101 and ResNet152 (Apache-2.0)."""

import dataclasses

import numpy as np

from keras_resnets.weights.dialect import Dialect, keras_slots
from keras_resnets.weights.guessing import residual_net

# Its batch norms have an epsilon of 1.001e-5, ours 1e-5: the variance takes the difference.
_EPSILON_SURPLUS = 1.001e-5 - 1e-5
_CONVOLUTION, _NORM = "_conv", "_bn"
_STEM = "conv1_conv/0"


def _prepare(tensors):
    """Moves biases into the moving means behind them, and turns the stem from BGR to RGB."""
    prepared = dict(tensors)
    for key in tensors:
        layer, _, number = key.partition("/")
        if number == "1" and layer.endswith(_CONVOLUTION):
            bias = prepared.pop(key)
            key = f"{layer.removesuffix(_CONVOLUTION)}{_NORM}/2"
            mean = tensors.get(key)
            if mean is not None:
                prepared[key] = _combined(mean, lambda m, bias=bias: m - bias.as_float32())
        elif number == "3" and layer.endswith(_NORM):
            prepared[key] = _combined(tensors[key], lambda v: np.float64(v) + _EPSILON_SURPLUS)
    if _STEM in tensors and tensors[_STEM].shape[2] == 3:
        prepared[_STEM] = _combined(tensors[_STEM], lambda kernel: kernel[:, :, ::-1])
    return prepared


def _combined(tensor, change):
    return dataclasses.replace(tensor, read=lambda: change(tensor.as_float32()))


def _version_2(tensors):
    """Why ResNet50V2 and its kin are refused; `None` for the others."""
    if any("preact_bn" in key for key in tensors):
        return (
            "keras.applications' V2 nets have biases before their additions and the stride in a "
            "stage's last block, which no network here has"
        )
    return None


APPLICATIONS = Dialect(
    name="keras_applications",
    source="keras-team/keras, keras/src/applications/resnet.py",
    ends={"stem_conv": "conv1_conv", "stem_bn": "conv1_bn", "logits": "predictions"},
    block="conv{next}_block{index}",
    parts={
        **{f"conv{number}": f"{number}_conv" for number in (1, 2, 3)},
        **{f"bn{number}": f"{number}_bn" for number in (1, 2, 3)},
        "shortcut_conv": "0_conv",
        "shortcut_bn": "0_bn",
    },
    family="resnet",
    describe=residual_net,
    options={"stride_in": "1x1"},
    mean=(123.68 / 255, 116.779 / 255, 103.939 / 255),
    std=(1 / 255,) * 3,  # it divides by nothing
    resize_share=0.875,
    slots=keras_slots,
    prepare=_prepare,
    refuse=_version_2,
)
