"""Networks: stem -> stages -> head, one file a family."""

from keras_resnets.models import resnet  # noqa: F401  (a family's file registers its names)
from keras_resnets.models.network import Network, Stage
from keras_resnets.models.preprocessing import Preprocessing
from keras_resnets.models.registry import create_model, list_models, options_of, public_builders

__all__ = [
    "Network",
    "Preprocessing",
    "Stage",
    "create_model",
    "list_models",
    "options_of",
    "public_builders",
]
