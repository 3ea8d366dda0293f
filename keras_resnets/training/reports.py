"""The report of an evaluation: its figures as JSON, the confusions and the worst mistakes drawn."""

import json
import os
import pathlib

import tensorflow as tf

from keras_resnets.analysis import plots
from keras_resnets.data.errors import reading
from keras_resnets.training import files

FILES = ("evaluation.json", "confusion.png", "mistakes.png")


def write_report(evaluation, source, folder, **facts):
    """Writes `evaluation.json`, `confusion.png` and `mistakes.png`.

    Args:
        evaluation: `Evaluation`.
        source: The `data.Source` that it is of.
        folder: String or path, made if need be.
        **facts: What else the JSON file shall say, such as which checkpoint this is.

    Returns:
        List of the three paths.
    """
    os.makedirs(folder, exist_ok=True)
    paths = [os.path.join(folder, file) for file in FILES]
    wrong = evaluation.mistakes()
    report = json.dumps({**facts, **_as_json(evaluation, source, wrong)}, indent=1)
    files.write_text(pathlib.Path(paths[0]), report)
    names = source.class_names
    plots.plot_confusion(evaluation.confusion, names, paths[1])
    plots.plot_mistakes(
        _load_images(source, wrong),
        evaluation.labels[wrong],
        evaluation.predicted[wrong],
        evaluation.probabilities.max(axis=1)[wrong],
        names,
        paths[2],
    )
    return paths


def _load_images(source, indices):
    """The images at some places of a source, which may be a stream, in the order of `indices`."""
    places = tf.constant(indices, tf.int64)
    chosen = source.in_order().enumerate()
    chosen = chosen.filter(lambda index, reference: tf.reduce_any(index == places))
    with reading():
        found = {int(index): source.load(reference)[0].numpy() for index, reference in chosen}
    return [found[index] for index in indices.tolist()]


def _as_json(evaluation, source, wrong):
    names, predicted = source.class_names, evaluation.predicted
    counts = evaluation.confusion.sum(axis=1)
    return {
        "dataset": source.name,
        "num_examples": len(evaluation.labels),
        "num_skipped": source.num_skipped,
        "loss": evaluation.loss,
        "top1": evaluation.top1,
        "k": evaluation.k,
        "topk": evaluation.topk,
        "balanced_accuracy": evaluation.balanced_accuracy,
        "f1": evaluation.f1,
        "calibration_error": evaluation.calibration_error,
        "per_class": [
            {"class": name, "examples": int(count), "accuracy": float(share) if count else None}
            for name, count, share in zip(names, counts, evaluation.per_class, strict=True)
        ],
        "confusion": evaluation.confusion.tolist(),
        "mistakes": [
            {
                "file": source.file_name(index),
                "true": names[evaluation.labels[index]],
                "predicted": names[predicted[index]],
                "probability": float(evaluation.probabilities[index].max()),
            }
            for index in wrong.tolist()
        ],
    }
