"""The endless answers: records for the page, multipart JPEG for other programs."""

from __future__ import annotations

import asyncio

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from edgekit_deploy.web.hub import Hub
from edgekit_deploy.web.pictures import BOUNDARY, Picture

RECORDS = "application/octet-stream"
MULTIPART = f"multipart/x-mixed-replace; boundary={BOUNDARY.decode()}"


class LiveResponse(Response):
    """Sends the newest picture whenever the viewer has taken the one before: a slow viewer skips, and sees no old one.

    Args:
        hub: Where pictures come from.
        is_multipart: As multipart/x-mixed-replace, else as `Picture.record`.
    """

    def __init__(self, hub: Hub, is_multipart: bool) -> None:
        super().__init__(media_type=MULTIPART if is_multipart else RECORDS)
        del self.headers["content-length"]
        self._hub, self._is_multipart = hub, is_multipart

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the viewer goes or the page closes."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        if scope["method"] == "HEAD":
            await send(start)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        with self._hub.viewer():
            await send(start)
            tasks = {asyncio.create_task(self._send_all(send)), asyncio.create_task(_until_gone(receive))}
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _send_all(self, send: Send) -> None:
        picture: Picture | None = None
        while (picture := await self._hub.next(picture)) is not None:
            chunk = picture.part if self._is_multipart else picture.record
            if chunk:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
