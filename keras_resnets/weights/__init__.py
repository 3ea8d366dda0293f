"""Other people's trained weights: `ResNet50(weights="IMAGENET1K_V2")`, `weights.open("x.pth")`."""

from keras_resnets.models import registry
from keras_resnets.weights.files import read
from keras_resnets.weights.loading import DIALECTS, build, load, locate
from keras_resnets.weights.loading import open_network as open  # noqa: A004
from keras_resnets.weights.named import SETS, NamedWeights
from keras_resnets.weights.writing import check_writable, save, write_new

registry.load_weights_by(build)

__all__ = [
    "DIALECTS",
    "SETS",
    "NamedWeights",
    "build",
    "check_writable",
    "load",
    "locate",
    "open",
    "read",
    "save",
    "write_new",
]
