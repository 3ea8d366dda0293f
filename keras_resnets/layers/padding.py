"""What `padding="same"` is at strides above 1: torch's and Caffe's, or TensorFlow's own."""

from typing import Literal

import tensorflow as tf

SamePadding = Literal["symmetric", "tensorflow"]


def same_pads(images, extents, strides, same_padding):
    """The pads of a window that moves over images, for `tf.pad`.

    Args:
        images: Tensor `(batch, height, width, channels)`.
        extents: Pair of ints. Height and width of the window, with its dilation; odd for
            `"symmetric"`.
        strides: Pair of ints.
        same_padding: `"symmetric"`, `(extent - 1) / 2` pixels on each side, whatever the side's
            length, as torch and Caffe; or `"tensorflow"`, as many as `ceil(side / stride)` outputs
            need, the odd one at the end (TensorFlow's `SAME`).

    Returns:
        `(4, 2)` pads: ints, or a tensor where they depend on sides that are only known in the run.
    """
    pads = [[0, 0]]
    for axis, (extent, stride) in enumerate(zip(extents, strides, strict=True), 1):
        if same_padding == "symmetric":
            pads.append([(extent - 1) // 2] * 2)
        else:
            side = images.shape[axis]
            side = tf.shape(images)[axis] if side is None else side
            needed = (-(-side // stride) - 1) * stride + extent - side
            total = tf.maximum(needed, 0) if tf.is_tensor(needed) else max(needed, 0)
            pads.append([total // 2, total - total // 2])
    return [*pads, [0, 0]]
