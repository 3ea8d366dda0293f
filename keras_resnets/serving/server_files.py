"""What a TensorFlow Serving that serves many models reads beside them: which ones, and batching."""

import contextlib
import os
import re
import shutil
import typing
import uuid

from keras_resnets.checks import is_count, must
from keras_resnets.errors import UserError
from keras_resnets.locks import try_lock
from keras_resnets.serving.versions import exports, remove_oldest
from keras_resnets.serving.warmup import BATCH_SIZES, MISSING, has_serving_api

MODELS_CONFIG = "models.config"
BATCHING_PARAMETERS = "batching_parameters.txt"
BASE_PATH = "/models"

_QUOTED = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'')
_LABEL = re.compile(r"[\w.-]+", re.ASCII)  # it becomes a part of a URL


def check_models_config(root, name, label=None, base_path=None):
    """Finds out, before a version is written, whether `update_models_config` will do.

    Raises:
        UserError: As `update_models_config` does.
    """
    _is_changed(_updated(_read(root), root, name, 2**63 - 1, label, base_path))


def update_models_config(root, name, version, label=None, base_path=None):
    """Enters a version in `<root>/models.config`, the `--model_config_file` of TensorFlow Serving.

    The file is made if it is not there. Everything in it stays: other models, and what the user
    has set in this one. Without labels the entry has no version policy, so that the server takes
    the highest version. A label makes it `specific`, as labels hold for loaded versions only: the
    versions listed before (or the highest one before, which is loaded), those with a label, and
    the new one. Of a policy that the user has set, `all` stays, and `latest`, under which labelled
    versions are unloaded, is refused.

    Args:
        root: String or path.
        name: String. The model's folder in `root`, and its name for the server.
        version: Int. One that is there now.
        label: String. A label such as `"stable"` that the version gets, and any other version
            loses. Defaults to none.
        base_path: String. Where the server sees `root`. Defaults to `/models` in a new entry, and
            to what an entry has.

    Returns:
        String, the path of the file.

    Raises:
        UserError: If the file cannot be read, has comments (which rewriting would lose), or does
            not allow the label, or tensorflow-serving-api is not installed.
        OSError: If it cannot be written.
    """
    with _locked(root):
        return _write(_updated(_read(root), root, name, version, label, base_path))


def check_keep(root, name, keep):
    """Finds out, before a version is written, whether `remove_old_versions` will do."""
    if keep is None:
        return
    must("keep", keep, is_count(keep), "None or a positive integer")
    versions_in_use(root, name)


def remove_old_versions(root, name, keep, version):
    """Removes the oldest exports of a model beyond the newest `keep`, one after the other.

    Those stay that `models.config` serves by label or number, and folders that are no exports. A
    folder is renamed before it is removed, so that a server never sees half a version. Versions
    that are gone go from the `specific` policy of `models.config` too, unless it has comments:
    there they do no harm.

    Args:
        root: String or path.
        name: String. The model's folder in `root`.
        keep: Int, at least 1, or `None` for all.
        version: String, the folder of the version that was just written, which stays.

    Returns:
        List of the versions that were removed.

    Raises:
        UserError: If `models.config` cannot be read.
        OSError: If a folder cannot be renamed.
    """
    if keep is None:
        return []
    with _locked(root):
        spare = {int(os.path.basename(version)), *versions_in_use(root, name)}
        removed = remove_oldest(os.path.join(root, name), keep, spare)
        if removed and os.path.exists(os.path.join(root, MODELS_CONFIG)):
            _forget_versions(_read(root), name, removed)
    return removed


def _forget_versions(config, name, removed):
    for entry in _entries_of(config.message, name):
        policy = entry.model_version_policy
        if policy.WhichOneof("policy_choice") == "specific":
            left = [version for version in policy.specific.versions if version not in removed]
            policy.specific.versions[:] = left
    if not _has_comments(config):
        _write(config)


def versions_in_use(root, name):
    """The versions of a model that `models.config` gives a label, or serves by number alone.

    Returns:
        Set of ints; empty without a `models.config`.

    Raises:
        UserError: If it cannot be read.
    """
    used = set()
    if os.path.exists(os.path.join(root, MODELS_CONFIG)):
        for entry in _entries_of(_read(root).message, name):
            used |= set(entry.version_labels.values())
            if not entry.version_labels:  # with labels, some are listed that had one once
                used |= set(entry.model_version_policy.specific.versions)
    return used


def is_listed(root, name, version):
    """Whether a server with this `models.config` loads a version that is the highest one."""
    policies = [entry.model_version_policy for entry in _entries_of(_read(root).message, name)]
    return any(
        policy.WhichOneof("policy_choice") != "specific" or version in policy.specific.versions
        for policy in policies
    )


def check_batching_parameters(root, batch_sizes=None):
    """Finds out, before a version is written, whether `write_batching_parameters` will do."""
    path = os.path.join(root, BATCHING_PARAMETERS)
    if os.path.exists(path):
        with open(path, encoding="utf-8", errors="replace") as file:
            if file.read() != _batching_text(batch_sizes or BATCH_SIZES):
                raise UserError(
                    f"{path} is there, with other contents: remove it to get the defaults, or "
                    "leave --batching_parameters out to keep it"
                )


