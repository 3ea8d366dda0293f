"""Networks: stem -> stages -> head, one file a family."""

from keras_resnets.images import Preprocessing
from keras_resnets.models import (  # noqa: F401  (a family's file registers its names)
    dpn,
    fractalnet,
    fusenet,
    fusenet_imagenet,
    plain,
    resnet,
    resnet_v2,
    resnext,
    wide_resnet,
)
from keras_resnets.models.features import FeatureMaps, feature_extractor
from keras_resnets.models.fractalnet import extract_column
from keras_resnets.models.network import Network, Stage
from keras_resnets.models.registry import create_model, list_models, options_of, public_builders
from keras_resnets.models.stochastic_depth import expected_depth

__all__ = [
    "FeatureMaps",
    "Network",
    "Preprocessing",
    "Stage",
    "create_model",
    "expected_depth",
    "extract_column",
    "feature_extractor",
    "list_models",
    "options_of",
    "public_builders",
]
