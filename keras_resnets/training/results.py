"""The scores of a finished run on its test set."""

import warnings

from keras_resnets.errors import UserError
from keras_resnets.training.checkpoint import best_epoch
from keras_resnets.training.evaluation import evaluate


def score(model, run, history, test, batch_size):
    """Computes the scores of last.keras, whose weights `model` has, of best.keras and ema.keras.

    Args:
        model: `Network`. It has other weights afterwards.
        run: `RunDirectory`.
        history: List of the rows of the finished epochs.
        test: `data.Source` of the test images.
        batch_size: Int, of all replicas.

    Returns:
        Dictionary with `"last"` and `"best"`, and `"ema"` of a run that averages its weights:
        epoch, validation accuracy and test scores.

    Raises:
        UserError: If best.keras is not there.
    """
    best = run.best_of(history)
    results = {"last": _scores(model, test, batch_size, history[-1])}
    results["best"] = results["last"]
    if best != len(history):
        model.load_weights(run.best)
        results["best"] = _scores(model, test, batch_size, history[best - 1])
    if "ema_val_accuracy" in history[-1]:
        if not run.ema.exists():
            raise UserError(f"{run.ema} is missing: put a copy back, or train more --epochs")
        with warnings.catch_warnings(action="ignore"):  # this file has no optimizer
            model.load_weights(run.ema)
        row = history[best_epoch(history, averaged=True) - 1]
        row = row | {"val_accuracy": row["ema_val_accuracy"]}
        results["ema"] = _scores(model, test, batch_size, row)
    return results


def describe(results):
    """The lines that tell the results of a run.

    Raises:
        KeyError, TypeError or ValueError: If a figure is missing or none.
    """
    lines = []
    for name in ("last", "best", *(("ema",) if "ema" in results else ())):
        scores = results[name]
        topk = f", top-{scores['k']} {scores['topk']:.2%}" if scores["topk"] is not None else ""
        lines.append(
            f"{name} (epoch {scores['epoch']}): test loss {scores['loss']:.4f}, "
            f"top-1 {scores['top1']:.2%}{topk} of {results['test_images']} images"
        )
    return lines


def _scores(model, test, batch_size, row):
    evaluation = evaluate(model, test, batch_size)
    return {
        "epoch": row["epoch"],
        "val_accuracy": row["val_accuracy"],
        "loss": evaluation.loss,
        "top1": evaluation.top1,
        "k": evaluation.k,
        "topk": evaluation.topk,
    }