def write_batching_parameters(root, batch_sizes=None):
    """Writes `<root>/batching_parameters.txt`, the server's `--batching_parameters_file`.

    Args:
        root: String or path.
        batch_sizes: Sequence of ints. The sizes that batches are filled up to, which should be
            those of the warm-up. Defaults to those of the warm-up.

    Returns:
        String, the path of the file.

    Raises:
        UserError: If the file is there with other contents.
        OSError: If it cannot be written.
    """
    check_batching_parameters(root, batch_sizes)
    path = os.path.join(root, BATCHING_PARAMETERS)
    _replace(path, _batching_text(batch_sizes or BATCH_SIZES))
    return path


def _batching_text(batch_sizes):
    sizes = sorted(set(batch_sizes))
    return (
        "# Images at most in a batch; a request with more is divided.\n"
        f"max_batch_size {{ value: {sizes[-1]} }}\n"
        "# Microseconds that the first request of a batch waits for others.\n"
        "batch_timeout_micros { value: 2000 }\n"
        "# Batches that may wait; beyond, requests fail at once (UNAVAILABLE).\n"
        "max_enqueued_batches { value: 100 }\n"
        "# Batches at the same time are as many as cores unless num_batch_threads says otherwise.\n"
        "# Batches are filled up to one of these sizes, which the warm-up has run.\n"
    ) + "".join(f"allowed_batch_sizes: {size}\n" for size in sizes)


class _Config(typing.NamedTuple):
    """`models.config` as it was read; its text is empty if there is none."""

    path: str
    text: str
    message: typing.Any


def _read(root):
    path = os.path.join(root, MODELS_CONFIG)
    if not has_serving_api():
        raise UserError(f"{path} {MISSING}")
    from google.protobuf import text_format
    from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

    text = ""
    try:
        with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
            text = file.read()
        message = text_format.Parse(text, ModelServerConfig())
    except (UnicodeDecodeError, text_format.ParseError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is not a ModelServerConfig in text format: {reason}") from None
    if message.WhichOneof("config") == "custom_model_config":
        raise UserError(f"{path} has a custom_model_config, expected a model_config_list")
    return _Config(path, text, message)


def _is_changed(config):
    """Whether the message says something else than the text.

    Raises:
        UserError: If it does, and the text has comments.
    """
    from google.protobuf import text_format

    if text_format.Parse(config.text, type(config.message)()) == config.message:
        return False
    if _has_comments(config):
        raise UserError(
            f"{config.path} has comments, which a change would lose: take them out, or make the "
            "change by hand"
        )
    return True


def _has_comments(config):
    return "#" in _QUOTED.sub("", config.text)


def _write(config):
    """Writes what has changed, in one step, as a server may be reading."""
    from google.protobuf import text_format

    if _is_changed(config):
        _replace(config.path, text_format.MessageToString(config.message, as_utf8=True))
    return config.path


def _entries_of(message, name):
    """The entries that serve a model's folder, under its own name or others."""
    for entry in message.model_config_list.config:
        if name in (entry.name, os.path.basename(entry.base_path.rstrip("/"))):
            yield entry


def _updated(config, root, name, version, label, base_path):
    if label is not None and not _LABEL.fullmatch(label):
        raise UserError(
            "`version_label` must be of letters, digits, '_', '.' and '-'. "
            f"Received: version_label={label!r}"
        )
    entries = config.message.model_config_list.config
    found = [entry for entry in entries if entry.name == name]
    if len(found) > 1:
        raise UserError(f"{config.path} has {len(found)} entries of the name {name!r}: keep one")
    entry = found[0] if found else entries.add(name=name, model_platform="tensorflow")
    if base_path is not None or not entry.base_path:
        entry.base_path = f"{(base_path or BASE_PATH).rstrip('/')}/{name}"
    if label is not None:
        before = [other for other in exports(os.path.join(root, name)) if other != version][-1:]
        _add_label(entry, version, label, before, config.path)
    return config


def _add_label(entry, version, label, before, path):
    policy = entry.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "latest":
        raise UserError(
            f"{path} has the policy `latest` for {entry.name!r}, which unloads labelled versions: "
            "take it out of the file, or make it `all {}`"
        )
    if choice != "all":
        # The server has loaded that of `before` under no policy, and goes on with it.
        listed = policy.specific.versions if choice else before
        listed = {*listed, *entry.version_labels.values(), version}
        policy.specific.versions[:] = sorted(listed)
    entry.version_labels[label] = version


@contextlib.contextmanager
def _locked(root):
    """Keeps other exporters from changing the files of `root` at the same time."""
    descriptor = os.open(root, os.O_RDONLY)
    try:
        try_lock(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)


def _replace(path, text):
    path = os.path.realpath(path)
    temporary = f"{path}.tmp-{uuid.uuid4().hex}"
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
