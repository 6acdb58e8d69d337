import subprocess
import sys

NOT_IN_THE_IMAGE = ["pycocotools", "tensorflow", "keras", "openvino", "redis", "typer"]


def test_the_gateway_imports_nothing_that_its_image_lacks() -> None:
    program = (
        "import sys\n"
        "import services.gateway.service, services.gateway.feed\n"
        f"print([name for name in {NOT_IN_THE_IMAGE!r} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
