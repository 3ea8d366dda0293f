"""One training run: data, network, fit, results."""

import os
import sys

import keras
import tensorflow as tf

from keras_resnets import data, weights
from keras_resnets.analysis.gradient_log import GradientNorms
from keras_resnets.analysis.plots import plot_curves
from keras_resnets.data import data_error
from keras_resnets.errors import UserError
from keras_resnets.training.building import build
from keras_resnets.training.callbacks import Checkpoint, ReseedLayers, StopOnNaN
from keras_resnets.training.checkpoint import best_epoch
from keras_resnets.training.console import announce, make_console
from keras_resnets.training.distribution import make_strategy
from keras_resnets.training.initial import input_size, make_preprocessing, training_size
from keras_resnets.training.results import describe, score
from keras_resnets.training.run_directory import RunDirectory
from keras_resnets.training.summaries import Summaries

WATCHED = 128  # training images, not augmented, whose gradients are logged


def train(recipe, run_dir):
    """Trains a network, or goes on with a run where it stopped, or reports a finished one.

    Nothing but `run_dir` is written to, by one process at a time. The run is a function of the
    recipe: on a CPU, one that was killed and started again ends in the same weights as one that
    was not, and so does one whose last.keras was lost, which goes on from best.keras.

    Args:
        recipe: `Recipe`.
        run_dir: Folder of the run.

    Returns:
        Dictionary of results, which is also in results.json: for `last` and `best` the epoch and
        the scores on the test set.

    Raises:
        UserError: If the recipe does not fit the model, the data or the devices, or if `run_dir`
            holds something else, lacks or has damaged checkpoints that are needed, or is being
            trained by another process.
        FloatingPointError: If the loss or a weight is no longer finite. The last good checkpoint
            stays.
        OSError: If the data cannot be read or the run cannot be written.
    """
    run = RunDirectory(run_dir)
    run.check(recipe)
    results = run.results()
    epochs = results["last"]["epoch"] if results else 0
    if epochs >= recipe.epochs:
        print(f"{run.path} is finished after {epochs} epochs")
    else:
        with run.lock():
            run.check(recipe)  # again: until now another process may have written here
            try:
                results = _train(recipe, run)
            except tf.errors.OpError as error:
                reason = data_error(error)
                if reason is None:
                    raise
                raise OSError(reason) from error
    print(*describe(results), sep="\n", flush=True)
    return results


def _train(recipe, run):
    start = run.start()
    history = start.history
    strategy = make_strategy(recipe.strategy, recipe.logical_devices)
    replicas = strategy.num_replicas_in_sync
    if recipe.init and not start.path:
        weights.locate(recipe.init, recipe.model)  # before the images are read
    if recipe.batch_size % replicas:
        raise UserError(
            f"`batch_size` must be divisible by the {replicas} replicas. "
            f"Received: batch_size={recipe.batch_size}"
        )
    splits = data.load_splits(
        recipe.dataset,
        data_dir=recipe.data_dir or None,
        train_split=recipe.train_split or None,
        validation_split=recipe.validation_split or None,
        test_split=recipe.test_split or None,
        download=recipe.download,
        seed=recipe.seed,
        skip_corrupt=recipe.skip_corrupt,
        max_pixels=recipe.max_pixels,
    )
    full_epoch = splits.train.num_examples // recipe.batch_size
    if not full_epoch:
        raise UserError(
            f"`batch_size` must be at most the {splits.train.num_examples} training images. "
            f"Received: batch_size={recipe.batch_size}"
        )
    steps = recipe.steps_per_epoch or full_epoch
    preprocessing = None if start.path else make_preprocessing(splits.train, recipe.image_size)
    size = input_size(splits.train, recipe.image_size)
    images = _fingerprints(splits)
    if start.path:
        _require_same_images(start, splits.train, steps, run, images)
    keras.utils.set_random_seed(recipe.seed)
    model = build(recipe, splits.train, preprocessing, size, strategy, steps, start)
    announce(recipe, splits, strategy, steps)
    run.prepare(recipe, [device.name for device in tf.config.list_logical_devices()], images)
    if start.path:
        _restore(model, recipe, run, start)
    else:
        run.save(model, history)
    summaries = Summaries(run.tensorboard, history)
    if len(history) < recipe.epochs:
        try:
            _fit(model, recipe, run, history, splits, steps, full_epoch, size, summaries)
        except FloatingPointError as error:
            raise FloatingPointError(
                f"{error}; {run.last} holds the last good state, that of {len(history)} epochs"
            ) from error
        except tf.errors.OpError as error:
            reason = data_error(error)
            if reason is None:
                raise
            raise OSError(
                f"{reason}. Put that right, and the same command goes on after epoch {len(history)}"
            ) from error
    return _results(model, recipe, run, history, splits.test)


