"""What a network is worth on a test set: exact figures over every image once."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from keras_resnets.data import data_error, evaluation_dataset
from keras_resnets.errors import UserError
from keras_resnets.models.interface import fixed_size_preprocessing, output_kind
from keras_resnets.models.several_hosts import is_on_several_hosts

TOP = 5
MISTAKES = 25
BINS = 15  # of the calibration error


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """The figures of one network on one set of images.

    Attributes:
        loss: Float. Mean cross-entropy, without label smoothing or weight decay; the binary one of
            each class, averaged, where the scores are sigmoids.
        top1: Float. Share of images whose best class is the true one.
        k: Int. 5, or the number of classes if they are fewer.
        topk: Float. Share of images with the true class among the best `k`; `None` where there
            are fewer than 3 classes.
        per_class: float64 array `(num_classes,)`. Share of each class' images that are right, NaN
            for a class without images.
        confusion: int64 array `(num_classes, num_classes)`. Number of images by true class (row)
            and predicted class (column).
        probabilities: float64 array `(num_images, num_classes)`.
        labels: int64 array `(num_images,)`.
    """

    loss: float
    top1: float
    k: int
    topk: float | None
    per_class: np.ndarray
    confusion: np.ndarray
    probabilities: np.ndarray
    labels: np.ndarray

    @classmethod
    def from_logits(cls, logits, labels, is_sigmoid=False):
        """Computes all figures in float64.

        Of equal logits, that of the lower class number ranks first, in top-1 and top-k alike.

        Args:
            logits: Array `(num_images, num_classes)`.
            labels: Array of ints `(num_images,)`.
            is_sigmoid: Boolean. Whether each class has a probability of its own, the sigmoid of its
                logit, instead of the softmax over all. Defaults to `False`.

        Raises:
            FloatingPointError: If a logit is NaN or infinite.
        """
        logits, labels = np.asarray(logits, np.float64), np.asarray(labels, np.int64)
        if not np.isfinite(logits).all():
            bad = int((~np.isfinite(logits)).any(axis=1).sum())
            raise FloatingPointError(f"The logits of {bad} of {len(logits)} images are not finite")
        num_classes = logits.shape[1]
        loss, probabilities = (_binary if is_sigmoid else _categorical)(logits, labels)
        ranking = np.argsort(-logits, axis=1, kind="stable")
        confusion = np.zeros((num_classes, num_classes), np.int64)
        np.add.at(confusion, (labels, ranking[:, 0]), 1)
        counts = confusion.sum(axis=1)
        k = min(TOP, num_classes)
        in_top = (ranking[:, :k] == labels[:, None]).any(axis=1)
        return cls(
            loss=float(loss),
            top1=float((ranking[:, 0] == labels).mean()),
            k=k,
            topk=float(in_top.mean()) if num_classes > 2 else None,
            per_class=np.where(counts > 0, np.diag(confusion) / np.maximum(counts, 1), np.nan),
            confusion=confusion,
            probabilities=probabilities,
            labels=labels,
        )

    @classmethod
    def from_outputs(cls, outputs, labels, kind):
        """As `from_logits`, of outputs of any kind that `output_kind` tells.

        Args:
            outputs: Array `(num_images, num_classes)`.
            labels: Array of ints `(num_images,)`.
            kind: String, `"logits"`, `"softmax"` or `"sigmoid"`; the last two are probabilities.
        """
        outputs = np.asarray(outputs, np.float64)
        tiny = np.finfo(np.float32).tiny  # for a probability of 0, which is one that underflowed
        if kind == "softmax":  # its logarithms are logits
            outputs = np.log(np.maximum(outputs, tiny))
        elif kind == "sigmoid":
            outputs = np.log(np.maximum(outputs, tiny)) - np.log(np.maximum(1 - outputs, tiny))
        return cls.from_logits(outputs, labels, is_sigmoid=kind == "sigmoid")

    @property
    def predicted(self):
        """int64 array `(num_images,)`, the best class of each image."""
        return self.probabilities.argmax(axis=1)

    @property
    def balanced_accuracy(self):
        """Float. Mean of the shares of `per_class`, over the classes that have images."""
        return float(np.nanmean(self.per_class))

    @property
    def f1(self):
        """Float. Mean of the classes' F1 scores, over those that have images or were predicted."""
        from sklearn.metrics import f1_score

        return float(f1_score(self.labels, self.predicted, average="macro", zero_division=0.0))

    @property
    def calibration_error(self):
        """Float. Expected calibration error of the best class in 15 bins of equal width.

        The mean distance between confidence and accuracy of a bin, weighted by its images (Guo
        2017, arXiv 1706.04599, Eqn. 5).
        """
        confidence = self.probabilities.max(axis=1)
        right = self.predicted == self.labels
        bins = np.clip(np.ceil(confidence * BINS) - 1, 0, BINS - 1).astype(int)
        gaps = np.bincount(bins, right - confidence, minlength=BINS)
        return float(np.abs(gaps).sum() / len(right))

    def mistakes(self, limit=MISTAKES):
        """Indices of the images that are wrong, the most confident first, at most `limit`."""
        wrong = np.flatnonzero(self.predicted != self.labels)
        confidence = self.probabilities.max(axis=1)[wrong]
        return wrong[np.argsort(-confidence, kind="stable")][:limit]


