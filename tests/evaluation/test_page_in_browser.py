"""The report's page in a browser, opened from disk."""

import shutil

import numpy as np
import pytest

FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PIXELS = """() => {
  const canvas = Object.assign(document.createElement('canvas'), {width: 64, height: 32});
  const context = canvas.getContext('2d');
  context.drawImage(around.video, 0, 0);
  return [...context.getImageData(0, 0, 64, 32).data];
}"""


@pytest.mark.browser
def test_page_in_a_browser(outputs, tmp_path):
    """Opened from disk: no error, no request, videos play and pause, both themes, no sideways scrolling on a phone."""
    from playwright.sync_api import sync_playwright

    file = (outputs / "report" / "index.html").resolve().as_uri()
    browser_path = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        problems: list[str] = []
        requests: list[str] = []
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(file)
        page.locator("section.prompt").first.scroll_into_view_if_needed()
        page.wait_for_function("[...document.querySelectorAll('video')].slice(0, 3).every(v => v.readyState >= 2)")
        page.wait_for_function("[...document.querySelectorAll('video')].slice(0, 3).every(v => !v.paused)")
        assert page.evaluate("document.querySelector('video').videoWidth") == 64
        page.get_by_role("button", name="Pause videos").click()
        assert page.evaluate("[...document.querySelectorAll('video')].every(v => v.paused)")
        light = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.get_by_role("button", name="switch between light and dark").click()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
        assert (
            page.locator("tr[data-metric=flicker] td.best")
            .inner_text()
            .startswith(page.locator("tr[data-metric=flicker] td .value").first.inner_text())
        )
        look_around(page)
        page.screenshot(path=tmp_path / "report.png")
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        browser.close()
    assert problems == []
    assert [address for address in requests if not address.startswith(("data:", "file:", "blob:"))] == []


def look_around(page) -> None:
    """Open the second method's first video, turn to the seam and the poles, drag: the colours are the frame's."""
    page.locator("section.prompt .look").nth(1).click()
    page.wait_for_function("document.getElementById('around').dataset.status === 'ready'")
    page.locator("dialog [data-do=play]").click()
    assert "Panorama" in page.locator("dialog .bar p").inner_text()
    seen = {name: centre(page, name) for name in ("look", "seam", "up", "down", "flat")}
    frame = page.evaluate(PIXELS)
    pixels = np.array(frame, dtype=float).reshape(32, 64, 4)[..., :3]
    expected = {"look": pixels[15:17, 31:33], "seam": pixels[15:17, [0, -1]], "up": pixels[:1], "down": pixels[-1:]}
    expected["flat"] = expected["seam"]
    for name, colours in expected.items():
        assert (seen[name] > colours.min(axis=(0, 1)) - 6).all(), name
        assert (seen[name] < colours.max(axis=(0, 1)) + 6).all(), name
    assert np.abs(seen["look"] - seen["seam"]).max() > 20
    page.locator("dialog [data-do=look]").click()
    box = page.locator("dialog canvas").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.up()
    assert page.evaluate("around.yaw") > 5
    page.keyboard.press("Escape")
    assert not page.evaluate("document.getElementById('around').open")


def centre(page, name: str) -> np.ndarray:
    """Colour in the middle of the canvas after a button."""
    page.locator(f"dialog [data-do={name}]").click()
    page.evaluate("around.draw()")
    return np.array(
        page.evaluate(
            """() => {
              const {gl, canvas} = around, pixel = new Uint8Array(4);
              gl.readPixels(canvas.width / 2, canvas.height / 2, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
              return [...pixel].slice(0, 3);
            }"""
        ),
        dtype=float,
    )
