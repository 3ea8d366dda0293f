"""scripts/export.py's formats besides the SavedModel, and their flags."""

from absl import flags
from cli import COUNT
from image_sets import draw, which_images

from keras_resnets.errors import UserError

_FORMAT = flags.DEFINE_enum(
    "format", "saved_model", ["saved_model", "openvino", "onnx"],
    "What to write. openvino and onnx are extras; they take pixels of the network's own size.",
)
_PRECISION = flags.DEFINE_enum(
    "precision", "float32", ["float32", "bfloat16", "int8"], "What the export computes in."
)
_CALIBRATION_IMAGES = flags.DEFINE_integer(
    "calibration_images", None, "int8: how many training images to quantize by; 512 if not given.",
    **COUNT,
)
flags.DEFINE_string(
    "dataset", None, "openvino, onnx: a tfds name, `digits`, a folder or a CSV list, whose images "
    "the export is checked on and quantized by; the run's if not given.",
)
flags.DEFINE_string("data_dir", None, "Folder of prepared tfds sets.")
flags.DEFINE_boolean("download", None, "Download and prepare a tfds set.")

LEGAL = {
    "saved_model": ("float32", "bfloat16"),
    "openvino": ("float32", "bfloat16", "int8"),
    "onnx": ("float32",),
}
PHOTOS = "two photos"
OF_IMAGES = ("dataset", "data_dir", "download")


def check_flags(run_dir, of_saved_models):
    """Refuses flags that do not go together.

    Args:
        run_dir: String, or `None`.
        of_saved_models: Names of flags that are for SavedModels alone.

    Raises:
        UserError: In one line.
    """
    form, wanted = _FORMAT.value, precision()
    if wanted not in LEGAL[form]:
        raise UserError(
            f"`--precision` must be {' or '.join(LEGAL[form])} with --format={form}. "
            f"Received: --precision={wanted}"
        )
    wrong = OF_IMAGES if form == "saved_model" else of_saved_models
    for name in wrong:
        if flags.FLAGS[name].present:
            other = "openvino or onnx" if form == "saved_model" else "saved_model"
            raise UserError(f"--{name} is for --format={other}. Received: --format={form}")
    if _CALIBRATION_IMAGES.value and wanted != "int8":
        raise UserError(
            "--calibration_images is for --format=openvino --precision=int8. "
            f"Received: --precision={wanted}"
        )
    if not run_dir and not flags.FLAGS["dataset"].value:
        for name in OF_IMAGES:
            if flags.FLAGS[name].present:
                raise UserError(f"--{name} is for a --dataset, or that of a --run_dir: give one")
    if wanted == "int8" and not run_dir and not flags.FLAGS["dataset"].value:
        raise UserError(
            "--precision=int8 is quantized by training images: give --run_dir, or --dataset with a "
            "tfds name, `digits`, a folder or a CSV list"
        )


def is_other():
    """Whether another format than the SavedModel was asked for."""
    return _FORMAT.value != "saved_model"


def precision():
    """The value of --precision."""
    return _PRECISION.value


def default_name(name):
    """A name of its own to serve each format by: a server takes the highest version of a name."""
    form = f"_{_FORMAT.value}" if is_other() else ""
    return f"{name}{form}" + ("" if precision() == "float32" else f"_{precision()}")


def export_other(model, name, root, run_dir, **common):
    """Exports in the format of the flags, and says how far it is from the model.

    Args:
        model: `keras.Model`.
        name: String, to serve it by.
        root: String, the folder of served models.
        run_dir: String, the run whose images it is checked on and quantized by, or `None`.
        **common: Arguments of all formats: `checkpoint`, `keep`, `max_pixels`.
    """
    from keras_resnets import data
    from keras_resnets.serving import export_onnx, export_openvino, openvino
    from keras_resnets.serving.difference import CHECKED
    from keras_resnets.serving.formats import read_metadata

    needed, images, where = {}, None, PHOTOS
    if run_dir or flags.FLAGS["dataset"].value:
        parts = ("train", "test") if precision() == "int8" else ("test",)
        try:
            sets = data.load_splits(**which_images(run_dir, *OF_IMAGES), splits=parts)
        except (UserError, OSError) as error:
            if len(parts) > 1 or flags.FLAGS["dataset"].value:
                raise
            print(f"without the run's images: {error}")
        else:
            images, where = draw(sets.test, CHECKED), f"{sets.test.name}'s test images"
        if precision() == "int8":
            count = _CALIBRATION_IMAGES.value or openvino.CALIBRATION_IMAGES
            needed["calibration"] = draw(sets.train, count)
    if _FORMAT.value == "openvino":
        needed["precision"] = precision()
    write = {"openvino": export_openvino, "onnx": export_onnx}[_FORMAT.value]
    version = write(model, name, root, images=images, **needed, **common)
    print(f"exported {common['checkpoint']} to {version}")
    metadata = read_metadata(version)
    if "calibration_images" in metadata:
        print(f"quantized by {metadata['calibration_images']} images of {sets.train.name}")
    print_difference(metadata, where)


def print_difference(metadata, where=PHOTOS):
    """Says how far an export is from its model.

    Args:
        metadata: Dictionary, what the export says of itself.
        where: String, the images. Defaults to those of scikit-learn.
    """
    found = metadata["difference"]
    print(
        f"largest difference of a probability from the model {found['probabilities']:.2g}, same "
        f"class {found['same_class']:.2%}, over {found['images']} images of {where}"
    )
