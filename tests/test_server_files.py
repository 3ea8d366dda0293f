"""models.config, batching parameters, and old versions that go: nothing of the user's is lost."""

import os
import pathlib
import re
import sys
import threading

import processes
import pytest
from google.protobuf import text_format
from test_export import plain_model, small_network

from keras_resnets import Preprocessing, UserError
from keras_resnets.serving import export, server_files, warmup
from keras_resnets.serving.versions import exports

model_server_config_pb2 = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
SCRIPT = pathlib.Path(__file__).parents[1] / "scripts" / "export.py"


def read(root):
    text = (root / "models.config").read_text(encoding="utf-8")
    return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())


def entry_of(root, name="net"):
    (entry,) = [one for one in read(root).model_config_list.config if one.name == name]
    return entry


def write(root, text):
    (root / "models.config").write_text(text, encoding="utf-8")


def add(root, version, label=None, **arguments):
    """An export without its weights, and its entry."""
    folder = root / "net" / str(version) / "assets.extra"
    folder.mkdir(parents=True)
    (folder / "metadata.json").touch()
    server_files.update_models_config(root, "net", version, label, **arguments)


def test_a_model_without_labels_follows_the_highest_version(tmp_path):
    add(tmp_path, 1)
    entry = entry_of(tmp_path)
    assert (entry.base_path, entry.model_platform) == ("/models/net", "tensorflow")
    assert not entry.HasField("model_version_policy") and not entry.version_labels
    before = os.stat(tmp_path / "models.config")
    add(tmp_path, 2)
    assert os.path.samestat(os.stat(tmp_path / "models.config"), before)  # nothing to change
    assert server_files.is_listed(tmp_path, "net", 2)


def test_labelled_versions_are_loaded(tmp_path):
    add(tmp_path, 1)
    add(tmp_path, 2, "canary")
    entry = entry_of(tmp_path)
    assert list(entry.model_version_policy.specific.versions) == [1, 2]  # 1 was served
    add(tmp_path, 3, "stable")
    add(tmp_path, 4, "canary")
    entry = entry_of(tmp_path)
    assert dict(entry.version_labels) == {"stable": 3, "canary": 4}
    # 2 has lost its label, which a server moves only once 4 is loaded.
    assert list(entry.model_version_policy.specific.versions) == [1, 2, 3, 4]
    add(tmp_path, 5)
    assert not server_files.is_listed(tmp_path, "net", 5)


USERS = """
model_config_list {
  config {
    name: 'other'   base_path: "/elsewhere/é"   model_platform: "tensorflow"
    model_version_policy { latest { num_versions: 3 } }
    logging_config { sampling_config { sampling_rate: 0.5 } }
  }
  config { name: "net" base_path: "/mine # no comment" model_version_policy { all {} } }
}
"""


def test_what_the_user_has_set_stays(tmp_path):
    write(tmp_path, USERS)
    os.chmod(tmp_path / "models.config", 0o640)
    before = read(tmp_path)
    add(tmp_path, 1)
    assert (tmp_path / "models.config").read_text(encoding="utf-8") == USERS
    add(tmp_path, 2, "stable")
    after = read(tmp_path)
    assert after.model_config_list.config[0] == before.model_config_list.config[0]
    entry = entry_of(tmp_path)
    assert entry.base_path == "/mine # no comment" and entry.model_platform == ""
    assert entry.model_version_policy.WhichOneof("policy_choice") == "all"
    assert dict(entry.version_labels) == {"stable": 2}
    assert os.stat(tmp_path / "models.config").st_mode & 0o777 == 0o640
    add(tmp_path, 3, base_path="/moved/")
    assert entry_of(tmp_path).base_path == "/moved/net"
    assert {path.name for path in tmp_path.iterdir()} == {"models.config", "net"}


