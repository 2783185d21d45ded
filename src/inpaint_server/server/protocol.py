"""HTTP/1.1 as uvicorn speaks it, with the one error that it writes itself in our format."""

from __future__ import annotations

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from inpaint_server.errors import InvalidRequest
from inpaint_server.server.record import request_id_of


class Http1Protocol(H11Protocol):
    """Answers what is no HTTP with the body and headers that all errors of this server have."""

    def send_400_response(self, msg: str) -> None:
        """Send the error and close the connection; uvicorn's own text is dropped."""
        del msg
        request_id = request_id_of({})
        body = InvalidRequest("Send a well-formed HTTP/1.1 request.").to_json(request_id)
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            "x-request-id": request_id,
            "connection": "close",
        }
        response = h11.Response(status_code=InvalidRequest.status, headers=[*headers.items()], reason="Bad Request")
        for event in (response, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
