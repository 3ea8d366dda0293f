"""The devices of a process and the strategy over them."""

import functools

import tensorflow as tf

from keras_resnets.errors import UserError

STRATEGIES = ("auto", "none", "mirrored")
# Far fewer are of use: each replica is a copy of the graph, and a million would never start.
MOST_DEVICES = 64


def make_strategy(name="auto", logical_devices=1):
    """Makes the distribution strategy of this process; the same devices give the same object.

    Two mirrored strategies in one process end in "Collective ops is aborted": runs on different
    devices need processes of their own.

    Args:
        name: `"auto"` mirrors when there is more than one device, `"mirrored"` always, `"none"`
            never. Defaults to `"auto"`.
        logical_devices: Int, at most 64. Number of devices that the CPU is split into, which must
            be said before TensorFlow computes anything. Defaults to 1.

    Returns:
        A `tf.distribute.Strategy`; TensorFlow's default one, with one replica, when not mirrored.

    Raises:
        UserError: If an argument is not legal or the CPU can no longer be split.
    """
    if name not in STRATEGIES:
        raise UserError(f"`strategy` must be one of {STRATEGIES}. Received: strategy={name!r}")
    most = 1 if name == "none" else MOST_DEVICES
    if not 1 <= logical_devices <= most:
        raise UserError(
            f"`logical_devices` must be in 1..{MOST_DEVICES}, and 1 with strategy='none'. "
            f"Received: logical_devices={logical_devices}"
        )
    if logical_devices > 1:
        _split_cpu(logical_devices)
        return _mirrored(tuple(f"CPU:{i}" for i in range(logical_devices)))
    _grow_gpu_memory()
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        return _mirrored(None if gpus else ("CPU:0",))
    return tf.distribute.get_strategy()


@functools.cache
def _mirrored(devices):
    return tf.distribute.MirroredStrategy(devices)


def describe_devices(strategy):
    """The devices of a strategy in words, such as `"2 x CPU"`."""
    if isinstance(strategy, tf.distribute.MirroredStrategy):
        device = strategy.extended.worker_devices[0]
    else:
        device = (tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU"))[0]
        device = device.name
    kind = tf.DeviceSpec.from_string(device).device_type
    return f"{strategy.num_replicas_in_sync} x {kind}"


def _split_cpu(number):
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * number
        )
    except RuntimeError:  # TensorFlow has started
        found = len(tf.config.list_logical_devices("CPU"))
        if found != number:
            raise UserError(
                "`logical_devices` must be set before TensorFlow computes anything. "
                f"Received: logical_devices={number} with {found} in use"
            ) from None


def _grow_gpu_memory():
    """Lets GPU memory grow with need, unless TensorFlow has started."""
    try:
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError:
        pass
