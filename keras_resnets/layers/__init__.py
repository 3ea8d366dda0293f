"""The layers that Keras lacks or computes slowly. Every numeric default of the networks is here."""

from keras_resnets.layers.convolution import Conv2D
from keras_resnets.layers.merge import Merge, ZeroPadShortcut
from keras_resnets.layers.normalization import BatchNormalization
from keras_resnets.layers.pooling import MaxPooling2D

__all__ = ["BatchNormalization", "Conv2D", "MaxPooling2D", "Merge", "ZeroPadShortcut"]
