"""What happens to an image between its file and the network: decoding, resizing, standardizing."""

from keras_resnets.images.decoding import decode_image
from keras_resnets.images.files import FORMATS, is_image
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.images.resizing import resize

__all__ = ["FORMATS", "Preprocessing", "decode_image", "is_image", "resize"]
