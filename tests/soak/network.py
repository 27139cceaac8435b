"""The way to a server, which may be slow, silent, or cut."""

import asyncio
from contextlib import suppress

from tests.lab.traps.redis_door import CHUNK, Door


class Way(Door):
    """A door to either server, on a port of its own."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.in_hand = asyncio.Lock()  # of one fault at a time
        self.delay_seconds = 0.0  # of all that passes, each way

    async def cut(self) -> None:
        """End every connection; new ones are let in."""
        visits = list(self._visits)
        for visit in visits:
            visit.cancel()
        await asyncio.gather(*visits, return_exceptions=True)

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):  # the server is down
                await super()._lead(reader, writer)
        finally:
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                await asyncio.sleep(self.delay_seconds)
                if not self.swallows:
                    writer.write(data)
                    await writer.drain()
        writer.close()
