"""A real headless Chromium, driven over its DevTools protocol: opens a page, waits, reads what a user sees.
Notes every request that a page makes and every error that it logs."""

import base64
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WHY_NOT = "no Chromium on this machine, so no page is looked at (Debian: apt-get install chromium)"
_SECONDS = 240  # for anything: the machine may be busy

# Without these it speaks to its maker's hosts by itself, which would count as requests of the page.
_FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --disable-default-apps --disable-extensions --mute-audio --hide-scrollbars
--disable-features=Translate,OptimizationHints,MediaRouter --remote-debugging-port=0""".split()


class Browser:
    """One Chromium with one page.

    Args:
        folder: for its profile; must be new.

    Attributes:
        requests: addresses asked for since `open`, data that the page itself holds (data:, blob:) left out.
        errors: what the page has logged as an error, and requests that failed, since `open`.
    """

    def __init__(self, folder: Path) -> None:
        from websockets.sync.client import connect

        assert CHROMIUM is not None, WHY_NOT
        self.requests: list[str] = []
        self.errors: list[str] = []
        self._numbers = itertools.count(1)
        with (folder.parent / f"{folder.name}.log").open("w") as log:
            self._process = subprocess.Popen(
                [CHROMIUM, *_FLAGS, f"--user-data-dir={folder}", "about:blank"], stdout=log, stderr=log
            )
        port = self._port(folder / "DevToolsActivePort")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=_SECONDS) as answer:
            page = next(one for one in json.load(answer) if one["type"] == "page")
        # No pings: on a busy machine a browser at work may answer them too late, and the connection would be dropped.
        self._socket = connect(page["webSocketDebuggerUrl"], max_size=None, open_timeout=_SECONDS, ping_interval=None)
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._ask(f"{domain}.enable")

    def look(self, width: int, height: int, dark: bool = False) -> None:
        """The window's size in pixels, and the colours that the user prefers."""
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url: str) -> None:
        """Go to a page; returns once it has loaded."""
        self.requests.clear()
        self.errors.clear()
        self._ask("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def read(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self._ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    @property
    def text(self) -> str:
        """What the page shows as text."""
        return self.read("document.body ? document.body.innerText : ''")

    def wait(self, expression: str) -> None:
        """Until a JavaScript expression is true."""
        deadline = time.monotonic() + _SECONDS
        while not self.read(f"Boolean({expression})"):
            assert time.monotonic() < deadline, f"{expression} did not become true; the page says:\n{self.text}"
            self._events(0.2)

    def wait_for_text(self, *texts: str) -> None:
        """Until the page shows all of these."""
        self.wait(f"{json.dumps(texts)}.every(text => document.body.innerText.includes(text))")

    def picture(self, path: Path, whole: bool = True) -> Path:
        """A screenshot as PNG: of the whole page, or of the window."""
        shot = self._ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    def close(self) -> None:
        """End it."""
        self._socket.close()
        self._process.terminate()
        self._process.wait()

    def _port(self, path: Path) -> int:
        deadline = time.monotonic() + _SECONDS
        while not (path.exists() and path.read_text().count("\n")):
            assert self._process.poll() is None, f"Chromium ended with {self._process.returncode}"
            assert time.monotonic() < deadline, "Chromium did not start"
            time.sleep(0.1)
        return int(path.read_text().split()[0])

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=_SECONDS))
            if message.get("id") == number:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            self._note(message)

    def _events(self, seconds: float) -> None:
        """Take in what the page reports for a while."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                self._note(json.loads(self._socket.recv(timeout=left)))
            except TimeoutError:
                return

    def _note(self, message: dict[str, Any]) -> None:
        method, params = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            if not params["request"]["url"].startswith(("data:", "blob:")):
                self.requests.append(params["request"]["url"])
        elif method == "Network.loadingFailed" and not params.get("canceled"):
            self.errors.append(f"request failed: {params.get('errorText')}")
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}".strip())
        elif method == "Runtime.exceptionThrown":
            self.errors.append(params["exceptionDetails"].get("exception", {}).get("description", "exception"))
        elif method == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.errors.append(" ".join(str(one.get("value", one.get("description"))) for one in params["args"]))
