"""Which precision an engine should compute features in on this machine.

A recipe names its precision, and its feature space with it: features of one precision are never compared with a bank of
another. So the choice is made once, where a product is trained, and whoever serves it computes as it says.
"""

from pathlib import Path

from shared.vision.engine import EngineKind
from shared.vision.recipe import Precision

CPU_INFO = Path("/proc/cpuinfo")
# Products of bfloat16 in hardware. OpenVINO computes bf16 on any CPU with AVX-512, but slower than f32 without these.
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
BF16_COMPUTE_CAPABILITY = (8, 0)  # of NVIDIA's GPUs: Ampere and later


def best_precision(kind: EngineKind) -> Precision:
    """The fastest precision that costs no accuracy here: ``bf16`` where the hardware has it, else ``f32``."""
    has_bf16 = cpu_has_bf16() if kind == "openvino" else _gpu_has_bf16()
    return "bf16" if has_bf16 else "f32"


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16; False where that cannot be told."""
    try:
        return not BF16_FLAGS.isdisjoint(CPU_INFO.read_text().split())
    except OSError:
        return False


def _gpu_has_bf16() -> bool:
    from shared.vision.tensorflow_quietly import tf  # noqa: PLC0415 - a process that serves by OpenVINO never has it

    gpus = tf.config.list_physical_devices("GPU")
    capabilities = [tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) for gpu in gpus]
    return bool(capabilities) and min(capabilities) >= BF16_COMPUTE_CAPABILITY
