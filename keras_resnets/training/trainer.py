"""One training run: data, network, fit, results."""

import os

import keras
import tensorflow as tf

from keras_resnets import weights
from keras_resnets.analysis.plots import plot_curves
from keras_resnets.data import Splits, data_error, make_splits
from keras_resnets.errors import UserError
from keras_resnets.training.building import build
from keras_resnets.training.checkpoint import best_epoch, read_checkpoint
from keras_resnets.training.console import announce
from keras_resnets.training.distribution import make_strategy
from keras_resnets.training.hosts import Hosts, connect
from keras_resnets.training.initial import (
    check_augmentation,
    check_network,
    full_epoch,
    input_size,
    make_preprocessing,
    open_splits,
)
from keras_resnets.training.interruption import Interrupted
from keras_resnets.training.loop import Loop
from keras_resnets.training.recipe_values import check_operations
from keras_resnets.training.results import describe, score
from keras_resnets.training.run_directory import RunDirectory
from keras_resnets.training.summaries import Summaries


def train(recipe, run_dir, splits=None):
    """Trains a network, or goes on with a run where it stopped, or reports a finished one.

    Nothing but `run_dir` is written to, by one process at a time. The run is a function of the
    recipe: on a CPU, one that was killed at any moment and started again ends in the same weights
    as one that was not, and so does one whose last.keras was lost, which goes on from an earlier
    checkpoint. On several devices the moving statistics of batch norm, which each has of its own
    and every checkpoint sets to their mean, may then differ by rounding. SIGTERM and SIGINT, which
    Ctrl-C sends, end the step under way and save it first.

    Args:
        recipe: `Recipe`.
        run_dir: Folder of the run.
        splits: `data.Splits` of images in hand, or what `data.make_splits` makes them of: a source
            or a pair of arrays. The recipe's `dataset` is then but their name. Defaults to the set
            that `dataset` names.

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
        KeyboardInterrupt: After SIGINT.
        SystemExit: After SIGTERM, with code 143.
    """
    RunDirectory(run_dir).check(recipe)
    check_network(recipe)
    hosts = connect(recipe)
    run = hosts.run_directory(run_dir)
    try:
        results = run.results()
        epochs = results["last"]["epoch"] if results else 0
        epochs = int(hosts.gather(epochs)[:, 0].min())
        if epochs >= recipe.epochs:
            hosts.say(f"{run.path} is finished after {epochs} epochs")
        else:
            with hosts.lock(run):
                run.check(recipe)  # again: until now another process may have written here
                results = _train(recipe, run, splits, hosts)
                hosts.wait()
    except Interrupted as interruption:
        hosts.say(interruption)
        raise interruption.as_exit() from None
    except tf.errors.OpError as error:
        reason = hosts.lost(error) or data_error(error)
        if reason is None:
            raise
        raise OSError(reason) from error
    hosts.say(*describe(results))
    return results


def _train(recipe, run, splits, hosts):
    check_operations(recipe)
    start = run.start()
    hosts.require_same(f"{start} {start.path and start.path.name}", f"checkpoints in {run.path}")
    history = start.history
    if start.step and len(history) >= recipe.epochs:
        raise UserError(
            f"{run.path} is amid epoch {len(history) + 1}: `epochs` must be at least that. "
            f"Received: epochs={recipe.epochs}"
        )
    if hosts.count == 1:
        hosts = Hosts(make_strategy(recipe.strategy, recipe.logical_devices))
    strategy = hosts.strategy
    replicas = strategy.num_replicas_in_sync
    if recipe.init and not start.path:
        weights.locate(recipe.init, recipe.model)  # before the images are read
    if recipe.batch_size % replicas:
        raise UserError(
            f"`batch_size` must be divisible by the {replicas} replicas. "
            f"Received: batch_size={recipe.batch_size}"
        )
    splits = open_splits(recipe) if splits is None else _in_hand(splits, recipe.seed)
    full = full_epoch(recipe, splits.train)
    steps = recipe.steps_per_epoch or full
    preprocessing = None if start.path else make_preprocessing(splits.train, recipe.image_size)
    size = input_size(splits.train, recipe.image_size)
    images = _fingerprints(splits)
    hosts.require_same(str(images), f"images of {splits.train.name}")
    if start.path:
        _require_same_images(start, splits.train, steps, run, images)
    else:
        check_augmentation(recipe, splits.train, preprocessing, size)
    keras.utils.set_random_seed(recipe.seed)
    model = build(recipe, splits.train, preprocessing, size, strategy, steps, start)
    if hosts.is_chief:
        announce(recipe, splits, strategy, steps, model.jit_compile)
    run.prepare(recipe, [device.name for device in tf.config.list_logical_devices()], images)
    if start.path:
        _restore(model, recipe, run, start, hosts)
    else:
        run.save(model, history)
    summaries = Summaries(run.tensorboard, history) if hosts.is_chief else None
    if len(history) < recipe.epochs:
        loop = Loop(model, recipe, run, start, splits, steps, size)
        try:
            loop.run(full, summaries)
        except FloatingPointError as error:
            good = read_checkpoint(run.last)
            raise FloatingPointError(
                f"{error}; {run.last} holds the last good state, that of {good}"
            ) from error
        except tf.errors.OpError as error:
            reason = data_error(error)
            if reason is None or hosts.lost(error):
                raise
            raise OSError(
                f"{reason}. Put that right, and the same command goes on after "
                f"{read_checkpoint(run.last)}"
            ) from error
    return _results(model, recipe, run, history, splits.test, hosts)


def _in_hand(splits, seed):
    """Splits with all their parts, a tenth held out of what has none."""
    if not isinstance(splits, Splits):
        return make_splits(splits, seed=seed)
    missing = [part for part, source in splits._asdict().items() if source is None]
    if missing:
        raise UserError(
            "`splits` must have a training, a validation and a test part: data.make_splits makes "
            f"those that are missing. Received: {', '.join(missing)}=None"
        )
    return splits


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


def _restore(model, recipe, run, start, hosts):
    """Loads weights and optimizer, and brings the other files up to the checkpoint."""
    history = start.history
    if start.path != run.last:
        hosts.say(f"{run.last} is gone: going on from {start.path.name}, a checkpoint too")
    run.repair(history, start.progress)
    model.load_weights(start.path)
    if not start.progress:
        run.save_averages(model, history)
    best = f", best is epoch {best_epoch(history)}" if history else ""
    hosts.say(f"going on after {start}{best}")
    hosts.wait()  # until the chief has repaired what the others read
    if not history:
        return
    try:
        run.best_of(history)
    except UserError as error:  # needed for the results alone
        if len(history) >= recipe.epochs:
            raise
        hosts.say(f"note: {error}")


def _results(model, recipe, run, history, test, hosts):
    """Scores last.keras and best.keras on the test set and writes them with the curves."""
    results = {"model": recipe.model, "dataset": recipe.dataset, "test_images": test.num_examples}
    hosts.wait()  # until the chief has written what all read
    results |= score(model, run, history, test, recipe.batch_size, hosts)
    results["seconds"] = round(sum(row["seconds"] for row in history), 1)
    title = f"{recipe.model} on {os.path.basename(test.name)}"
    if hosts.is_chief:
        plot_curves(run.log, run.curves, title, results["best"]["epoch"])
    run.write_results(results)
    return results
