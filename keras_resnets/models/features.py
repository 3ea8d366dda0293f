"""The feature maps of a network by their stride, for detection, segmentation and the like."""

import math

import keras

PROBE_SIDE = 512  # pixels at which the strides of a model of any input size are measured


class FeatureMaps(dict):
    """A dictionary from stride to map, as Keras tensors of one network.

    Called with images `(batch, height, width, channels)` it computes them: a dictionary from
    stride to `(batch, ceil(height / stride), ceil(width / stride), channels)`.

    Attributes:
        model: `keras.Model` from images to a list of the maps, in the order of the strides.
    """

    def __init__(self, image, maps):
        super().__init__(maps)
        self.model = keras.Model(image, list(maps.values()))

    def __call__(self, images, training=False):
        return dict(zip(self, self.model(images, training=training), strict=True))


def feature_extractor(model):
    """The last feature map at each stride of a network.

    A map is what a stage hands on: after the block's ReLU, in pre-activation nets after the BN-ReLU
    that follows the stage, in nets of several paths joined as the net itself joins them
    (concatenated in dual-path nets, the mean of merge-and-run's streams). With the imagenet stem
    there is also the map before the max-pool, at stride 2.

    Args:
        model: `Network`, with or without its top. Its layers are shared, not copied.

    Returns:
        `FeatureMaps`, a dictionary from stride (int) to Keras tensor, in ascending order.
    """
    nodes = [node for depth in model._nodes_by_depth.values() for node in depth]
    consumers = {}
    for node in nodes:
        for tensor in node.input_tensors:
            consumers.setdefault(id(tensor), []).append(node)
    maps = {}
    for tensor in _boundaries(nodes, consumers, model):
        maps[_stride(model, tensor)] = tensor
    return FeatureMaps(model.input, dict(sorted(maps.items())))


def _boundaries(nodes, consumers, model):
    """The map before the stem's pool, then that of each stage."""
    by_name = {node.operation.name: node for node in nodes}
    if "stem_pool" in by_name:
        yield by_name["stem_pool"].input_tensors[0]
    parts = {_part(name) for name in by_name if name.startswith("stage")}
    for part in sorted(parts, key=lambda part: int(part.removeprefix("stage"))):
        paths = [
            tensor
            for node in nodes
            if _part(node.operation.name) == part
            for tensor in node.output_tensors
            if any(_part(user.operation.name) != part for user in consumers.get(id(tensor), []))
            or any(tensor is output for output in model.outputs)
        ]
        yield _activated(_joined(paths, consumers), consumers)


def _joined(paths, consumers):
    """One tensor of the paths: what the next stage makes of them all, or else their mean."""
    if len(paths) == 1:
        return paths[0]
    for node in consumers.get(id(paths[0]), []):
        taken = {id(tensor) for tensor in node.input_tensors}
        if taken == {id(path) for path in paths}:
            return node.output_tensors[0]
    return keras.layers.Average()(paths)


def _activated(tensor, consumers):
    """The tensor after the batch norm and ReLU that follow it, if any."""
    for kinds in (
        (keras.layers.BatchNormalization, keras.layers.GroupNormalization),
        (keras.layers.ReLU, keras.layers.Activation, keras.layers.ELU),
    ):
        for node in consumers.get(id(tensor), []):
            if isinstance(node.operation, kinds):
                tensor = node.output_tensors[0]
                break
    return tensor


def _stride(model, tensor):
    """Input pixels a pixel of the map; sides are rounded up, so the nearest power of two."""
    side, small = model.input_shape[1], tensor.shape[1]
    if side is None or small is None:
        side = PROBE_SIDE
        probe = keras.Model(model.input, tensor)
        small = probe.compute_output_shape((1, side, side, model.input_shape[-1]))[1]
    return 2 ** round(math.log2(side / small))


def _part(name):
    return name.split("_")[0]
