"""The feature maps of a network, for detection, segmentation and the like."""

from collections.abc import Hashable, Mapping

import keras

from keras_resnets.checks import check_choice
from keras_resnets.errors import UserError


class FeatureMaps(dict):
    """A dictionary of the maps of one network, as Keras tensors, in the order of the network.

    Called with images `(batch, height, width, channels)` it computes them: a dictionary with the
    same keys, of tensors `(batch, height / stride, width / stride, channels)`, sides rounded up.

    Attributes:
        strides: Dictionary from key to stride, input pixels a pixel of the map.
        model: `keras.Model` from images to a list of the maps.
    """

    def __init__(self, image, maps: Mapping[Hashable, object], strides: Mapping[Hashable, int]):
        super().__init__(maps)
        self.strides = dict(strides)
        self.model = keras.Model(image, list(maps.values()))

    def __call__(self, images, training=False):
        return dict(zip(self, self.model(images, training=training), strict=True))


def feature_extractor(model, by="stride"):
    """The feature maps of a network.

    A map is what a stage hands on: after the block's ReLU, in pre-activation nets after the BN-ReLU
    that follows the stage, in nets of several paths joined as the net itself joins them
    (concatenated in dual-path nets, the mean of merge-and-run's streams). With the imagenet stem
    there is also the map before the max-pool, at stride 2.

    Args:
        model: `Network`, with or without its top. Its layers are shared, not copied.
        by: `"stride"`, the last map at each stride: keys 4, 8, 16, 32. Stages whose stride became
            dilation share their stride, of which the last has the map. `"stage"`, the map of the
            stem and of every stage: keys `"stem"`, `"stage1"`, ... Defaults to `"stride"`.

    Returns:
        `FeatureMaps`, a dictionary of Keras tensors with their strides.

    Raises:
        ValueError: If `model` is not a `Network` or `by` not legal.
    """
    check_choice("by", by, ("stride", "stage"))
    if not hasattr(model, "stages"):
        raise UserError(f"`model` must be a keras_resnets.Network. Received: model={model!r}")
    image = model.input
    maps = [
        ("stem", stride, model.joined(x))
        for stride, x in model.stem.maps.items()
    ]
    maps = [row for row in maps if row[2] is not image]  # without a stem
    for stage in model.stages:
        tensor = model.joined(stage.output) if stage.map is None else stage.map
        maps.append((stage.name, stage.stride, tensor))
    if by == "stride":
        maps = [(stride, stride, tensor) for _, stride, tensor in maps]
    found = {key: tensor for key, _, tensor in maps}
    return FeatureMaps(image, found, {key: stride for key, stride, _ in maps})
