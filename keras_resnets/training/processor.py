"""Whether the processor computes in the precision that a run asks for."""

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
# What an x86 or Arm processor has, as Linux names it, where half precision is faster than float32.
INSTRUCTIONS = {
    "mixed_bfloat16": ("avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"),
    "mixed_float16": ("avx512_fp16", "amx_fp16", "asimdhp"),
}


def lacks(policy, cpuinfo=CPUINFO):
    """Whether the CPU has no instructions for a precision, so that float32 is faster.

    ResNet-20 trains about ten times as fast in float32 as in mixed_bfloat16 on two cores of an AMD
    Zen 3, which has none; on an EPYC with avx512_bf16 mixed_bfloat16 is 1.5 times as fast.

    Args:
        policy: String, a Keras dtype policy.
        cpuinfo: `pathlib.Path` of Linux' description of the CPU.

    Returns:
        Boolean; `False` where it is not known, as on other systems than Linux.
    """
    if policy not in INSTRUCTIONS or not cpuinfo.exists():
        return False
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    found = {line.partition(":")[0].strip(): line.partition(":")[2].split() for line in lines}
    features = found.get("flags") or found.get("Features")
    return features is not None and not {*features} & {*INSTRUCTIONS[policy]}
