"""`lockstep worker --processes N`: workers that are started again when they end, until this is told to stop."""

import asyncio
import logging
import os
import signal
import sys
from contextlib import suppress
from typing import Final

import structlog

from worker.logs import set_up_logs
from worker.settings import Settings

logger = structlog.get_logger()

FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 30.0
STEADY_SECONDS: Final = 60.0  # who has lived for so long has not failed at its start: the pauses begin anew
KILL_SECONDS: Final = 15.0  # after a worker's own limit, it hangs
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def supervise(processes: int, settings: Settings) -> int:
    """Run until SIGTERM or Ctrl-C; then stop all workers, and wait for them. The exit code: 1 if one did not end well."""
    set_up_logs(settings.log_format, settings.log_level)
    return asyncio.run(_supervise(processes, settings))


async def _supervise(processes: int, settings: Settings) -> int:
    stopping = asyncio.Event()
    for number in _SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    standard_input, _ = os.pipe()  # its other end is open for as long as this process lives, and in no other
    workers = (_keep_one(number, standard_input, stopping, settings) for number in range(1, processes + 1))
    ended_well = all(await asyncio.gather(*workers))
    logger.info("all workers have ended", ended_well=ended_well)
    return int(not ended_well)


def stop_with_supervisor(loop: asyncio.AbstractEventLoop) -> None:
    """In a worker: stop as by SIGTERM at the end of standard input, which comes when the supervisor has died."""

    def stop() -> None:
        loop.remove_reader(sys.stdin)
        os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(sys.stdin, stop)


async def _keep_one(number: int, standard_input: int, stopping: asyncio.Event, settings: Settings) -> bool:
    """Whether the last of the workers that had this number ended well when it was told to stop."""
    clock = asyncio.get_running_loop().time
    pause = FIRST_PAUSE_SECONDS
    while not stopping.is_set():
        # In a session of its own: Ctrl-C reaches it through us alone.
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "worker", "worker", "--supervised",
            env={**os.environ, **_own_port(number, settings)}, stdin=standard_input, start_new_session=True,
        )  # fmt: skip
        began = clock()
        logger.info("worker starts", worker=number, pid=process.pid)
        code = await _ended(process, stopping)
        if code is None:
            return await _stop(process, number, settings.stop_seconds + KILL_SECONDS)
        pause = FIRST_PAUSE_SECONDS if clock() - began > STEADY_SECONDS else pause
        logger.error(
            "worker has ended by itself",
            worker=number,
            pid=process.pid,
            exit_code=code,
            next_in_seconds=pause,
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await stopping.wait()
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
    return True


def _own_port(number: int, settings: Settings) -> dict[str, str]:
    """The first worker answers at the port of the settings, each other at the next one."""
    return {"LOCKSTEP_METRICS_PORT": str(settings.metrics_port + number - 1)} if settings.metrics_port else {}


async def _ended(process: asyncio.subprocess.Process, stopping: asyncio.Event) -> int | None:
    """Its exit code; None where it has to be stopped."""
    ended, stop = asyncio.create_task(process.wait()), asyncio.create_task(stopping.wait())
    await asyncio.wait([ended, stop], return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if ended.done() and not stopping.is_set():
        return ended.result()
    ended.cancel()
    return None


async def _stop(process: asyncio.subprocess.Process, number: int, kill_seconds: float) -> bool:
    with suppress(ProcessLookupError):  # it has ended in this moment
        process.terminate()
    try:
        async with asyncio.timeout(kill_seconds):
            code = await process.wait()
    except TimeoutError:
        process.kill()
        code = await process.wait()
    level = logging.ERROR if code else logging.INFO
    logger.log(level, "worker has stopped", worker=number, pid=process.pid, exit_code=code)
    return code == 0
