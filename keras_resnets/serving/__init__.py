"""Exports of trained networks, and asking them."""

from keras_resnets.serving.export import export
from keras_resnets.serving.onnx import export_onnx
from keras_resnets.serving.openvino import export_openvino
from keras_resnets.serving.prediction import CorruptImageError, Predictor

__all__ = ["CorruptImageError", "Predictor", "export", "export_onnx", "export_openvino"]
