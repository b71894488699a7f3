"""Headless Chromium, as Debian has it, for tests of pages."""

from __future__ import annotations

import shutil
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars"
)

# How often Tab has to be pressed: the elements that take the focus between the one that has it and another.
_PRESSES = """
const stops = [...document.querySelectorAll('a[href], button:enabled, input, summary, [tabindex="0"]')]
  .filter((each) => each.checkVisibility() && (each.type !== 'radio' || each.checked));
const goal = stops.findIndex((each) => each.matches(arguments[0]));
const now = document.activeElement;
const isPassed = (each) => each === now || now.compareDocumentPosition(each) & Node.DOCUMENT_POSITION_PRECEDING;
return now === document.body ? goal + 1 : goal - stops.filter(isPassed).length + 1;
"""


def why_not() -> str | None:
    """Return why there is no browser here; None if there is one."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"{' and '.join(missing)} not installed: apt-get install chromium chromium-driver" if missing else None


class Browser:
    """A tab of Chromium, driven by selenium."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, address: str) -> None:
        self.driver.get(address)

    def size(self, width: int, height: int, *, scheme: str = "light", ratio: float = 1.0) -> None:
        """Set size and colours of the screen; narrow ones are those of a phone."""
        screen = {"width": width, "height": height, "deviceScaleFactor": ratio, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        colours = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": colours})

    def one(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)

    def text(self, selector: str) -> str:
        return str(self.run(f"return document.querySelector({selector!r})?.textContent ?? ''"))

    def run(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def until(self, condition: Callable[[], Any], seconds: float = 60.0) -> Any:
        """Return the first true value of ``condition``; elements may vanish meanwhile."""
        from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        ignored = (NoSuchElementException, StaleElementReferenceException)
        return WebDriverWait(self.driver, seconds, 0.1, ignored).until(lambda _: condition())

    def press(self, *keys: str) -> None:
        """Press keys where the focus is."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def tab_to(self, selector: str) -> None:
        """Press Tab until an element has the focus, at least once."""
        from selenium.webdriver.common.keys import Keys

        presses = self.run(_PRESSES, selector)
        self.press(Keys.TAB * max(presses, 1))
        if not self.run("return document.activeElement.matches(arguments[0])", selector):
            there = self.run("return document.activeElement.outerHTML.slice(0, 200)")
            raise AssertionError(f"{presses} times Tab lead to {there}, not to {selector}")

    def canvas(self, selector: str) -> np.ndarray:
        """Return what a canvas shows: BGR, (height, width, 3)."""
        data = self.run(f"return document.querySelector({selector!r}).toDataURL('image/png')")
        return cv2.imdecode(np.frombuffer(b64decode(data.partition(",")[2]), np.uint8), cv2.IMREAD_COLOR)

    def errors(self) -> list[str]:
        """Return the errors that the browser has logged since the last call, such as breaches of the policy."""
        return [each["message"] for each in self.driver.get_log("browser") if each["level"] == "SEVERE"]


@contextmanager
def browsing(profile: Path) -> Iterator[Browser]:
    """Start a browser with an empty profile."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for flag in (*FLAGS.split(), f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.binary_location = shutil.which("chromium") or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
