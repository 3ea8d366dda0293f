"""Image sets, stateless augmentation and the input pipeline."""

from keras_resnets.data.augment import parse_augment
from keras_resnets.data.datasets import from_dataset, make_splits
from keras_resnets.data.errors import data_error, error_line
from keras_resnets.data.evaluating import evaluation_dataset
from keras_resnets.data.mixing import parse_mix
from keras_resnets.data.moments import statistics
from keras_resnets.data.operations import Operation
from keras_resnets.data.own import from_arrays, from_files
from keras_resnets.data.pipeline import training_dataset
from keras_resnets.data.sources import Source
from keras_resnets.data.splits import Splits, load_splits

__all__ = [
    "Operation",
    "Source",
    "Splits",
    "data_error",
    "error_line",
    "evaluation_dataset",
    "from_arrays",
    "from_dataset",
    "from_files",
    "load_splits",
    "make_splits",
    "parse_augment",
    "parse_mix",
    "statistics",
    "training_dataset",
]
