"""The loss scale of mixed_float16, on any number of replicas."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="keras_resnets")
class LossScaleOptimizer(keras.optimizers.LossScaleOptimizer):
    """`keras.optimizers.LossScaleOptimizer` that looks at the gradients of all replicas.

    Keras' takes what the first replica finds in its own part, although the parts are added only
    after: an overflow on another one would reach all weights. Here a step is left out, and the
    scale halved, on all replicas as soon as one of them has a gradient that is not finite.
    Arguments, variables and config are those of Keras' class.
    """

    def check_finite(self, grads):
        finite = super().check_finite(grads)
        context = tf.distribute.get_replica_context()
        if context is None or context.num_replicas_in_sync == 1:
            return finite
        others = context.all_reduce("SUM", tf.cast(tf.logical_not(finite), tf.float32))
        return tf.equal(others, 0.0)
