import json
import subprocess
from collections.abc import Callable

RunPython = Callable[..., subprocess.CompletedProcess[str]]


def test_the_client_needs_no_settings_and_no_driver(run_python: RunPython) -> None:
    done = run_python("import json, sys, worker.client; print(json.dumps(list(sys.modules)))")
    assert done.returncode == 0, done.stderr
    imported = set(json.loads(done.stdout))
    assert "worker.client" in imported
    unwanted = {"aiomysql", "pymysql", "tenacity", "aiohttp", "pydantic_settings", "worker.settings"}
    assert imported & unwanted == set()
