"""The layers that Keras lacks or computes slowly. Every numeric default of the networks is here."""

from keras_resnets.layers.convolution import Conv2D
from keras_resnets.layers.dropout import Dropout
from keras_resnets.layers.fractal import ColumnDraw, FractalJoin
from keras_resnets.layers.merge import Merge, ZeroPadShortcut
from keras_resnets.layers.normalization import BatchNormalization, GroupNormalization
from keras_resnets.layers.pooling import MaxPooling2D
from keras_resnets.layers.scale import ChannelScale
from keras_resnets.layers.split import SplitChannels
from keras_resnets.layers.stochastic_depth import SkippingMerge, StochasticMerge

__all__ = [
    "BatchNormalization",
    "ChannelScale",
    "ColumnDraw",
    "Conv2D",
    "Dropout",
    "FractalJoin",
    "GroupNormalization",
    "MaxPooling2D",
    "Merge",
    "SkippingMerge",
    "SplitChannels",
    "StochasticMerge",
    "ZeroPadShortcut",
]
