"""What the figures were measured on."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from arq.connections import ArqRedis

from jobs.transaction import Statement
from worker.database.transactions import Database

_VERSION = Statement("version", "SELECT VERSION() AS version")


async def describe(database: Database, redis: ArqRedis) -> dict[str, str]:
    """When and where; `load` is the load average before the first round, and should be near zero."""
    (row,) = await database.fetch(_VERSION, {})
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": f"{os.cpu_count()} x {_processor()}",
        "load": f"{os.getloadavg()[0]:.2f}",
        "system": platform.platform(),
        "python": platform.python_version(),
        "database": row["version"],
        "redis": (await redis.info("server"))["redis_version"],
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
