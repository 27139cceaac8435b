"""Jobs that do nothing: what is left is the queue itself, the ceiling of one order a job.

`arq benchmarks.noop.settings` runs them with the settings of `arq worker.main`.
"""

from typing import Any, Final

import structlog
from arq.worker import func, get_kwargs

from worker import main
from worker.logs import set_up_logs
from worker.queue.tasks import FUNCTIONS


async def _do_nothing(ctx: dict[Any, Any], payload: object) -> None:  # noqa: ARG001  # arq gives them
    return


async def _say_that_it_started(_ctx: dict[Any, Any]) -> None:
    set_up_logs("json", "info")
    structlog.get_logger().info("started")


settings: Final[dict[str, Any]] = {
    **get_kwargs(main),  # type: ignore[arg-type]  # arq reads any object's names
    "functions": [func(_do_nothing, name=function.name) for function in FUNCTIONS],
    "on_startup": _say_that_it_started,
    "on_shutdown": None,
}
