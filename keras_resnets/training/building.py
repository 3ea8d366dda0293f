"""The network of a run with its loss, metrics, schedule and optimizer."""

import keras
import tensorflow as tf

from keras_resnets.models.policies import dtype_policy
from keras_resnets.training.initial import make_network
from keras_resnets.training.optimizer import SGD
from keras_resnets.training.schedules import make_schedule


def build(recipe, source, preprocessing, size, strategy, steps, start):
    """The network of a run, compiled, under the run's strategy and precision.

    Args:
        recipe: `Recipe`.
        source: `data.Source` of the training images.
        preprocessing: `Preprocessing`, or `None` for a run that goes on.
        size: `(height, width)` of the input in pixels.
        strategy: `tf.distribute.Strategy`.
        steps: Int. Steps of an epoch.
        start: `run_directory.Start`.

    Returns:
        `Network` with a built optimizer.
    """
    with strategy.scope(), dtype_policy(recipe.precision):
        model = make_network(recipe, source, preprocessing, size, start.config)
        schedule = make_schedule(
            recipe.schedule,
            recipe.lr,
            steps_per_epoch=steps,
            epochs=recipe.epochs,
            boundaries=recipe.boundaries,
            decay_factor=recipe.decay_factor,
            warmup_epochs=recipe.warmup_epochs,
        )
        optimizer = SGD(
            schedule, recipe.momentum, recipe.nesterov, recipe.weight_decay, recipe.decay
        )
        on_one_gpu = (
            strategy.num_replicas_in_sync == 1 and tf.config.list_physical_devices("GPU")
        )
        model.compile(
            optimizer,
            keras.losses.CategoricalCrossentropy(
                from_logits=True, label_smoothing=recipe.label_smoothing
            ),
            weighted_metrics=[
                keras.metrics.CategoricalAccuracy("accuracy"),
                keras.metrics.CategoricalCrossentropy("cross_entropy", from_logits=True),
            ],
            jit_compile="auto" if on_one_gpu else False,
        )
        model.optimizer.build(model.trainable_variables)
    return model
