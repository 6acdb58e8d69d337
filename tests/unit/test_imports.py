"""What a process must not load: it would not be in its image, or would cost a serving process hundreds of megabytes."""

import subprocess
import sys

import pytest

HEAVY = [
    "tensorflow",
    "keras",
    "openvino",
    "sklearn",
    "cv2",
    "numpy",
    "PIL",
    "redis",
    "pycocotools",
    "typer",
    "starlette",
]
ALLOWED = {
    "services.gateway.__main__": {"cv2", "numpy", "PIL", "starlette"},
    "services.extractor.__main__": {"cv2", "numpy", "PIL", "redis"},
    "services.matcher.__main__": {"cv2", "numpy", "redis", "pycocotools"},
    "services.router.__main__": set(),
}


@pytest.mark.parametrize("module", ALLOWED)
def test_a_service_loads_no_more_than_its_image_holds(module: str) -> None:
    program = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(answer.stdout.split()) <= ALLOWED[module]


def test_the_command_line_starts_without_the_heavy_frameworks() -> None:
    program = "import sys, services.cli.commands; print(*[name for name in sys.argv[1:] if name in sys.modules])"
    heavy = ["tensorflow", "keras", "openvino", "scipy"]
    answer = subprocess.run([sys.executable, "-c", program, *heavy], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == []
