"""Initialisers that some families need besides the default of `Conv2D`."""

# He initialisation by fan-in with an untruncated normal: N(0, 2 / (kernel area * input channels)).
# A config, not an object: Keras 3 gives equal values to equal shapes from one shared initialiser.
HE_FAN_IN = {
    "class_name": "VarianceScaling",
    "config": {"scale": 2.0, "mode": "fan_in", "distribution": "untruncated_normal"},
}