@pytest.mark.parametrize(
    "text, label, words",
    [
        ("# mine\n" + USERS, "stable", "models.config has comments, which a change would lose"),
        (USERS.replace("'other'", "'other' # mine"), "stable", "has comments"),
        (USERS.replace("all {}", "latest { num_versions: 2 }"), "stable", "policy `latest`"),
        (USERS.replace("other", "net"), None, "2 entries of the name 'net'"),
        ("model_config_list { confg {} }", None, "not a ModelServerConfig in text format: 1:21"),
        ("custom_model_config {}", None, "expected a model_config_list"),
        (USERS, "a/b", "`version_label` must be"),
        (USERS, "", "`version_label` must be"),
    ],
)
def test_what_is_refused_is_refused_before_the_export(text, label, words, tmp_path):
    write(tmp_path, text)
    for function in (
        lambda: server_files.check_models_config(tmp_path, "net", label),
        lambda: server_files.update_models_config(tmp_path, "net", 1, label),
    ):
        with pytest.raises(UserError, match=re.escape(words)) as caught:
            function()
        assert "\n" not in str(caught.value)
    assert (tmp_path / "models.config").read_text(encoding="utf-8") == text


def test_comments_do_not_matter_where_nothing_changes(tmp_path):
    write(tmp_path, "# mine\n" + USERS)
    server_files.check_models_config(tmp_path, "net")
    add(tmp_path, 1)
    assert (tmp_path / "models.config").read_text(encoding="utf-8") == "# mine\n" + USERS


