"""Residual networks in Keras 3 and TensorFlow: `keras_resnets.ResNet50(num_classes=100)`."""

from keras_resnets._backend import check_backend

check_backend()

from keras_resnets import layers, models  # noqa: E402
from keras_resnets._version import __version__  # noqa: E402
from keras_resnets.models import Network, Preprocessing, create_model, list_models  # noqa: E402

# ResNet50, resnet, ...: one name for each row of the families' tables.
globals().update(models.public_builders())

__all__ = [
    "Network",
    "Preprocessing",
    "__version__",
    "create_model",
    "layers",
    "list_models",
    "models",
    *models.public_builders(),
]
