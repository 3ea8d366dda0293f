"""The initialisers of the networks.

Configs, not objects: Keras 3 gives equal values to equal shapes from one shared initialiser.
"""


def _variance_scaling(scale, mode, distribution):
    return {
        "class_name": "VarianceScaling",
        "config": {"scale": scale, "mode": mode, "distribution": distribution},
    }


# He initialisation with an untruncated normal: N(0, 2 / (kernel area * output channels)), as
# fb.resnet.torch and torchvision, and the same by input channels, as Wide ResNet and FuseNet.
HE_FAN_OUT = _variance_scaling(2.0, "fan_out", "untruncated_normal")
HE_FAN_IN = _variance_scaling(2.0, "fan_in", "untruncated_normal")
# Caffe's filler "xavier": uniform by fan-in.
XAVIER = _variance_scaling(1.0, "fan_in", "uniform")


def uniform_by_features(features):
    """Uniform in +-1 / sqrt(features): torch's initialisation of a linear layer, kernel and bias.

    Args:
        features: Int. Inputs of the layer.
    """
    bound = features**-0.5
    return {"class_name": "RandomUniform", "config": {"minval": -bound, "maxval": bound}}


def constant(value):
    """All entries `value`."""
    return {"class_name": "Constant", "config": {"value": value}}
