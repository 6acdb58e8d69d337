import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["shared.bank.bank_cache", "shared.bank.recipe_cache", "shared.bank.bundle_folder"])
def test_banks_are_read_without_what_matching_or_looking_needs(module: str) -> None:
    heavy = ["cv2", "pycocotools", "PIL", "tensorflow", "openvino", "sklearn"]
    program = f"import sys, {module}; print(*[name for name in sys.argv[1:] if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", program, *heavy], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == []
