"""The client-server API of the content repository: files put there and fetched.

Bytes in, bytes out: nothing here looks into a file, encrypts it or trusts what it is said to be.
Spec: "Content Repository". One attempt per request, as in `client`.
"""

from __future__ import annotations

import re

from antiphon.adapter.matrix.transport.answers import V1, misses, path, text
from antiphon.adapter.matrix.transport.http import Http, Upload
from antiphon.errors import MatrixApiError

TIMEOUT_S = 300.0
UNKNOWN_MIME = "application/octet-stream"
MAX_FILENAME = 255

_MXC = re.compile(
    r"mxc://(?P<server>[A-Za-z0-9][A-Za-z0-9.\-]{0,229}(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{1,5})?)"
    r"/(?P<media>[A-Za-z0-9_-]{1,255})"
)
_MIME = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,100}/[A-Za-z0-9!#$&^_.+-]{1,100}")


def is_mxc(address: object) -> bool:
    """Whether this is the address of a file, such as `mxc://example.org/abc`."""
    return isinstance(address, str) and _MXC.fullmatch(address) is not None


class MediaApi:
    """Requests about files; a `MatrixClient` hands it out as `media`.

    Any method can raise what `MatrixClient`'s can."""

    def __init__(self, http: Http):
        self._http = http

    async def upload(
        self, body: bytes, mime: str = UNKNOWN_MIME, filename: str | None = None
    ) -> str:
        """Puts a file at the homeserver and gives its `mxc://` address. POST /media/v3/upload.

        Not idempotent: each gives another address. Encrypted files go as
        `application/octet-stream` without a name. Raises MatrixApiError with M_TOO_LARGE above
        the homeserver's limit."""
        answer = await self._http.ask(
            "take a file",
            "POST",
            "/_matrix/media/v3/upload",
            query=None if filename is None else {"filename": filename[:MAX_FILENAME]},
            body=Upload(body, mime if _MIME.fullmatch(mime) else UNKNOWN_MIME),
            timeout_s=TIMEOUT_S,
        )
        address = text(answer, "content_uri", "upload")
        if not is_mxc(address):
            raise misses("an mxc address", "upload")
        return address

    async def download(self, address: str, most_bytes: int) -> bytes:
        """The file at an `mxc://` address, from whichever homeserver has it.
        GET /_matrix/client/v1/media/download.

        Reads no further than `most_bytes`: raises MatrixApiError with M_TOO_LARGE for a larger
        file, with M_NOT_FOUND where there is none, with M_INVALID_PARAM where the address is
        none. A redirect to a store elsewhere is followed, without the token."""
        parts = _MXC.fullmatch(address)
        if parts is None:
            raise MatrixApiError("This is no mxc:// address of a file.", 400, "M_INVALID_PARAM")
        return await self._http.download(
            "give a file",
            path("media", "download", parts["server"], parts["media"], base=V1),
            most_bytes=most_bytes,
            timeout_s=TIMEOUT_S,
        )
