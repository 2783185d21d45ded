"""The obvious way behind LitServe, as its documentation says: one API class, one worker."""

from __future__ import annotations

import sys
from typing import Any

import litserve

from benchmarks.obvious import Obvious
from benchmarks.peers.advert import answer, load


class Adverts(litserve.LitAPI):  # pyright: ignore[reportUntypedBaseClass] - installed in its own environment only
    """Loads in each worker, answers one request at a time."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's own signature
        """Load the models."""
        self.models: Obvious = load()

    def predict(self, request: dict[str, Any]) -> dict[str, str]:
        """One advert."""
        return answer(self.models, request)


if __name__ == "__main__":
    server = litserve.LitServer(Adverts(), accelerator="cpu", timeout=False)
    server.run(port=int(sys.argv[1]), generate_client_file=False)
