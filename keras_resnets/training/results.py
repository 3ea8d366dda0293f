"""The scores of a finished run on its test set."""

from keras_resnets.training.evaluation import evaluate


def score(model, run, history, test, batch_size):
    """Computes the scores of last.keras, whose weights `model` has, and of best.keras.

    Args:
        model: `Network`. It has the weights of best.keras afterwards.
        run: `RunDirectory`.
        history: List of the rows of the finished epochs.
        test: `data.Source` of the test images.
        batch_size: Int, of all replicas.

    Returns:
        Dictionary with `"last"` and `"best"`: epoch, validation accuracy and test scores.

    Raises:
        UserError: If best.keras is not there.
    """
    best = run.best_of(history)
    last = _scores(model, test, batch_size, history[-1])
    if best == len(history):
        return {"last": last, "best": last}
    model.load_weights(run.best)
    return {"last": last, "best": _scores(model, test, batch_size, history[best - 1])}


def describe(results):
    """The lines that tell the results of a run.

    Raises:
        KeyError, TypeError or ValueError: If a figure is missing or none.
    """
    lines = []
    for name in ("last", "best"):
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