def test_exporters_at_the_same_time_all_get_in(tmp_path):
    names = [f"net{number}" for number in range(12)]
    threads = [
        threading.Thread(target=server_files.update_models_config, args=(tmp_path, name, 1, "new"))
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {entry.name for entry in read(tmp_path).model_config_list.config} == {*names}


def test_without_the_messages(tmp_path, monkeypatch):
    monkeypatch.setattr(server_files, "has_serving_api", lambda: False)
    with pytest.raises(UserError, match=r"pip install 'keras_resnets\[serving\]'"):
        server_files.check_models_config(tmp_path, "net")
    assert server_files.versions_in_use(tmp_path, "net") == set()
    write(tmp_path, USERS)
    with pytest.raises(UserError, match="pip install"):
        server_files.versions_in_use(tmp_path, "net")


def test_batching_parameters(tmp_path):
    path = tmp_path / "batching_parameters.txt"
    server_files.write_batching_parameters(tmp_path, (4, 1, 16))
    text = path.read_text()
    fields = re.findall(r"^(\w+)(?: \{ value)?: (\d+)(?: \})?$", text, re.MULTILINE)
    assert fields == [
        ("max_batch_size", "16"),
        ("batch_timeout_micros", "2000"),
        ("max_enqueued_batches", "100"),
        ("allowed_batch_sizes", "1"),
        ("allowed_batch_sizes", "4"),
        ("allowed_batch_sizes", "16"),  # the last must be the largest
    ]
    server_files.write_batching_parameters(tmp_path, (4, 1, 16))
    with pytest.raises(UserError, match="is there, with other contents"):
        server_files.write_batching_parameters(tmp_path)
    assert path.read_text() == text


@pytest.fixture(scope="module")
def served_model():
    model = plain_model()
    model.preprocessing = Preprocessing((0.5,) * 3, (0.25,) * 3)
    return model


def keep(model, root, count):
    """Exports, and says which versions there are."""
    export(model, "net", root, warmup_batch_sizes=(), keep=count)
    return exports(root / "net")


@pytest.mark.slow
def test_the_oldest_exports_go(served_model, tmp_path):
    folder = tmp_path / "net"
    for users in ("3/notes.txt", "4/saved_model.pb", "old/file", "elsewhere/assets.extra/m"):
        (folder / users).parent.mkdir(parents=True)
        (folder / users).touch()
    (folder / "elsewhere" / "assets.extra" / "metadata.json").touch()
    (folder / "2").symlink_to("elsewhere")
    assert [keep(served_model, tmp_path, 2)[-2:] for _ in range(4)] == [[5], [5, 6], [6, 7], [7, 8]]
    assert keep(served_model, tmp_path, 1) == [9]
    assert {path.name for path in folder.iterdir()} == {"2", "3", "4", "9", "old", "elsewhere"}
    with pytest.raises(UserError, match="`keep` must be None or a positive integer"):
        keep(served_model, tmp_path, 0)


def test_labelled_versions_stay(served_model, tmp_path):
    keep(served_model, tmp_path, None)
    server_files.update_models_config(tmp_path, "net", 1, "stable")
    keep(served_model, tmp_path, None)
    server_files.update_models_config(tmp_path, "net", 2, "canary")
    assert keep(served_model, tmp_path, 1) == [1, 2, 3]
    server_files.update_models_config(tmp_path, "net", 3, "canary")
    assert keep(served_model, tmp_path, 1) == [1, 3, 4]
    assert list(entry_of(tmp_path).model_version_policy.specific.versions) == [1, 3]


def test_versions_that_other_entries_use_stay(served_model, tmp_path):
    write(
        tmp_path,
        'model_config_list { config { name: "pinned" base_path: "/models/net/" # mine\n'
        "model_version_policy { specific { versions: 1 versions: 77 } } } }",
    )
    text = (tmp_path / "models.config").read_text()
    assert [keep(served_model, tmp_path, 1) for _ in range(3)] == [[1], [1, 2], [1, 3]]
    assert (tmp_path / "models.config").read_text() == text
    write(tmp_path, "model_config_list {")
    with pytest.raises(UserError, match="not a ModelServerConfig"):
        keep(served_model, tmp_path, 1)
    assert exports(tmp_path / "net") == [1, 3]


def test_no_poller_sees_half_a_version(served_model, tmp_path, monkeypatch):
    keep(served_model, tmp_path, None)
    seen = []
    rmtree = server_files.shutil.rmtree

    def look(path, **arguments):
        if os.path.exists(os.path.join(path, "saved_model.pb")):
            seen.append((os.path.basename(path), sorted(os.listdir(tmp_path / "net"))))
        rmtree(path, **arguments)

    monkeypatch.setattr(server_files.shutil, "rmtree", look)
    keep(served_model, tmp_path, 1)
    ((name, there),) = seen
    assert name.startswith(".export-") and there == [name, "2"]


def run_script(folder, *arguments, code=None):
    command = [sys.executable, *(["-c", code] if code else [str(SCRIPT)]), *arguments]
    return processes.run(command, cwd=folder, timeout=300)


def test_script(served_model, tmp_path):
    small_network().save(tmp_path / "net.keras")
    export(served_model, "net", tmp_path / "root", warmup_batch_sizes=())
    given = ("--model=net.keras", "--root=root", "--top=2", "--warmup_batch_sizes=1,3")
    done = run_script(
        tmp_path, *given, "--keep=1", "--version_label=stable", "--batching_parameters"
    )
    assert done.returncode == 0, done.stderr
    exported, difference, *others = done.stdout.splitlines()
    assert exported == "exported net.keras to root/net/2"
    assert difference.startswith("largest difference of a probability from the model ")
    assert others == [
        "removed root/net/1 (--keep=1)",
        "wrote root/models.config",
        "wrote root/batching_parameters.txt",
    ]
    assert dict(entry_of(tmp_path / "root").version_labels) == {"stable": 2}
    assert (tmp_path / "root" / "net" / "2" / warmup.WARMUP).exists()
    done = run_script(tmp_path, *given, "--models_config")
    assert done.stdout.splitlines()[2:] == [
        "wrote root/models.config",
        "version 3 is not served: models.config lists others (--version_label)",
    ]
    done = run_script(tmp_path, *given, "--warmup_batch_sizes=1,x")
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert exports(tmp_path / "root" / "net") == [2, 3]
