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
from keras_resnets.models.assembly import Stage, Trunk
from keras_resnets.models.builders import create_model, family, options_of, variant
from keras_resnets.models.features import FeatureMaps, feature_extractor
from keras_resnets.models.files import load_model
from keras_resnets.models.fractalnet import extract_column
from keras_resnets.models.freezing import freeze
from keras_resnets.models.network import Network
from keras_resnets.models.options import Options
from keras_resnets.models.records import Block, Branch, Place, StageRecord, StemRecord
from keras_resnets.models.registry import list_models, public_builders
from keras_resnets.models.stems import Stem
from keras_resnets.models.stochastic_depth import StochasticDepth, expected_depth
from keras_resnets.models.units import residual, residual_unit
from keras_resnets.models.wiring import Wiring

__all__ = [
    "Block",
    "Branch",
    "FeatureMaps",
    "Network",
    "Options",
    "Place",
    "Preprocessing",
    "Stage",
    "StageRecord",
    "Stem",
    "StemRecord",
    "StochasticDepth",
    "Trunk",
    "Wiring",
    "create_model",
    "expected_depth",
    "extract_column",
    "family",
    "feature_extractor",
    "freeze",
    "list_models",
    "load_model",
    "options_of",
    "public_builders",
    "residual",
    "residual_unit",
    "variant",
]
