# SPDX-License-Identifier: MIT
"""As much of WebDriver as the browser test needs, over the standard library: chromedriver, one
session of headless Chromium, scripts, keys, screenshots and the console."""
import base64
import json
import re
import subprocess
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the standard's name of a reference

ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",  # root's Chromium refuses otherwise; the test is in namespaces of its own
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
]


class Failure(Exception):
    pass


class Browser:
    def __init__(self, directory):
        self._log = open(f"{directory}/chromedriver.log", "w+", encoding="utf-8")
        self._driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=self._log, stderr=subprocess.STDOUT)
        self._root = ""
        self._session = ""
        try:
            self._root = f"http://127.0.0.1:{self._port()}"
            self._begin(directory)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            if self._session:
                self._ask("DELETE", "")
        except (Failure, OSError):
            pass
        self._driver.terminate()
        self._driver.wait()
        self._log.close()

    def _port(self):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with open(self._log.name, encoding="utf-8") as log:
                text = log.read()
            found = re.search(r"started successfully on port (\d+)", text)
            if found:
                return found.group(1)
            if self._driver.poll() is not None:
                raise Failure(f"chromedriver ends: {text}")
            time.sleep(0.05)
        raise Failure("chromedriver does not start")

    def _begin(self, directory):
        options = {"args": [*ARGUMENTS, f"--user-data-dir={directory}/profile"]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        answer = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = "/session/" + answer["sessionId"]

    def _call(self, method, path, body=None):
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = urllib.request.Request(self._root + path, data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise Failure(f"{method} {path}: {error.read().decode()[:600]}") from None

    def _ask(self, method, path, body=None):
        return self._call(method, self._session + path, body)

    def open(self, address):
        self._ask("POST", "/url", {"url": address})

    def run(self, script, *arguments):
        """The value of `return ...` in the page."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": arguments})

    def text(self, selector):
        """What is to be read there; "" where nothing is, or it is hidden."""
        return self.run("const node = document.querySelector(arguments[0]);"
                        "return node?.checkVisibility() ? node.innerText : ''", selector)

    def press(self, keys):
        """To whatever has the focus."""
        active = self._ask("GET", "/element/active")[ELEMENT]
        self._ask("POST", f"/element/{active}/value", {"text": keys})

    def devtools(self, command, **parameters):
        return self._ask("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def scheme(self, name):
        """light or dark, as the operator's system says."""
        self.devtools("Emulation.setEmulatedMedia",
                      features=[{"name": "prefers-color-scheme", "value": name}])

    def size(self, width, height, scale=1, mobile=False):
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height,
                      deviceScaleFactor=scale, mobile=mobile)

    def screenshot(self, path, whole=True):
        picture = self.devtools("Page.captureScreenshot", captureBeyondViewport=whole)
        with open(path, "wb") as file:
            file.write(base64.b64decode(picture["data"]))

    def console(self):
        """What came since the last time: [{level, message, ...}]."""
        return self._ask("POST", "/se/log", {"type": "browser"})
