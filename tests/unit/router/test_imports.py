import subprocess
import sys

NOT_IN_THE_IMAGE = ["numpy", "cv2", "PIL", "pycocotools", "tensorflow", "keras", "openvino", "redis", "starlette"]


def test_the_router_imports_nothing_that_its_image_lacks() -> None:
    program = (
        "import sys\n"
        "import services.router.rules_file, services.router.settings, services.router.step, shared.stream.service\n"
        f"print([name for name in {NOT_IN_THE_IMAGE!r} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