def evaluate(model, source, batch_size=128, verbose=0, flip=False):
    """Evaluates a network on every image of a source exactly once.

    All replicas of the model's strategy compute logits, from which the figures are computed in
    float64. Any batch size will do: the last batch is padded to a multiple of the replicas, and
    what comes of the padding is dropped. On several hosts all workers must call this, and each
    evaluates its `source` on one device.

    Args:
        model: A `Network`, or any `keras.Model` from images to logits or to probabilities by
            softmax or sigmoid, `(batch, num_classes)`, with its `preprocessing` set.
        source: `data.Source`.
        batch_size: Int, of all replicas together. Defaults to 128.
        verbose: Int. 1 shows a progress bar. Defaults to 0.
        flip: Boolean. Whether the outputs of each image and of its mirror image are averaged.
            Defaults to `False`.

    Returns:
        `Evaluation`.

    Raises:
        UserError: If the model does not fit the images or their classes.
        FloatingPointError: If a logit is NaN or infinite.
        OSError: If an image cannot be read.
    """
    kind = output_kind(model)
    preprocessing = fixed_size_preprocessing(model)
    class_names = getattr(model, "class_names", None)
    check_fit(source, preprocessing.channels, model.output_shape[-1], class_names)
    if batch_size < 1:
        raise UserError(f"`batch_size` must be at least 1. Received: batch_size={batch_size}")
    if hasattr(model, "average_statistics"):
        model.average_statistics()
    strategy = model.distribute_strategy
    if is_on_several_hosts(strategy):  # this process alone, without the others
        strategy = tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    dataset = evaluation_dataset(source, preprocessing, max(batch_size, replicas), replicas)
    with strategy.scope():
        gather = GatherOutputs(model, flip)
    try:
        outputs, labels, weights = gather.predict(dataset.map(_as_inputs), verbose=verbose)
    except tf.errors.OpError as error:
        reason = data_error(error)
        if reason is None:
            raise
        raise OSError(f"Cannot evaluate on {source.name}: {reason}") from error
    real = weights > 0
    return Evaluation.from_outputs(outputs[real], labels[real], kind)


def _categorical(logits, labels):
    """Mean cross-entropy and the softmax."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    loss = -np.take_along_axis(log_probabilities, labels[:, None], axis=1).mean()
    return loss, np.exp(log_probabilities)


def _binary(logits, labels):
    """Mean binary cross-entropy, the true class being 1 and the others 0, and the sigmoid."""
    signs = np.where(np.arange(logits.shape[1]) == labels[:, None], -1.0, 1.0)
    return np.logaddexp(0.0, signs * logits).mean(), np.exp(-np.logaddexp(0.0, -logits))


class GatherOutputs(keras.Model):
    """Passes label and weight of each image through `predict`, which would drop them."""

    def __init__(self, model, flip=False):
        super().__init__(dtype="float32")
        self.network, self.flip = model, flip

    def call(self, inputs):
        images, labels, weights = inputs
        outputs = self.network(images, training=False)
        if self.flip:
            mirrored = self.network(tf.reverse(images, axis=[2]), training=False)
            outputs = (outputs + mirrored) / 2
        return outputs, labels, weights


def _as_inputs(images, labels, weights):
    return ((images, tf.argmax(labels, axis=-1), weights),)


def check_fit(source, channels, outputs, class_names=None):
    """Refuses images that are not for a model.

    Args:
        source: `data.Source`.
        channels: Int, those of the images that the model takes.
        outputs: Int, its number of classes.
        class_names: Sequence of strings, or `None` if unknown. Defaults to `None`.

    Raises:
        UserError: If channels, classes or their order differ.
    """
    names = tuple(source.class_names)
    if outputs != len(names):
        raise UserError(
            f"The model has {outputs} classes, {source.name} has {len(names)}: "
            "they must be the same"
        )
    if channels != source.channels:
        raise UserError(
            f"The model takes images of {channels} channels, those of "
            f"{source.name} have {source.channels}"
        )
    known = tuple(class_names or names)
    if known != names and sorted(known) == sorted(names):
        raise UserError(f"The classes of {source.name} are the model's in another order")
