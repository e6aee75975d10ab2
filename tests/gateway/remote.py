"""The gateway as a process of its own, with the same methods as `Gateway`."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.gateway.journal import Entry, Reading
from tests.gateway.script import Behaviour

ROOT = Path(__file__).resolve().parents[2]


class RemoteJournal(Reading):
    """The journal of a gateway elsewhere; every question fetches it anew."""

    def __init__(self, gateway: RemoteGateway) -> None:
        self._gateway = gateway

    @property
    def entries(self) -> list[Entry]:
        return [Entry(**fields) for fields in self._gateway.control("journal")["entries"]]


class RemoteGateway:
    """Talks to a running gateway through its control API."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.journal = RemoteJournal(self)

    @property
    def base_urls(self) -> dict[str, str]:
        return dict(self.control("health")["base_urls"])

    def script(
        self, slug: str | None, behaviour: Behaviour, *, number: str | None = None, times: int | None = None
    ) -> None:
        self.control("script", {"slug": slug, "number": number, "times": times, "behaviour": behaviour.as_json()})

    def release(self) -> None:
        self.control("release", {})

    def reset(self) -> None:
        self.control("reset", {})

    def control(self, what: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_control/{what}", data=data)
        with urllib.request.urlopen(request, timeout=30) as response:
            return dict(json.load(response))


class GatewayProcess(RemoteGateway):
    """Starts `python -m tests.gateway` and stops it at the end."""

    def __init__(self, *, journal_path: Path | None = None) -> None:
        command = [sys.executable, "-m", "tests.gateway", "--port", "0"]
        if journal_path:
            command += ["--journal", str(journal_path)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        super().__init__(json.loads(self._process.stdout.readline())["url"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._process.communicate()  # closes its stdin, which is the sign to stop
