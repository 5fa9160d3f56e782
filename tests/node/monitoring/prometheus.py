"""A real Prometheus."""

import subprocess
from pathlib import Path
from typing import Any

import httpx

from tests.node.monitoring.conftest import installed


class Prometheus:
    """One process of it, and the questions that tests ask."""

    def __init__(self, folder: Path, config: Path, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._http = httpx.Client(base_url=self._url, timeout=5.0)
        self._log = (folder / "prometheus.log").open("w")
        self._process = subprocess.Popen(
            [
                installed("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=warn",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def ready(self) -> bool:
        try:
            return self._http.get("/-/ready").is_success
        except httpx.TransportError:
            return False

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression now."""
        answer = self._http.get("/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", (expression, answer)
        result = answer["data"]["result"]
        return result if answer["data"]["resultType"] == "vector" else [{"value": result}]

    def value(self, expression: str) -> float | None:
        """The only value of an expression; None while there is none."""
        series = self.ask(expression)
        return float(series[0]["value"][1]) if series else None

    def firing(self, alert: str) -> list[dict[str, Any]]:
        """The alerts of a name that fire, as a person would be shown them."""
        found = self._http.get("/api/v1/alerts").json()["data"]["alerts"]
        named = (each for each in found if each["labels"]["alertname"] == alert)
        return [each for each in named if each["state"] == "firing"]

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._http.close()
        self._log.close()
