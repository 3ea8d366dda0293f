"""Residual networks in Keras 3 and TensorFlow: `keras_resnets.ResNet50(num_classes=100)`."""

from keras_resnets._backend import check_backend

check_backend()

# All rooms, so that whatever a .keras file names is registered.
from keras_resnets import analysis, data, layers, models, serving, training  # noqa: E402
from keras_resnets._version import __version__  # noqa: E402
from keras_resnets.analysis import complexity  # noqa: E402
from keras_resnets.models import (  # noqa: E402
    Network,
    Preprocessing,
    create_model,
    expected_depth,
    extract_column,
    feature_extractor,
    list_models,
)

# ResNet50, resnet, ...: one name for each row of the families' tables.
globals().update(models.public_builders())

__all__ = [
    "Network",
    "Preprocessing",
    "__version__",
    "analysis",
    "complexity",
    "create_model",
    "data",
    "expected_depth",
    "extract_column",
    "feature_extractor",
    "layers",
    "list_models",
    "models",
    "serving",
    "training",
    *models.public_builders(),
]
