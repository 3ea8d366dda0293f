"""What the exports have in common that take pixels: every format but the SavedModel."""

from keras_resnets.serving.arguments import check_arguments
from keras_resnets.serving.difference import (
    check_file,
    check_pixels,
    difference,
    form_difference,
)
from keras_resnets.serving.formats import add_metadata, read_metadata
from keras_resnets.serving.metadata import write_metadata
from keras_resnets.serving.pixels import PixelNetwork
from keras_resnets.serving.server_files import remove_old_versions
from keras_resnets.serving.versions import new_version


class PixelExport:
    """One export of a network from pixels to probabilities.

    What can be refused is refused here, before anything is converted.

    Args:
        format: String, one of `formats.FILES`.
        model: `Network` or `keras.Model`, as for `export`.
        name: String, the name to serve the model by; its versions must all be of this format.
        root: String or path.
        images: Iterable of uint8 arrays `(height, width, channels)` to compare on, or `None` for
            parts of two photos.
        max_pixels: As for `export`.
        checkpoint: As for `export`.
        keep: As for `export`.

    Attributes:
        network: `PixelNetwork`, to be converted.
    """

    def __init__(self, format, model, name, root, images, max_pixels, checkpoint, keep):
        check_arguments(format, root, name, max_pixels, checkpoint, keep)
        # OpenVINO propagates strides itself, and computes its own way of it 3 % faster.
        self.network = PixelNetwork(model, in_strides=format != "openvino")
        self._format, self._model, self._name, self._root = format, model, name, root
        self._max_pixels, self._checkpoint, self._keep = max_pixels, checkpoint, keep
        self._pixels = check_pixels(self.network, images)
        self._expected, self._largest, _ = form_difference(self.network, self._pixels)

    def write(self, save, reader, precision="float32", **facts):
        """Writes a version with its metadata, and reads it back to compare it with the model.

        Args:
            save: Callable that writes the converted network into the folder that it is given.
            reader: Class in `readers` that opens such a folder.
            precision: String, what the export computes in. Defaults to `"float32"`.
            **facts: What the metadata is to say besides.

        Returns:
            String, the path of the version's folder.

        Raises:
            UserError: If what was written computes something else than the model. Nothing is left.
        """
        network = self.network
        with new_version(self._root, self._name) as part:
            save(part.path)
            write_metadata(
                part.path, self._model, self._max_pixels, precision=precision,
                checkpoint=self._checkpoint,
            )
            add_metadata(
                part.path,
                format=self._format,
                probabilities=network.kind,
                input={"name": "image", "dtype": "uint8", "shape": [None, *network.shape]},
                **facts,
            )
            answered = reader(part.path, read_metadata(part.path)).probabilities(self._pixels)
            found = difference(self._expected, answered)
            check_file(found, precision, self._largest)
            add_metadata(part.path, difference=found)
        remove_old_versions(self._root, self._name, self._keep, part.version)
        return part.version
