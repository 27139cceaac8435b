"""The live page at `/`: what the system does at this moment, told once a second to everybody who watches."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from worker.queue.dead_letters import DeadLetters
from worker.queue.replay import Replay, stays_dead
from worker.queue.vitals import read_deadlock
from worker.web.authentication import needs_key
from worker.web.beats import Beats
from worker.web.bodies import read_json
from worker.web.problems import Problem
from worker.web.servers import DATABASE, QUEUE, SETTINGS
from worker.web.watch import Watch

SEND_SECONDS: Final = 5.0  # who does not take a beat within these is let go, and may come again
REPLAY_SECONDS: Final = 10.0
MOST_BYTES: Final = 16 * 1024  # of a request
WATCH: Final = web.AppKey("WATCH", Watch)
REPLAY: Final = web.AppKey("REPLAY", Replay)
_FOLDER: Final = Path(__file__).parent
_PAGE: Final = (_FOLDER / "templates" / "live.html").read_text(encoding="utf-8")
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PICTURE_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'"  # it carries its style, and no script
)
_SECURE: Final = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}

routes: Final = web.RouteTableDef()
routes.static("/static", _FOLDER / "static")


class ReplayRequest(BaseModel):
    """Which dead letter to replay."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job_id: str = Field(min_length=1, max_length=2048)


async def open_watch(application: web.Application) -> AsyncIterator[None]:
    """After `open_servers`."""
    database, queue = application[DATABASE], application[QUEUE]
    stream = application[SETTINGS].events_stream
    application[WATCH] = watch = Watch(partial(Beats, database, queue, stream))
    application[REPLAY] = replay = Replay(DeadLetters(database, queue), queue)
    yield
    await watch.stop()
    await replay.stop()


async def end_watch(application: web.Application) -> None:
    """When the server begins to stop, which waits for those who watch."""
    application[WATCH].end()


@routes.get("/")
async def page(_: web.Request) -> web.Response:
    """The page; its numbers come by `/live/events`."""
    return web.Response(
        text=_PAGE, content_type="text/html", headers={"Content-Security-Policy": _POLICY, **_SECURE}
    )


@routes.get("/live")
async def live(request: web.Request) -> web.Response:
    """The next beat alone, for a program."""
    watch = request.app[WATCH]
    with watch.joined():
        beat = await watch.next()
    if beat is None:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "this server stops")
    return web.Response(
        body=beat.json, content_type="application/json", headers={"Cache-Control": "no-store"}
    )


@routes.get("/live/events")
async def events(request: web.Request) -> web.StreamResponse:
    """Server-sent events: `history` (five minutes of points) once, then a `beat` a second, until either side ends it."""
    watch = request.app[WATCH]
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )
    with watch.joined():
        await response.prepare(request)
        try:
            beat = watch.latest or await watch.next()
            await _send(response, "history", orjson.dumps(beat.points if beat else []))
            while beat:
                await _send(response, "beat", beat.json)
                beat = await watch.next()
        except TimeoutError:
            if request.transport:
                request.transport.abort()  # a polite end would wait for what lies in its buffer
        except ConnectionResetError:
            pass  # it has gone
    return response


async def _send(response: web.StreamResponse, name: str, data: bytes) -> None:
    async with asyncio.timeout(SEND_SECONDS):
        await response.write(b"event: %s\ndata: %s\n\n" % (name.encode(), data))


@routes.get("/live/deadlock.svg")
async def deadlock(request: web.Request) -> web.Response:
    """The picture of the last deadlock that a worker has met."""
    queue = request.app[QUEUE]
    kept = await read_deadlock(queue, queue.default_queue_name)
    if kept is None:
        raise Problem(HTTPStatus.NOT_FOUND, "no worker has met a deadlock within a day")
    headers = {"Content-Security-Policy": _PICTURE_POLICY, "Cache-Control": "no-store", **_SECURE}
    return web.Response(text=kept.svg, content_type="image/svg+xml", headers=headers)


@routes.post("/live/replay")
@needs_key
async def replay(request: web.Request) -> web.Response:
    """Run a dead letter's job again, and wait a while for what it comes to; 202 where it needs longer."""
    wanted = ReplayRequest.model_validate(await read_json(request, MOST_BYTES))
    replay = request.app[REPLAY]
    letters = await replay.letters.of(wanted.job_id)
    if not letters:
        raise Problem(HTTPStatus.NOT_FOUND, "there is no dead letter of this job")
    try:
        async with asyncio.timeout(REPLAY_SECONDS):
            outcomes = [await replay.run(letter) for letter in letters]
    except TimeoutError:
        return web.json_response({"waiting": True}, status=HTTPStatus.ACCEPTED)
    return web.json_response({"outcomes": outcomes, "dead": sum(map(stays_dead, outcomes))})
