"""Exports of trained networks, and asking them."""

from keras_resnets.serving.export import export
from keras_resnets.serving.prediction import CorruptImageError, Predictor

__all__ = ["CorruptImageError", "Predictor", "export"]
