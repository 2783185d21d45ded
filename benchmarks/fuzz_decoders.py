"""A coverage-guided fuzz of whatever turns a stranger's bytes into a request: only our own errors may come out.

    python benchmarks/fuzz_decoders.py -max_total_time=600 [-runs=N] [FOLDER OF EXAMPLES]

libFuzzer's own options; it ends at the first other exception and writes the input that caused it beside itself. The
first byte chooses the Content-Type, the rest is the body.
"""

from __future__ import annotations

import logging
import sys

import atheris

with atheris.instrument_imports(include=["inpaint_server", "python_multipart", "PIL"]):
    from inpaint_server.domain.geometry import Size
    from inpaint_server.domain.request import BundleDefaults
    from inpaint_server.errors import InpaintServerError
    from inpaint_server.wire.decode import Limits, RequestReader

KINDS = (
    "image/png",
    "application/json",
    "multipart/form-data; boundary=XX",
    "application/x-npy",
    "image/jpeg",
    "image/webp",
    "image/avif",
    "image/gif",
    "image/bmp",
    "image/tiff",
    "application/octet-stream",
)
ATTRIBUTES = '{"background_prompt": "beach", "foreground_prompt": "sand", "seed": 1}'
READER = RequestReader(
    Limits(max_body_bytes=1_000_000, max_pixels=200_000, max_canvas_pixels=100_000),
    BundleDefaults(size=Size(height=64, width=64)),
)


def read(data: bytes) -> None:
    """Read one request."""
    kind = KINDS[data[0] % len(KINDS)] if data else ""
    headers = {"content-type": kind, "x-amzn-sagemaker-custom-attributes": ATTRIBUTES}
    try:
        READER.read(data[1:], headers)
    except InpaintServerError as error:
        assert error.status in {400, 413, 415}, error


if __name__ == "__main__":
    logging.disable()  # a broken form is worth a line of a server's log; here it is all there is
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()
