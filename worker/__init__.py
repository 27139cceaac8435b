"""Runs jobs: processes, connections, transactions, retries.

`arq worker.main` looks for an attribute `main` of this package; the module is imported when it is asked for.
"""

from importlib import import_module
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    if name == "main":
        return import_module("worker.main")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
