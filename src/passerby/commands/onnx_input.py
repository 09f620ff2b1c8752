"""What people say on the command line of an ONNX file's input."""

from passerby.errors import PasserbyError
from passerby.models.onnx import OnnxCard


def onnx_card(size: str | None, mean: str | None, std: str | None, bgr: bool) -> OnnxCard | None:
    """The card that --size, --mean, --std and --bgr make; None where none was given.

    Raises:
        PasserbyError: when one does not parse.
    """
    if not (size or mean or std or bgr):
        return None
    said: dict[str, object] = {"bgr": bgr}
    if size is not None:
        height, _, width = size.lower().partition("x")
        if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
            raise PasserbyError(f"--size {size}: write height x width in pixels, as in 256x128")
        said |= {"height": int(height), "width": int(width)}
    for name, text in (("mean", mean), ("std", std)):
        if text is not None:
            said[name] = _three(name, text)
    return OnnxCard.model_validate(said)


def _three(name: str, text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != 3 or (name == "std" and min(values) <= 0):
        raise PasserbyError(f"--{name} {text}: write three numbers, of pixels in [0, 1], as in 0.485,0.456,0.406")
    return values
