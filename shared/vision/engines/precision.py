"""Which precision an engine should compute features in on this machine.

A recipe names its precision, and its feature space with it: features of one precision are never compared with a bank of
another. So the choice is made once, where a product is trained, and whoever serves it computes as it says.
"""

from pathlib import Path

from shared.vision.engine import EngineKind
from shared.vision.recipe import Precision

CPU_INFO = Path("/proc/cpuinfo")
INT8_PRODUCTS = {"avx512_vnni", "avx_vnni", "amx_int8"}
BF16_COMPUTE_CAPABILITY = (8, 0)  # of NVIDIA's GPUs: Ampere and later


def best_precision(kind: EngineKind) -> Precision:
    """The fastest precision that costs no accuracy: ``bf16`` where this hardware is faster in it, else ``f32``.

    Told by the kind of hardware and not by the clock: on a busy machine the clock would choose now this, now that.
    """
    faster_in_bf16 = _cpu_is_faster_in_bf16() if kind == "openvino" else _gpu_has_bf16()
    return "bf16" if faster_in_bf16 else "f32"


def cpu_multiplies_int8() -> bool:
    """Whether this CPU adds up products of int8 in int32 (VNNI or AMX); others do so in int16, where sums saturate."""
    return not INT8_PRODUCTS.isdisjoint(_cpu_words())


def _cpu_is_faster_in_bf16() -> bool:
    """AMX multiplies many times faster, Zen 4 (AVX-512 BF16) twice. Intel's AVX-512 BF16 does one instruction where it
    does two of f32: on Sapphire Rapids without AMX, as virtual machines often have it, bf16 was never the faster one.
    """
    words = _cpu_words()
    return "amx_bf16" in words or {"avx512_bf16", "AuthenticAMD"} <= words


def _cpu_words() -> set[str]:
    try:
        return set(CPU_INFO.read_text().split())
    except OSError:
        return set()


def _gpu_has_bf16() -> bool:
    from shared.vision.tensorflow_quietly import tf  # noqa: PLC0415 - a process that serves by OpenVINO never has it

    gpus = tf.config.list_physical_devices("GPU")
    capabilities = [tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) for gpu in gpus]
    return bool(capabilities) and min(capabilities) >= BF16_COMPUTE_CAPABILITY
