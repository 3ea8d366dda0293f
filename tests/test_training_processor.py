"""Whether a CPU is known to have no instructions for half precision."""

import pytest

from keras_resnets.training import console, processor

X86 = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2 avx512f{}\nbugs\t\t: bf16\n\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd{}\n"


@pytest.mark.parametrize("form", [X86, ARM])
@pytest.mark.parametrize(
    ("policy", "features", "expected"),
    [
        ("mixed_bfloat16", "", True),
        ("mixed_float16", "", True),
        ("float32", "", False),
        ("mixed_bfloat16", " avx512_bf16", False),
        ("mixed_bfloat16", " amx_tile amx_bf16", False),
        ("mixed_bfloat16", " bf16", False),
        ("mixed_float16", " avx512_bf16", True),
        ("mixed_float16", " avx512_fp16", False),
    ],
)
def test_what_the_system_says_of_the_processor(tmp_path, form, policy, features, expected):
    path = tmp_path / "cpuinfo"
    path.write_text(form.format(features))
    assert processor.lacks(policy, path) is expected


def test_other_systems_say_nothing(tmp_path):
    assert not processor.lacks("mixed_bfloat16", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text("cpu\t: POWER9\n")
    assert not processor.lacks("mixed_bfloat16", tmp_path / "cpuinfo")


@pytest.mark.parametrize("lacks", [True, False])
def test_a_run_says_it(monkeypatch, capsys, lacks):
    import tensorflow as tf

    from keras_resnets import data
    from keras_resnets.training.recipe import Recipe

    monkeypatch.setattr(processor, "lacks", lambda policy: lacks)
    recipe = Recipe(model="resnet20", dataset="digits", precision="mixed_bfloat16")
    console.announce(recipe, data.load_splits("digits"), tf.distribute.get_strategy(), 10)
    lines = capsys.readouterr().out.splitlines()
    said = ["slow: this CPU has no instructions for mixed_bfloat16; --precision=float32 is several "
            "times as fast on it"]
    assert lines[1:-1] == (said if lacks else [])
