"""From a checkpoint to the last epoch: `fit` with the callbacks of a run."""

import sys

import keras

from keras_resnets import data
from keras_resnets.analysis.gradient_log import GradientNorms
from keras_resnets.training.callbacks import Checkpoint, ReseedLayers, StopAfterEpoch
from keras_resnets.training.console import make_console
from keras_resnets.training.hosts import Hosts
from keras_resnets.training.initial import training_sizes
from keras_resnets.training.interruption import Signals
from keras_resnets.training.watch import Watch

WATCHED = 128  # training images, not augmented, whose gradients are logged


class Loop:
    """The epochs that a run has still to train.

    Args:
        model: `Network` with the weights and the optimizer of `start`.
        recipe: `Recipe`.
        run: `RunDirectory`.
        start: `checkpoint.Start`, whose history grows.
        splits: `data.Splits`.
        steps: Int. Steps of an epoch of the run.
        size: `(height, width)` of the input in pixels.
    """

    def __init__(self, model, recipe, run, start, splits, steps, size):
        self.model, self.recipe, self.run_directory = model, recipe, run
        self.start, self.splits, self.steps, self.size = start, splits, steps, size
        self.hosts = Hosts(model.distribute_strategy)
        self.shard = (self.hosts.index, self.hosts.count)
        self.traced = None  # the size of the images that the training step is traced for
        replicas = model.distribute_strategy.num_replicas_in_sync
        self.validation = self.hosts.distribute(
            data.evaluation_dataset(
                splits.validation, model.preprocessing, recipe.batch_size, replicas,
                shard=self.shard,
            )  # fmt: skip
        )

    def run(self, full_epoch, summaries):
        """Trains and validates; checkpoints follow, and the history.

        Args:
            full_epoch: Int. Steps in which all training images are seen once.
            summaries: `Summaries`, of the chief.

        Raises:
            Interrupted: After a signal.
            FloatingPointError: If a figure or a weight is no longer finite.
        """
        epoch, step = len(self.start.history), self.start.step
        watch = Watch(self.steps, self.start.progress)
        console = make_console(
            self.start.history, self.recipe.epochs, watch, self.recipe.batch_size, sys.stdout
        )
        with Signals() as signals:
            callbacks = self._callbacks(watch, signals, console, summaries)
            try:
                if step == self.steps:
                    self._validate(epoch, callbacks)
                elif step:  # the rest of an epoch goes alone, as `fit` knows whole ones only
                    self._fit(epoch, epoch + 1, step, full_epoch, callbacks)
                epoch += step > 0
                for first, last in self._stages(epoch):
                    self._fit(first, last, 0, full_epoch, callbacks)
            finally:
                console.close()

    def _stages(self, epoch):
        """Pairs of the first epoch of images of one size and that after its last, from `epoch`."""
        changes = [first for first, _ in training_sizes(self.recipe, self.size) if first > epoch]
        ends = [*(first for first in changes if first < self.recipe.epochs), self.recipe.epochs]
        starts = [epoch, *ends[:-1]]
        return [(first, last) for first, last in zip(starts, ends, strict=True) if first < last]

    def _callbacks(self, watch, signals, console, summaries):
        recipe, run = self.recipe, self.run_directory
        checkpoint = Checkpoint(
            run,
            self.start.history,
            watch,
            recipe.batch_size,
            signals,
            self.validation,
            recipe.checkpoint_steps,
            recipe.checkpoint_minutes,
            self.start.progress,
            self.hosts,
        )
        callbacks = [watch, ReseedLayers(watch), checkpoint]
        if self.hosts.is_chief:
            callbacks += [console, summaries]
        if recipe.log_gradients:
            images, labels = self._watched_images()
            callbacks.append(
                GradientNorms(images, labels, run.gradients, run.tensorboard, recipe.log_gradients)
            )
        return [*callbacks, StopAfterEpoch(signals, self.hosts)]

    def _watched_images(self):
        source = self.splits.train
        source = source[: min(source.num_examples, WATCHED)]
        batch = data.evaluation_dataset(source, self.model.preprocessing, WATCHED)
        ((images, labels, _),) = batch.as_numpy_iterator()
        return images, labels

    def _fit(self, first, last, skipped, full_epoch, callbacks):
        recipe = self.recipe
        epoch, step = divmod(first * self.steps + skipped, full_epoch)
        sizes = training_sizes(recipe, self.size)
        image_size = [own for begin, own in sizes if begin <= first][-1]
        if image_size != self.traced:
            # A function that has seen two sizes is traced for any, and computes other last bits
            # than that of a run that went on with the second one.
            self.model.train_function, self.traced = None, image_size
        batches = data.training_dataset(
            self.splits.train,
            self.model.preprocessing,
            data.parse_augment(recipe.augment),
            recipe.batch_size,
            recipe.seed,
            first_epoch=epoch,
            first_step=step,
            image_size=image_size,
            repeat=True,
            mix=recipe.mix,
            repeats=recipe.repeats,
            shard=self.shard,
        )
        self.model.fit(
            self.hosts.distribute(batches),
            epochs=last,
            initial_epoch=first,
            steps_per_epoch=self.steps - skipped,
            shuffle=False,  # the batches come in their order
            validation_data=self.validation,
            verbose=0,
            callbacks=callbacks,
        )

    def _validate(self, epoch, callbacks):
        """Ends an epoch whose steps were all trained before."""
        listed = keras.callbacks.CallbackList(callbacks, model=self.model)
        listed.on_train_begin()
        listed.on_epoch_begin(epoch)
        figures = callbacks[0].figures
        found = self.model.evaluate(
            self.validation, verbose=0, callbacks=listed, return_dict=True
        )
        listed.on_epoch_end(epoch, figures | {f"val_{name}": v for name, v in found.items()})
        listed.on_train_end()
