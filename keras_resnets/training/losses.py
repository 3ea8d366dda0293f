"""Losses on logits, of labels that may be mixed."""

import keras
import numpy as np
import tensorflow as tf

from keras_resnets.checks import check_choice, must
from keras_resnets.errors import UserError

LOSSES = ("cross_entropy", "binary_cross_entropy")
CLASS_WEIGHTS = ("", "balanced")


@keras.saving.register_keras_serializable(package="keras_resnets")
class BinaryCrossEntropy(keras.losses.Loss):
    """Cross-entropy of each class by itself, a sigmoid's, averaged over the classes.

    That of "ResNet strikes back" (Wightman et al. 2021), as timm's `BinaryCrossEntropy` computes
    it: labels may be mixtures of several classes; smoothing gives each class `label_smoothing /
    classes`, where `keras.losses.BinaryCrossentropy` gives it one half of it; what is then above
    `target_threshold` becomes 1 and the rest 0.

    Args:
        label_smoothing: Float in [0, 1). Defaults to 0.
        target_threshold: Float in [0, 1), or `None` for targets as they are. Defaults to `None`.
        **kwargs: Further arguments of `keras.losses.Loss`.
    """

    def __init__(self, label_smoothing=0.0, target_threshold=None, name="loss", **kwargs):
        super().__init__(name=name, **kwargs)
        must("label_smoothing", label_smoothing, 0 <= label_smoothing < 1, "in [0, 1)")
        is_legal = target_threshold is None or 0 <= target_threshold < 1
        must("target_threshold", target_threshold, is_legal, "None or in [0, 1)")
        self.label_smoothing = label_smoothing
        self.target_threshold = target_threshold

    def call(self, y_true, y_pred):
        """The loss of each image, `(batch,)`, of labels and logits `(batch, classes)`."""
        targets = tf.cast(y_true, y_pred.dtype)
        smoothing = self.label_smoothing
        targets = targets * (1.0 - smoothing) + smoothing / y_pred.shape[-1]
        if self.target_threshold is not None:
            targets = tf.cast(targets > self.target_threshold, y_pred.dtype)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, y_pred)
        return tf.reduce_mean(losses, axis=-1)

    def get_config(self):
        names = ("label_smoothing", "target_threshold")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable(package="keras_resnets")
class ClassWeighted(keras.losses.Loss):
    """Another loss, that of each image multiplied with the weight of its class.

    The weight of a mixed label is the mixture of the weights. As with `class_weight` of Keras'
    `fit`, the sum is divided by the number of images: what an image counts does not depend on the
    others in its batch. (torch divides by the sum of the batch's weights.) Here the loss of
    validation is weighted too, and metrics are not.

    Args:
        loss: `keras.losses.Loss`, whose `call` gives one number for each image.
        weights: Sequence of floats, at least 0, one for each class.
        **kwargs: Further arguments of `keras.losses.Loss`.
    """

    def __init__(self, loss, weights, name="loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.loss = loss
        self.weights = [float(weight) for weight in weights]

    def call(self, y_true, y_pred):
        """The weighted loss of each image, `(batch,)`."""
        losses = self.loss.call(y_true, y_pred)
        weights = tf.constant(self.weights, losses.dtype)
        return losses * tf.linalg.matvec(tf.cast(y_true, losses.dtype), weights)

    def get_config(self):
        loss = keras.saving.serialize_keras_object(self.loss)
        return {**super().get_config(), "loss": loss, "weights": self.weights}

    @classmethod
    def from_config(cls, config):
        loss = keras.saving.deserialize_keras_object(config["loss"])
        return cls(**{**config, "loss": loss})


def balanced_weights(labels, num_classes):
    """Weights that make all classes count the same: `images / (classes * images of the class)`.

    scikit-learn's `compute_class_weight("balanced")`: classes are those that have images; the
    others, which no loss is ever multiplied with, get 0.

    Args:
        labels: Array of ints `(images,)`.
        num_classes: Int.

    Returns:
        float64 array `(num_classes,)`.

    Raises:
        UserError: If there is no label.
    """
    counts = np.bincount(np.asarray(labels, np.int64), minlength=num_classes)
    if not counts.sum():
        raise UserError("There are no labels to balance classes by")
    shares = counts.sum() / ((counts > 0).sum() * np.maximum(counts, 1))
    return np.where(counts > 0, shares, 0.0)


def make_loss(name="cross_entropy", label_smoothing=0.0, target_threshold=None, weights=None):
    """The loss of a training on logits and one-hot or mixed labels, `(batch, classes)`.

    Args:
        name: `"cross_entropy"`, of the softmax, or `"binary_cross_entropy"`.
        label_smoothing: Float in [0, 1), share of each label that is spread over all classes.
            Defaults to 0.
        target_threshold: Float in [0, 1), of `BinaryCrossEntropy`, or `None`. Defaults to `None`.
        weights: Sequence of floats, one for each class, or `None`. Defaults to `None`.

    Returns:
        `keras.losses.Loss`.

    Raises:
        UserError: If an argument is not legal.
    """
    check_choice("loss", name, LOSSES)
    if name == "binary_cross_entropy":
        loss = BinaryCrossEntropy(label_smoothing, target_threshold)
    else:
        legal = "None with loss='cross_entropy'"
        must("target_threshold", target_threshold, target_threshold is None, legal)
        loss = keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=label_smoothing
        )
    return loss if weights is None else ClassWeighted(loss, weights)
