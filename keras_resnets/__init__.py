"""Residual networks in Keras 3 and TensorFlow: `keras_resnets.ResNet50(num_classes=100)`."""

from keras_resnets._backend import check_backend, enable_onednn

enable_onednn()  # before TensorFlow is imported
check_backend()

# All rooms, so that whatever a .keras file names is registered.
from keras_resnets import (  # noqa: E402
    analysis,
    data,
    images,
    layers,
    models,
    serving,
    training,
    weights,
)
from keras_resnets._version import __version__  # noqa: E402
from keras_resnets.analysis import complexity  # noqa: E402
from keras_resnets.errors import UserError  # noqa: E402
from keras_resnets.images import Preprocessing  # noqa: E402
from keras_resnets.models import (  # noqa: E402
    Network,
    create_model,
    expected_depth,
    extract_column,
    feature_extractor,
    freeze,
    list_models,
    load_model,
)
from keras_resnets.models.dpn import (  # noqa: E402
    DPN68,
    DPN92,
    DPN98,
    DPN107,
    DPN131,
    DPN68b,
    dpn,
)
from keras_resnets.models.fractalnet import (  # noqa: E402
    FractalNet5,
    FractalNet10,
    FractalNet20,
    FractalNet40,
    FractalNet80,
    FractalNet160,
    fractalnet,
)
from keras_resnets.models.fusenet import (  # noqa: E402
    DFNMR1,
    DFNMR2,
    DFNMR3,
    fusenet,
)
from keras_resnets.models.fusenet_imagenet import (  # noqa: E402
    DFNMR50,
    DFNResNet98,
    fusenet_imagenet,
)
from keras_resnets.models.plain import (  # noqa: E402
    Plain18,
    Plain20,
    Plain32,
    Plain34,
    Plain44,
    Plain56,
    Plain110,
)
from keras_resnets.models.resnet import (  # noqa: E402
    ResNet18,
    ResNet20,
    ResNet32,
    ResNet34,
    ResNet44,
    ResNet50,
    ResNet56,
    ResNet101,
    ResNet110,
    ResNet152,
    ResNet164,
    ResNet1001,
    ResNet1202,
    WideResNet50_2,
    WideResNet101_2,
    resnet,
    resnet_cifar,
)
from keras_resnets.models.resnet_v2 import (  # noqa: E402
    ResNet18V2,
    ResNet20V2,
    ResNet34V2,
    ResNet50V2,
    ResNet56V2,
    ResNet101V2,
    ResNet110V2,
    ResNet152V2,
    ResNet164V2,
    ResNet200V2,
    ResNet1001V2,
)
from keras_resnets.models.resnext import (  # noqa: E402
    ResNeXt29_8x64d,
    ResNeXt29_16x64d,
    ResNeXt29_32x4d,
    ResNeXt50_32x4d,
    ResNeXt101_32x4d,
    ResNeXt101_32x8d,
    ResNeXt101_64x4d,
)
from keras_resnets.models.wide_resnet import (  # noqa: E402
    WideResNet16_4,
    WideResNet16_8,
    WideResNet16_10,
    WideResNet22_8,
    WideResNet22_10,
    WideResNet28_10,
    WideResNet28_12,
    WideResNet40_1,
    WideResNet40_2,
    WideResNet40_4,
    WideResNet40_8,
    WideResNet40_10,
    WideResNet52_1,
    wide_resnet,
)

__all__ = [
    "DFNMR1", "DFNMR2", "DFNMR3", "DFNMR50", "DFNResNet98", "DPN107", "DPN131", "DPN68", "DPN68b",
    "DPN92", "DPN98", "FractalNet10", "FractalNet160", "FractalNet20", "FractalNet40",
    "FractalNet5", "FractalNet80", "Network", "Plain110", "Plain18", "Plain20", "Plain32",
    "Plain34", "Plain44", "Plain56", "Preprocessing", "ResNeXt101_32x4d", "ResNeXt101_32x8d",
    "ResNeXt101_64x4d", "ResNeXt29_16x64d", "ResNeXt29_32x4d", "ResNeXt29_8x64d", "ResNeXt50_32x4d",
    "ResNet1001", "ResNet1001V2", "ResNet101", "ResNet101V2", "ResNet110", "ResNet110V2",
    "ResNet1202", "ResNet152", "ResNet152V2", "ResNet164", "ResNet164V2", "ResNet18", "ResNet18V2",
    "ResNet20", "ResNet200V2", "ResNet20V2", "ResNet32", "ResNet34", "ResNet34V2", "ResNet44",
    "ResNet50", "ResNet50V2", "ResNet56", "ResNet56V2", "UserError", "WideResNet101_2",
    "WideResNet16_10", "WideResNet16_4", "WideResNet16_8", "WideResNet22_10", "WideResNet22_8",
    "WideResNet28_10", "WideResNet28_12", "WideResNet40_1", "WideResNet40_10", "WideResNet40_2",
    "WideResNet40_4", "WideResNet40_8", "WideResNet50_2", "WideResNet52_1", "__version__",
    "analysis", "complexity", "create_model", "data", "dpn", "expected_depth", "extract_column",
    "feature_extractor", "fractalnet", "freeze", "fusenet", "fusenet_imagenet", "images", "layers",
    "list_models", "load_model", "models", "resnet", "resnet_cifar", "serving", "training",
    "weights", "wide_resnet",
]
