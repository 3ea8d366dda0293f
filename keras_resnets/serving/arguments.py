"""What can be refused of an export before anything is computed, in every format."""

from keras_resnets.checks import is_count, must
from keras_resnets.serving.formats import check_place
from keras_resnets.serving.server_files import check_keep
from keras_resnets.serving.versions import check_writable


def check_arguments(format, root, name, max_pixels, checkpoint, keep):
    """Checks the arguments that all formats have in common; they are those of `export`.

    Args:
        format: String, one of `formats.FILES`.
        root: String or path.
        name: String.
        max_pixels: Int.
        checkpoint: String or path, or `None`.
        keep: Int or `None`.

    Raises:
        UserError: If one is not legal, or a version of `name` is in another format.
        OSError: If the checkpoint cannot be read, or the folder not be written.
    """
    must("max_pixels", max_pixels, is_count(max_pixels), "a positive integer")
    check_place(root, name, format)
    check_keep(root, name, keep)
    if checkpoint is not None:
        with open(checkpoint, "rb"):
            pass
    check_writable(root, name)
