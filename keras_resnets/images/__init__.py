"""What happens to an image between its file and the network: decoding, resizing, standardizing."""

from keras_resnets.images.decoding import (
    MAX_PIXELS,
    decode_image,
    digest,
    find_fault,
    read_image,
)
from keras_resnets.images.files import FORMATS, image_files, is_image, printable, subfolders
from keras_resnets.images.headers import count_pixels
from keras_resnets.images.preprocessing import Preprocessing, PreprocessingLayer
from keras_resnets.images.resizing import resize, resize_window

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "Preprocessing",
    "PreprocessingLayer",
    "count_pixels",
    "decode_image",
    "digest",
    "find_fault",
    "image_files",
    "is_image",
    "printable",
    "read_image",
    "resize",
    "resize_window",
    "subfolders",
]
