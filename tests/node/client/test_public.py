"""What `stationkeep` offers to programs."""

import subprocess
import sys

import stationkeep
from stationkeep.node import client


def test_every_public_name_is_there() -> None:
    assert {name: getattr(stationkeep, name) for name in stationkeep.__all__}
    assert set(client.__all__) < set(stationkeep.__all__)


def test_every_error_is_one_that_a_program_can_catch() -> None:
    errors = [name for name in client.__all__ if name.endswith("Error")]
    assert len(errors) == 10
    assert all(issubclass(getattr(client, name), client.StationkeepError) for name in errors)


def test_a_client_brings_nothing_of_a_node() -> None:
    script = """
import sys
from stationkeep import AsyncClient, Client
Client().close()
heavy = {"numpy", "psutil", "fastapi", "uvicorn", "pysyncobj", "websockets", "typer"}
print(*heavy & set(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "\n"
