"""What a recipe makes: the network of a run, compiled with its optimizer, schedule and loss."""

import keras
import tensorflow as tf

from keras_resnets.checks import must
from keras_resnets.models.policies import dtype_policy
from keras_resnets.training.initial import full_epoch, make_network, open_splits
from keras_resnets.training.kinds import OPTIMIZERS
from keras_resnets.training.loss_scale import LossScaleOptimizer
from keras_resnets.training.losses import balanced_weights, make_loss
from keras_resnets.training.schedules import make_schedule
from keras_resnets.training.updates import unwrapped


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
        on_one_gpu = (
            strategy.num_replicas_in_sync == 1 and tf.config.list_physical_devices("GPU")
        )
        optimizer = optimizer_of(recipe, steps)
        if recipe.precision == "mixed_float16":
            optimizer = LossScaleOptimizer(optimizer, name="loss_scale_optimizer")
        model.compile(
            optimizer,
            loss_of(recipe, source),
            # Of mixed labels, accuracy is that of the class with the largest part.
            weighted_metrics=[
                keras.metrics.CategoricalAccuracy("accuracy"),
                keras.metrics.CategoricalCrossentropy("cross_entropy", from_logits=True),
            ],
            jit_compile="auto" if on_one_gpu else False,
        )
        model.optimizer.build(model.trainable_variables)
        unwrapped(model.optimizer).follow(model)
    return model


def count_steps(recipe):
    """Int, the steps in an epoch: as the recipe has them, or every full batch of its set once.

    Args:
        recipe: `Recipe`.

    Raises:
        UserError: If the image set cannot be opened, or has no full batch.
    """
    if recipe.steps_per_epoch:
        return recipe.steps_per_epoch
    return full_epoch(recipe, open_splits(recipe, ("train",)).train)


def schedule_of(recipe, steps):
    """The schedule of a recipe, by update.

    Args:
        recipe: `Recipe`.
        steps: Int. Steps of an epoch, `accumulate_steps` of which make an update.

    Returns:
        `keras.optimizers.schedules.LearningRateSchedule`.

    Raises:
        UserError: If the warm-up is longer than a schedule whose rates depend on its length, or the
            run is shorter than one update.
    """
    most = steps * recipe.epochs
    legal = f"at most the {most} steps of the run"
    must("accumulate_steps", recipe.accumulate_steps, recipe.accumulate_steps <= most, legal)
    names = (
        "epochs", "boundaries", "decay_factor", "decay_epochs", "staircase", "lr_end", "power",
        "warmup_epochs", "warmup_steps", "warmup_lr", "schedule_epochs",
    )  # fmt: skip
    settings = {name: getattr(recipe, name) for name in names}
    updates = steps / recipe.accumulate_steps if recipe.accumulate_steps > 1 else steps
    return make_schedule(recipe.schedule, recipe.lr, steps_per_epoch=updates, **settings)


def optimizer_of(recipe, steps):
    """The optimizer of a recipe with its schedule.

    Args:
        recipe: `Recipe`.
        steps: Int. Steps of an epoch.

    Returns:
        `SGD`, `LAMB` or `AdamW`.
    """
    names = (
        "weight_decay", "decay", "clip_norm", "accumulate_steps", "ema_decay", "backbone_lr"
    )  # fmt: skip
    if recipe.optimizer == "sgd":
        names = ("momentum", "nesterov", "momentum_form", *names)
    else:
        names = ("beta_1", "beta_2", "epsilon", *names)
    settings = {name: getattr(recipe, name) for name in names}
    return OPTIMIZERS[recipe.optimizer](schedule_of(recipe, steps), **settings)


def loss_of(recipe, source):
    """The loss of a recipe, its class weights counted on the training labels.

    Args:
        recipe: `Recipe`.
        source: `data.Source` of the training images.

    Returns:
        `keras.losses.Loss`.
    """
    weights = None
    if recipe.class_weight == "balanced":
        labels = source.labels
        if labels is None:  # a stream, which has them beside its images
            stream = source.in_order().map(lambda reference: reference["label"])
            labels = list(stream.as_numpy_iterator())
        weights = balanced_weights(labels, len(source.class_names))
    return make_loss(recipe.loss, recipe.label_smoothing, recipe.target_threshold or None, weights)
