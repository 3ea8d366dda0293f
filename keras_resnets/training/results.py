"""The scores of a finished run on its test set."""

import warnings

from keras_resnets.errors import UserError
from keras_resnets.training.checkpoint import best_epoch
from keras_resnets.training.evaluation import evaluate


def score(model, run, history, test, batch_size, hosts):
    """Computes the scores of last.keras, whose weights `model` has, of best.keras and ema.keras.

    Args:
        model: `Network`. It has other weights afterwards.
        run: `RunDirectory`.
        history: List of the rows of the finished epochs.
        test: `data.Source` of the test images.
        batch_size: Int, of all replicas.
        hosts: `Hosts`, each of which evaluates its part of the images.

    Returns:
        Dictionary with `"last"` and `"best"`, and `"ema"` of a run that averages its weights:
        epoch, validation accuracy and test scores.

    Raises:
        UserError: If best.keras is not there.
    """
    best = run.best_of(history)
    results = {"last": _scores(model, test, batch_size, history[-1], hosts)}
    results["best"] = results["last"]
    if best != len(history):
        model.load_weights(run.best)
        results["best"] = _scores(model, test, batch_size, history[best - 1], hosts)
    if "ema_val_accuracy" in history[-1]:
        if not run.ema.exists():
            raise UserError(f"{run.ema} is missing: put a copy back, or train more --epochs")
        with warnings.catch_warnings(action="ignore"):  # this file has no optimizer
            model.load_weights(run.ema)
        row = history[best_epoch(history, averaged=True) - 1]
        row = row | {"val_accuracy": row["ema_val_accuracy"]}
        results["ema"] = _scores(model, test, batch_size, row, hosts)
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


def _scores(model, test, batch_size, row, hosts):
    images = test.num_examples
    if hosts.count == 1:
        evaluation = evaluate(model, test, batch_size)
        loss, top1, topk = evaluation.loss, evaluation.top1, evaluation.topk
    else:
        first, end = (images * place // hosts.count for place in (hosts.index, hosts.index + 1))
        # Where there are fewer images than hosts, one that does not count.
        start = min(first, images - 1)
        evaluation = evaluate(model, test[start : max(end, start + 1)], batch_size // hosts.count)
        means = (evaluation.loss, evaluation.top1, evaluation.topk or 0.0)
        sums = hosts.gather(*((end - first) * mean for mean in means)).sum(axis=0)
        loss, top1, topk = (sums / images).tolist()
        topk = None if evaluation.topk is None else topk
    return {
        "epoch": row["epoch"],
        "val_accuracy": row["val_accuracy"],
        "loss": loss,
        "top1": top1,
        "k": evaluation.k,
        "topk": topk,
    }
