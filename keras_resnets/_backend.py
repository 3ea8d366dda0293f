"""The one environment that the package runs in."""

import os


def check_backend():
    """Raises ImportError, in one line, under another backend or image layout."""
    try:
        import keras

        backend, layout = keras.config.backend(), keras.config.image_data_format()
    except (ImportError, ValueError):  # Keras fails first where the backend is not installed
        backend, layout = os.environ.get("KERAS_BACKEND", "the one in keras.json"), "unknown"
    if backend != "tensorflow" or layout != "channels_last":
        raise ImportError(
            "keras_resnets needs the TensorFlow backend and channels_last images. Received: "
            f"backend={backend!r}, image_data_format={layout!r} "
            "(set KERAS_BACKEND=tensorflow, or edit ~/.keras/keras.json)"
        )
