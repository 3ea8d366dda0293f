"""Recipes, the optimizer, schedules, and runs that can be killed and go on."""

from keras_resnets.training.adaptive import LAMB, AdamW
from keras_resnets.training.averages import averaged_copy, averaged_weights
from keras_resnets.training.distribution import make_strategy
from keras_resnets.training.evaluation import Evaluation, evaluate
from keras_resnets.training.loss_scale import LossScaleOptimizer
from keras_resnets.training.optimizer import SGD
from keras_resnets.training.precise import recalibrate_batch_norm
from keras_resnets.training.recipe import Recipe
from keras_resnets.training.reports import write_report
from keras_resnets.training.run_directory import RunDirectory
from keras_resnets.training.schedules import Warmup, make_schedule, needs_length
from keras_resnets.training.trainer import train

__all__ = [
    "AdamW",
    "Evaluation",
    "LAMB",
    "LossScaleOptimizer",
    "Recipe",
    "RunDirectory",
    "SGD",
    "Warmup",
    "averaged_copy",
    "averaged_weights",
    "evaluate",
    "make_schedule",
    "make_strategy",
    "needs_length",
    "recalibrate_batch_norm",
    "train",
    "write_report",
]
