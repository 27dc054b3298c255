"""The picture of a trial in README and docs/study.md, from the nano study in Debian's chromium.

python -m tests.study_app.picture outputs/nano/study docs/images/study.png
"""

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from study_app.bundle import load_bundle
from study_app.store import Store
from tests.study_app.raters import begin
from tests.study_app.small import Server
from tests.study_app.test_browser import FLAGS, ready


def main(bundle: Path, out: Path) -> None:
    """The first rater's first scored trial, at its seam, on a desktop."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        running = Server(bundle.resolve(), Path(folder) / "votes.sqlite", Path(folder) / "server.log")
        store = Store(load_bundle(bundle), str(running.database))
        running.start()
        try:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS.split())
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(f"{running.url}/?rater={begin(store)}")
            ready(page)
            page.get_by_role("button", name="Seam", exact=True).click()
            page.locator('[data-testid="stFormSubmitButton"] button:enabled').wait_for()
            page.mouse.move(0, 0)
            page.wait_for_timeout(500)  # until the last button has taken its colour
            picture = Image.open(io.BytesIO(page.screenshot()))
            browser.close()
        finally:
            running.kill()
            store.close()
    picture.convert("RGB").quantize(256).save(out, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