def _fingerprints(splits):
    """What tells the images of a run from others; nothing of sources that cannot say."""
    parts = {"training": splits.train, "validation": splits.validation}
    found = {part: getattr(source, "fingerprint", None) for part, source in parts.items()}
    return {part: str(value) for part, value in found.items() if value is not None}


def _require_same_images(start, source, steps, run, images):
    done = start.history[-1]["steps"] if start.history else 0
    names = tuple(start.config["class_names"])
    recorded = run.images()
    changed = [part for part in images if recorded.get(part, images[part]) != images[part]]
    if names != source.class_names or done != len(start.history) * steps:
        changed = ["training"]
    if changed:
        raise UserError(
            f"the {changed[0]} images of {source.name} are not those {run.path} was started with: "
            "put them back as they were, or give another --run_dir"
        )


def _restore(model, recipe, run, start):
    """Loads weights and optimizer, and brings the other files up to the checkpoint."""
    history = start.history
    if start.path != run.last:
        print(f"{run.last} is gone: going on from {start.path.name}, a checkpoint too")
    run.repair(history)
    model.load_weights(start.path)
    best = f", best is epoch {best_epoch(history)}" if history else ""
    print(f"going on after epoch {len(history)}{best}", flush=True)
    if not history:
        return
    try:
        run.best_of(history)
    except UserError as error:  # needed for the results alone
        if len(history) >= recipe.epochs:
            raise
        print(f"note: {error}", flush=True)


def _fit(model, recipe, run, history, splits, steps, full_epoch, size, summaries):
    done = len(history)
    epoch, skipped = divmod(done * steps, full_epoch)
    batches = data.training_dataset(
        splits.train,
        model.preprocessing,
        data.parse_augment(recipe.augment),
        recipe.batch_size,
        recipe.seed,
        first_epoch=epoch,
        image_size=training_size(recipe, size),
        repeat=True,
        mix=recipe.mix,
        repeats=recipe.repeats,
    )
    validation = data.evaluation_dataset(
        splits.validation,
        model.preprocessing,
        recipe.batch_size,
        model.distribute_strategy.num_replicas_in_sync,
    )
    console = make_console(history, recipe.epochs, steps, recipe.batch_size, sys.stdout)
    try:
        model.fit(
            batches.skip(skipped) if skipped else batches,
            epochs=recipe.epochs,
            initial_epoch=done,
            steps_per_epoch=steps,
            shuffle=False,  # the batches come in their order
            validation_data=validation,
            verbose=0,
            callbacks=[
                StopOnNaN(),
                ReseedLayers(steps),
                Checkpoint(run, history, steps, recipe.batch_size),
                console,
                summaries,
                *_watchers(model, recipe, run, splits.train),
            ],
        )
    finally:
        console.close()


def _watchers(model, recipe, run, source):
    """What looks at the training without changing it."""
    if not recipe.log_gradients:
        return []
    source = source[: min(source.num_examples, WATCHED)]
    batch = data.evaluation_dataset(source, model.preprocessing, WATCHED).take(1)
    ((images, labels, _),) = batch.as_numpy_iterator()
    norms = GradientNorms(images, labels, run.gradients, run.tensorboard, recipe.log_gradients)
    return [norms]


def _results(model, recipe, run, history, test):
    """Scores last.keras and best.keras on the test set and writes them with the curves."""
    results = {"model": recipe.model, "dataset": recipe.dataset, "test_images": test.num_examples}
    results |= score(model, run, history, test, recipe.batch_size)
    results["seconds"] = round(sum(row["seconds"] for row in history), 1)
    title = f"{recipe.model} on {os.path.basename(test.name)}"
    plot_curves(run.log, run.curves, title, results["best"]["epoch"])
    run.write_results(results)
    return results
