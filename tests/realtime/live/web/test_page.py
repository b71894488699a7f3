"""The page in a real browser: tiles, landmarks on the face, figures, a reconnection, sources, keyboard and layout."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import nasion
from nasion.engines.errors import SourceError
from nasion.realtime.live.hub import Hub
from nasion.realtime.live.web.options import Serving
from nasion.realtime.live.web.server import Server
from nasion.realtime.live.web.serving import serve
from nasion.realtime.sources import open_source
from nasion.realtime.tracking.options import TrackerOptions

from ....support.browser import Browser, browsing, why_not
from .conftest import TOKEN

pytest.importorskip("selenium", reason="selenium is not installed: pip install -e '.[dev]'")
pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

PATTERN = "pattern:live?seconds=600"
DOOR, YARD = '[data-source="door"]', '[data-source="yard"]'


class Flaky:
    """A camera over a photograph that can be unplugged."""

    def __init__(self) -> None:
        self.is_unplugged = threading.Event()

    def open(self) -> Flaky:
        self._check()
        self._source = open_source(PATTERN)
        self.info = self._source.info
        return self

    def __iter__(self) -> Flaky:
        return self

    def __next__(self) -> nasion.Frame:
        self._check()
        return next(self._source)

    def __enter__(self) -> Flaky:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._source.close()

    def _check(self) -> None:
        if self.is_unplugged.is_set():
            raise SourceError("the cable is unplugged")


@pytest.fixture(scope="module")
def flaky() -> Flaky:
    return Flaky()


@pytest.fixture(scope="module")
def hub(flaky: Flaky) -> Iterator[Hub]:
    with Hub(TrackerOptions(max_faces=2, threads=1), timeout=60) as started:
        started.add(PATTERN, name="door", max_fps=5)
        started.add("rtsp://user:hunter2@camera.local/yard", name="yard", max_fps=5, opener=flaky.open)
        yield started


@pytest.fixture(scope="module")
def server(hub: Hub) -> Iterator[Server]:
    with serve(hub, Serving(port=0)) as started:
        yield started


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def page(browser: Browser, server: Server) -> Browser:
    """The page, freshly opened, with frames of both sources."""
    browser.errors()
    browser.size(1280, 900)
    if browser.driver.current_url == server.address:
        browser.run("localStorage.clear()")
    browser.open(server.address)
    browser.until(lambda: len(browser.all(".tile[data-frame]")) == 2)
    return browser


def state_of(page: Browser, tile: str) -> str:
    return page.text(f"{tile} .state")


def check(page: Browser, selector: str, wanted: bool = True) -> None:
    """Check or clear a box, or choose one of several."""
    page.run(
        "const b = document.querySelector(arguments[0]); if (b.checked !== arguments[1]) b.click()", selector, wanted
    )


def test_tiles_move_and_figures_change(page: Browser) -> None:
    def figures() -> tuple[str, str, str]:
        frame = page.run(f"return document.querySelector('{DOOR}').dataset.frame")
        return frame, page.text("#figures tr:first-child td:nth-of-type(6)"), page.text("#plot-fps polyline") or frame

    before, shown = figures(), page.canvas(f"{DOOR} canvas")
    page.until(lambda: all(a != b for a, b in zip(figures(), before, strict=True)))
    page.until(lambda: np.abs(page.canvas(f"{DOOR} canvas").astype(int) - shown).mean() > 0.5)
    page.until(lambda: float(page.text(f'{DOOR} [data-figure="fps"]')) > 0)
    assert page.text(f'{DOOR} [data-figure="p95"]').endswith("ms")
    page.until(lambda: page.text(f"{DOOR} .faces").startswith("Face 1"))
    assert page.text("#total-sources") == "2 of 2 live"
    assert len(page.all("#plot-latency polyline")) == 2
    assert "Image of door" in page.one(f"{DOOR} canvas").get_attribute("aria-label")


def test_landmarks_lie_on_the_face(page: Browser, hub: Hub) -> None:
    """Compare the drawing with landmarks that are found in the image that the canvas shows without it."""
    page.until(lambda: page.text(f"{DOOR} .faces").startswith("Face"))
    hub.pause("door")
    try:
        page.until(lambda: state_of(page, DOOR) == "Paused")
        check(page, "[name=size][value=large]")
        page.until(lambda: page.run(f"return document.querySelector('{DOOR} canvas').width") > 500)
        for name in ("landmarks", "lines", "boxes"):
            check(page, f"[name={name}]", False)
        plain = page.canvas(f"{DOOR} canvas")
        check(page, "[name=landmarks]")
        drawn = page.canvas(f"{DOOR} canvas")
    finally:
        hub.resume("door")
    changed = np.abs(drawn.astype(int) - plain).max(axis=2) > 40
    (face,) = nasion.detect(plain)
    size = float(np.linalg.norm(face.landmarks[36] - face.landmarks[45]))
    ys, xs = np.nonzero(changed)
    places = np.stack([xs, ys], axis=1)
    missed = [np.linalg.norm(places - point, axis=1).min() / size for point in face.landmarks]
    assert np.mean(missed) < 0.05  # of the distance of the outer corners of the eyes
    x0, y0, x1, y1 = face.box
    margin = 0.15 * size
    inside = (xs > x0 - margin) & (xs < x1 + margin) & (ys > y0 - margin) & (ys < y1 + margin)
    assert inside.mean() > 0.99
    assert 68 * 4 < changed.sum() < 0.5 * (x1 - x0) * (y1 - y0)


def dots_alone(page: Browser) -> list[np.ndarray]:
    """Return the canvas in a list, which is empty while it shows an image or no landmarks."""
    image = page.canvas(f"{DOOR} canvas")
    return [image] if image[:20, :20].max() < 30 < (image[..., 1] > 70).sum() else []


def test_the_image_can_be_dimmed_and_hidden_with_the_landmarks_left(page: Browser) -> None:
    for name in ("lines", "boxes"):
        check(page, f"[name={name}]", False)
    bright = page.canvas(f"{DOOR} canvas").mean()
    check(page, "[name=image][value=dimmed]")
    assert 0.1 < page.canvas(f"{DOOR} canvas").mean() / bright < 0.6
    check(page, "[name=image][value=hidden]")
    (hidden,) = page.until(lambda: dots_alone(page))
    assert (hidden[..., 1] > 70).sum() < hidden.shape[0] * hidden.shape[1] / 50  # the dots, and nothing else
    check(page, "[name=landmarks]", False)
    page.until(lambda: (page.canvas(f"{DOOR} canvas")[..., 1] > 70).sum() == 0)
    page.driver.refresh()
    page.until(lambda: page.all(f"{DOOR}[data-frame]"))
    assert page.run("return document.querySelector('[name=image]:checked').value") == "hidden"  # it is remembered


def test_a_reconnection_is_seen_and_told(page: Browser, flaky: Flaky) -> None:
    before = int(page.text(f'{YARD} [data-figure="reconnects"]'))
    flaky.is_unplugged.set()
    try:
        page.until(lambda: state_of(page, YARD) == "Reconnecting")
        page.until(lambda: "the cable is unplugged" in page.text(f"{YARD} .reason"))
        page.until(
            lambda: page.text(f"{YARD} .next") in ("Trying again", *(f"Next attempt in {n} s" for n in range(1, 60)))
        )
        page.until(lambda: "yard: Reconnecting" in page.text("#news"))  # for screen readers
        assert page.one(f"{YARD} .notice").is_displayed()
        assert state_of(page, DOOR) == "Live"
    finally:
        flaky.is_unplugged.clear()
    page.until(lambda: state_of(page, YARD) == "Live")
    page.until(lambda: int(page.text(f'{YARD} [data-figure="reconnects"]')) == before + 1)
    assert not page.one(f"{YARD} .notice").is_displayed()
    newest = [each.text for each in page.all("#events li")][:2]
    assert "Live" in newest[0]
    assert "Reconnecting: the cable is unplugged" in newest[1]


def test_a_source_is_added_paused_enlarged_and_removed_by_keyboard(page: Browser, hub: Hub) -> None:
    from selenium.webdriver.common.keys import Keys

    page.tab_to("#add")
    page.press(Keys.ENTER)
    assert page.run("return document.activeElement.name") == "source"
    page.press("nothing.mp4", Keys.ENTER)
    page.until(lambda: "does not exist" in page.text("#add-dialog .error"))
    page.press(Keys.ESCAPE)
    page.until(lambda: page.run("return document.activeElement.id") == "add")  # the focus is back
    page.press(Keys.ENTER)
    page.press(PATTERN, Keys.TAB, "hall", Keys.ENTER)
    hall = '[data-source="hall"]'
    page.until(lambda: state_of(page, hall) == "Live")
    assert not page.one("#add-dialog").is_displayed()
    page.tab_to(f"{hall} [data-do=pause]")
    assert page.run("return document.activeElement.getAttribute('aria-label')") == "Pause hall"
    page.press(Keys.SPACE)
    page.until(lambda: state_of(page, hall) == "Paused")
    page.tab_to(f"{hall} [data-do=enlarge]")
    page.press(Keys.ENTER)
    assert not page.one(DOOR).is_displayed()
    page.press(Keys.ESCAPE)
    assert page.one(DOOR).is_displayed()
    page.tab_to(f"{hall} [data-do=remove]")
    page.press(Keys.ENTER)
    assert page.run("return document.activeElement.textContent") == "Cancel"
    page.press(Keys.TAB, Keys.ENTER)
    page.until(lambda: not page.all(hall))
    assert page.run("return document.activeElement.id") == "sources"
    assert hub.names() == ("door", "yard")


def test_a_server_that_was_away_is_found_again(browser: Browser, hub: Hub) -> None:
    with serve(hub, Serving(port=0)) as first:
        browser.open(first.address)
        browser.until(lambda: browser.text("#connection") == "Connected")
    browser.until(lambda: browser.text("#connection") == "Server lost")
    with serve(hub, Serving.of(first.address.split("/")[2])):
        browser.until(lambda: browser.text("#connection") == "Connected")
        frame = browser.run(f"return document.querySelector('{DOOR}').dataset.frame")
        browser.until(lambda: browser.run(f"return document.querySelector('{DOOR}').dataset.frame") != frame)


def test_signing_in_with_the_token(browser: Browser, hub: Hub) -> None:
    from selenium.webdriver.common.keys import Keys

    with serve(hub, Serving(port=0, token=TOKEN)) as server:
        browser.open(server.address)
        browser.one("#token").send_keys("wrong-horse-battery", Keys.ENTER)
        browser.until(lambda: browser.text(".error") == "This is not the token.")
        browser.one("#token").send_keys(TOKEN, Keys.ENTER)
        browser.until(lambda: browser.all(f"{DOOR}[data-frame]"))
        assert browser.driver.current_url == server.address
        assert browser.run("return document.cookie") == ""  # scripts cannot read it
        assert TOKEN not in browser.driver.page_source
        browser.one("#sign-out button").click()
        browser.until(lambda: browser.all("#token"))


def test_everything_comes_from_the_server_and_the_policy_is_kept(page: Browser, server: Server) -> None:
    loaded = page.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert len(loaded) >= 8
    assert all(each.replace("ws:", "http:").startswith(server.address) for each in loaded)
    assert page.errors() == []


def test_every_control_and_image_has_a_name_for_screen_readers(page: Browser) -> None:
    page.driver.execute_cdp_cmd("Accessibility.enable", {})
    nodes = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    page.driver.execute_cdp_cmd("Accessibility.disable", {})
    roles = ("button", "checkbox", "radio", "image", "img", "article", "region", "link", "group", "table", "textbox")
    found = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"] and node["role"]["value"] in roles
    ]
    assert {"button", "checkbox", "radio", "article"} <= {role for role, _ in found}
    assert ("button", "Remove yard") in found
    assert ("article", "door") in found
    assert [role for role, name in found if not name.strip()] == []


@pytest.mark.parametrize(("width", "height"), [(360, 740), (768, 1024), (1440, 900)])
def test_nothing_is_cut_off_at_any_width(page: Browser, width: int, height: int) -> None:
    page.size(width, height)
    page.until(lambda: page.run("return innerWidth") == width)
    assert page.run("return document.documentElement.scrollWidth") <= width
    small = page.run(
        "return [...document.querySelectorAll('button, .choice label')].filter((each) => each.offsetWidth)"
        ".filter((each) => Math.min(each.offsetWidth, each.offsetHeight) < 32).map((each) => each.textContent)"
    )
    assert small == []
    outside = page.run(
        "const inner = (list) => list.getBoundingClientRect().right - parseFloat(getComputedStyle(list).paddingRight);"
        "for (const each of document.querySelectorAll('.figures dd')) each.textContent = '1,234 ms';"
        "return [...document.querySelectorAll('.figures div')].map("
        "(each) => each.getBoundingClientRect().right - inner(each.parentElement)).filter((over) => over > 0.5)"
    )
    assert outside == [], "figures reach into the margin of their tile"


CONTRAST = """
const context = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const rgb = (colours) => {
  context.clearRect(0, 0, 1, 1);
  for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
  return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
};
const light = (values) => {
  const [r, g, b] = values.map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const shown = [...document.querySelectorAll(arguments[0])]
  .filter((each) => each.offsetWidth && each.textContent.trim());
return shown.map((each) => {
  const behind = [];
  for (let node = each; node; node = node.parentElement) behind.unshift(getComputedStyle(node).backgroundColor);
  const back = light(rgb(behind)), front = light(rgb([...behind, getComputedStyle(each).color]));
  return [each.textContent.trim().slice(0, 30), (Math.max(back, front) + 0.05) / (Math.min(back, front) + 0.05)];
});
"""


TEXTS = "h1, h2, dt, dd, button, .choice label, .state, .faces li, th, td, .events li *, #connection"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(page: Browser, scheme: str) -> None:
    page.size(1280, 900, scheme=scheme)
    brightness = "return getComputedStyle(document.body).backgroundColor"
    page.until(lambda: ("243" in page.run(brightness)) is (scheme == "light"))
    found = page.run(
        CONTRAST, "h1, h2, dt, dd, button, .choice label, .state, .faces li, th, td, .events li *, #connection"
    )
    assert len(found) > 40
    assert [(text, round(ratio, 2)) for text, ratio in found if ratio < 4.5] == []


def test_the_colours_can_be_chosen(page: Browser, tmp_path: Path) -> None:
    page.one("#theme").click()
    page.one("#theme").click()
    assert page.one("#theme").get_attribute("aria-label") == "Colours: dark"
    assert page.run("return document.documentElement.style.colorScheme") == "dark"
    page.driver.refresh()
    page.until(lambda: page.run("return document.documentElement.style.colorScheme") == "dark")
