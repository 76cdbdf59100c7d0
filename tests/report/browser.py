"""Headless Chromium by its own protocol over a pipe: standard library only, no driver to install."""

import json
import os
import shutil
import subprocess
import time
from base64 import b64decode
from pathlib import Path

PATHS = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str | None:
    return next((found for name in PATHS if (found := shutil.which(name))), None)


class Page:
    """One page in one browser. errors: everything the console complains about; requests: every address asked for."""

    def __init__(self, folder: Path):
        to_read, self.to_write = os.pipe()
        self.to_hear, to_speak = os.pipe()
        program = chromium()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run",
                   "--disable-dev-shm-usage", "--hide-scrollbars", f"--user-data-dir={folder}"]  # fmt: skip

        def pipes() -> None:  # the browser reads from 3 and writes to 4
            one, other = os.dup(to_read), os.dup(to_speak)
            os.dup2(one, 3)
            os.dup2(other, 4)

        self.process = subprocess.Popen(
            [program, *options, "about:blank"], preexec_fn=pipes, close_fds=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_read)
        os.close(to_speak)
        os.set_blocking(self.to_hear, False)
        self.heard = b""
        self.number = 0
        self.session = None
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.loaded = False
        target = next(one for one in self.send("Target.getTargets")["targetInfos"] if one["type"] == "page")
        self.session = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to_write, json.dumps(message).encode() + b"\0")
        return self._until(lambda answer: answer.get("id") == self.number)["result"]

    def _until(self, wanted, seconds: float = 60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            while b"\0" in self.heard:
                text, _, self.heard = self.heard.partition(b"\0")
                message = json.loads(text)
                self._note(message)
                if "error" in message:
                    raise AssertionError(message["error"])
                if wanted(message):
                    return message
            try:
                self.heard += os.read(self.to_hear, 1 << 20)
            except BlockingIOError:
                time.sleep(0.005)
        raise TimeoutError("the browser did not answer")

    def _note(self, message) -> None:
        params, method = message.get("params", {}), message.get("method")
        if method == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append(str(params["args"]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def open(
        self, path: Path, width: int = 1280, height: int = 900, *, dark: bool = False, phone: bool = False
    ) -> None:
        self.errors, self.requests = [], []
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send("Page.navigate", url=path.as_uri())
        self._until(lambda message: message.get("method") == "Page.loadEventFired")

    def run(self, script: str):
        """The value of a JavaScript expression."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        text = {"Enter": "\r", "Tab": ""}.get(key, key if len(key) == 1 else "")
        codes = {"Enter": 13, "Tab": 9, "Escape": 27, "ArrowRight": 39}
        common = {"key": key, "windowsVirtualKeyCode": codes.get(key, ord(key[0].upper()))}
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def picture(self, path: Path, *, whole: bool = True) -> None:
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(b64decode(shot["data"]))

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        os.close(self.to_write)
        os.close(self.to_hear)
