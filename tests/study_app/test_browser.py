"""The study in Debian's chromium: real WebGL pixels, real clicks, a killed server, and nothing that names a method."""

import io
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study_app.bundle import Bundle, load_key
from study_app.params import StudyParams
from study_app.prepare import prepare
from study_app.store import Store
from tests.study_app.small import FADE, PLAIN, Server, direction_clip, write_method

pytestmark = pytest.mark.browser
playwright = pytest.importorskip("playwright.sync_api")

FLAGS = (
    "--headless --no-sandbox --disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --disable-dev-shm-usage --use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader"
)
ARTIFACTS = Path(__file__).resolve().parents[2] / "test-artifacts" / "study"
NAMES = ("periodicworld", "cutworld")
PATIENCE = 120_000  # milliseconds until a state that is waited for counts as missed; a busy machine takes its time


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator["playwright.Browser"]:
    playwright.expect.set_options(timeout=PATIENCE)
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=FLAGS.split())
        yield opened
        opened.close()


@pytest.fixture
def visit(browser) -> Iterator[Callable]:
    """``visit(url, width, height)`` gives a page of a browser of its own; ``page.seen`` collects what it was sent."""
    contexts = []

    def _visit(url: str, width: int = 1100, height: int = 760):
        context = browser.new_context(viewport={"width": width, "height": height}, has_touch=width < 600)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.seen = []
        page.on("request", lambda request: page.seen.append(request.url.encode()))
        page.on("websocket", lambda socket: socket.on("framereceived", lambda data: page.seen.append(as_bytes(data))))
        page.on("response", lambda response: page.seen.append(repr(response.headers).encode()))
        page.goto(url)
        return page

    yield _visit
    for context in contexts:
        context.close()


def as_bytes(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else data


def ready(page) -> None:
    """Wait until both videos are decoded and drawn."""
    page.locator('.player[data-status="ready"]').wait_for()
    page.locator(".player[data-frame]").wait_for()


def in_sight(page) -> None:
    """Both videos, and what they were made from, at once on the screen, wherever the page before was scrolled to."""
    for side in ("left", "right"):
        playwright.expect(page.locator(f"[data-side={side}] canvas")).to_be_in_viewport(ratio=1)
    playwright.expect(page.get_by_text("Description:")).to_be_in_viewport(ratio=1)


def state(page) -> dict[str, str]:
    return page.locator(".player").evaluate("box => ({...box.dataset})")


def pictures(page, name: str) -> dict[str, np.ndarray]:
    """What a rater sees on each side, float (H, W, 3) in [0, 255]; one screenshot, kept as ``name``, of both."""
    screen = np.asarray(Image.open(io.BytesIO(shoot(page, name))).convert("RGB"), dtype=float)
    found = {}
    for side in ("left", "right"):
        box = page.locator(f"[data-side={side}] canvas").bounding_box()
        x, y, width, height = (round(box[name]) for name in ("x", "y", "width", "height"))
        assert x >= 0
        assert 0 <= y < y + height <= len(screen)
        found[side] = screen[y : y + height, x : x + width]
    return found


def middle(image: np.ndarray) -> np.ndarray:
    """Mean colour of the middle of a picture, as the direction that it stands for (not normalised)."""
    height, width = image.shape[:2]
    return image[height // 2 - 3 : height // 2 + 3, width // 2 - 3 : width // 2 + 3].mean((0, 1)) - 128


def looking(yaw: float, pitch: float) -> np.ndarray:
    yaw, pitch = np.radians(yaw), np.radians(pitch)
    return np.array([np.cos(pitch) * np.sin(yaw), np.sin(pitch), np.cos(pitch) * np.cos(yaw)])


def off(image: np.ndarray, yaw: float, pitch: float) -> float:
    """Degrees between what the middle of the picture shows and where the player says it looks."""
    shown = middle(image)
    return float(np.degrees(np.arccos(np.clip(shown @ looking(yaw, pitch) / np.linalg.norm(shown), -1, 1))))


def step(image: np.ndarray) -> float:
    """Difference between the two sides of the middle column, in grey levels of blue.

    Blue is symmetric about longitude 180, so it is zero unless there is a step. 12 pixels are more than half a pixel
    of the video, over which linear filtering spreads a step.
    """
    height, width = image.shape[:2]
    rows = image[int(height * 0.47) : int(height * 0.53), :, 2].mean(0)
    return abs(float(rows[width // 2 + 12 : width // 2 + 18].mean() - rows[width // 2 - 18 : width // 2 - 12].mean()))


def begin(page) -> None:
    """From the landing page, or a fresh link, to the first trial."""
    page.get_by_text("I have read this").click()
    page.get_by_role("button", name="Continue").click()
    page.get_by_text("This browser can show the videos").wait_for()
    page.get_by_role("button", name="Continue").click()
    ready(page)  # the example
    page.get_by_role("button", name="Practise").click()
    page.get_by_role("button", name="Save and go on").wait_for()
    ready(page)
    assert "seen" not in state(page)


def look(page) -> None:
    """All frames of both videos, and the seam; then the button opens."""
    page.get_by_role("button", name="Seam", exact=True).click()
    if state(page)["playing"] == "false":
        page.get_by_role("button", name="Play").click()
    page.locator('.player[data-seen="true"]').wait_for()
    page.locator('[data-testid="stFormSubmitButton"] button:enabled').wait_for()


def choose(page, label: str) -> None:
    """The same answer to all five questions, once they are all there."""
    groups = page.get_by_role("radiogroup")
    playwright.expect(groups).to_have_count(5)
    for group in groups.all():
        # A click that falls where the page was a moment before it scrolled to its questions is made again.
        while not group.locator("input[type=radio]:checked").count():
            group.get_by_text(label, exact=True).click()
            page.wait_for_timeout(200)
    playwright.expect(page.locator("input[type=radio]:checked")).to_have_count(5)


def shoot(page, name: str) -> bytes:
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    return page.screenshot(path=ARTIFACTS / f"{name}.png")


def stored(server: Server) -> list[tuple]:
    connection = sqlite3.connect(server.database)
    try:
        query = "select position, criterion, choice from answer join assignment on id = assignment_id order by 1, 2"
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_a_rater_with_a_mouse(server: Server, seam_bundle: Bundle, visit):
    page = visit(server.url)
    page.get_by_role("button", name="Start").click()
    begin(page)
    token = page.url.split("rater=")[1]
    store = Store(seam_bundle, str(server.database))
    trial = store.current(token)
    key = load_key(seam_bundle.folder / "key.json", seam_bundle.study.study_id)
    cut = "left" if key.stimuli[trial.stimuli[0]].method == "cutworld" else "right"
    smooth = "right" if cut == "left" else "left"

    # Both sides show the front of the sphere, not black. Frame steps are exact: the colour's strength tells the frame.
    page.get_by_role("button", name="Pause").click()
    while (frame := state(page)["frame"]) != "0":
        page.locator("[data-do=back]").click()
        page.locator(f'.player:not([data-frame="{frame}"])').wait_for()
    first = pictures(page, "desktop-front")
    page.locator("[data-do=forward]").click()
    page.locator("[data-do=forward]").click()
    page.locator('.player[data-frame="2"]').wait_for()
    third = pictures(page, "desktop-third-frame")
    for side in ("left", "right"):
        assert first[side].mean() > 40
        assert off(first[side], 0, 0) < 6
        faded = np.linalg.norm(middle(third[side])) / np.linalg.norm(middle(first[side]))
        assert faded == pytest.approx(1 - 2 * FADE, abs=0.035)

    # A drag on one side turns both, and the point under the mouse follows it: to the left, so the view turns right.
    box = page.locator("[data-side=left] canvas").bounding_box()
    x, y = box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.6
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 150, y + 60, steps=4)
    page.mouse.up()
    view = {name: float(state(page)[name]) for name in ("yaw", "pitch")}
    assert 20 < view["yaw"] < 60
    assert 5 < view["pitch"] < 30
    assert max(off(image, **view) for image in pictures(page, "desktop-dragged").values()) < 6

    # Keyboard and wheel.
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    page.mouse.wheel(0, -400)
    page.locator('.player:not([data-fov="90.0"])').wait_for()
    turned = {name: float(state(page)[name]) for name in ("yaw", "pitch")}
    assert turned["yaw"] > view["yaw"]
    assert turned["pitch"] > view["pitch"]
    assert float(state(page)["fov"]) < 90
    assert max(off(image, **turned) for image in pictures(page, "desktop-keys").values()) < 6

    # Straight behind: the periodic video has no step there and the cut one has; the flat view shows the same.
    page.keyboard.press("0")
    for name in ("Seam", "Flat"):
        page.get_by_role("button", name=name, exact=True).click()
        images = pictures(page, f"desktop-{name.lower()}")
        assert step(images[smooth]) < 3
        assert step(images[cut]) > 25

    # Up and down, and one video over the other.
    for name, pitch in (("Up", 90), ("Down", -90)):
        page.get_by_role("button", name=name, exact=True).click()
        assert max(off(image, 0, pitch) for image in pictures(page, f"desktop-{name.lower()}").values()) < 8
    page.get_by_role("button", name="Seam", exact=True).click()
    page.get_by_role("button", name="Swipe").click()
    page.locator(".divider").fill("60")
    assert page.locator("[data-side=right]").evaluate("figure => figure.style.clipPath").startswith("inset(0")
    shoot(page, "desktop-swipe")
    page.get_by_role("button", name="Toggle").click()
    assert not page.locator("[data-side=right]").is_visible()
    page.get_by_role("button", name="Toggle").click()
    assert page.locator("[data-side=right]").is_visible()
    assert not page.locator("[data-side=left]").is_visible()
    page.get_by_role("button", name="Side by side").click()

    # Answers arrive, the next trial brings other videos, no answer and the first view; a reload stays there.
    save = page.get_by_role("button", name="Save and go on")
    choose(page, "Right")
    look(page)
    save.click()
    page.get_by_text("Pair 2 of 2").wait_for()
    ready(page)
    assert [(row[0], row[2]) for row in stored(server)] == [(0, "right")] * 5
    playwright.expect(page.locator("input[type=radio]:checked")).to_have_count(0)
    assert state(page)["mode"] == "look"
    assert store.current(token).id != trial.id
    labels = page.get_by_role("radiogroup").evaluate_all("all => all.map(group => group.ariaLabel)")
    second = store.current(token)
    page.reload()
    ready(page)
    assert page.get_by_text("Pair 2 of 2").is_visible()
    assert page.get_by_role("radiogroup").evaluate_all("all => all.map(group => group.ariaLabel)") == labels
    for stimulus in second.stimuli:
        assert any(f"stimulus/{stimulus}.mp4".encode() in seen for seen in page.seen)

    # A killed server comes back, and so does the trial; what was saved is there once.
    server.kill()
    server.start()
    page.reload()
    ready(page)
    assert store.current(token) == second
    assert len(stored(server)) == 5

    markup = page.content() + page.locator(".player").evaluate("box => box.outerHTML")
    everything = b"\n".join(page.seen).lower() + markup.encode().lower()
    assert len(everything) > 10_000
    assert not any(name.encode() in everything for name in NAMES)

    # The last pair by keyboard alone: S for the seam, arrows among the answers, Enter on the button.
    page.locator(".player").focus()
    page.keyboard.press("s")
    page.locator('[data-testid="stFormSubmitButton"] button:enabled').wait_for()
    page.get_by_role("radiogroup").first.locator("input").first.focus()
    for _ in range(5):
        page.keyboard.press("Space")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("Your completion code").wait_for()
    assert [row[2] for row in stored(server) if row[0] == 1] == ["tie"] * 5

    store.close()


def test_a_rater_with_a_phone_comes_to_the_completion_code(server: Server, seam_bundle: Bundle, visit):
    store = Store(seam_bundle, str(server.database))
    (token,) = store.invite()
    page = visit(f"{server.url}/?rater={token}", width=390, height=844)
    begin(page)
    boxes = [page.locator(f"[data-side={side}] canvas").bounding_box() for side in ("left", "right")]
    assert all(box["width"] > 340 and box["height"] > 180 for box in boxes)
    in_sight(page)
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    shoot(page, "phone-trial")

    look(page)
    page.get_by_role("button", name="Save and go on").click()
    page.get_by_text("Please answer every question").wait_for()
    for number in (1, 2):
        page.get_by_text(f"Pair {number} of 2").wait_for()
        ready(page)
        if number == 2:
            in_sight(page)
        choose(page, "No difference")
        if number == 2:  # the button opens without losing what was chosen before
            assert page.get_by_role("button", name="Save and go on").is_disabled()
            look(page)
            playwright.expect(page.locator("input[type=radio]:checked")).to_have_count(5)
        page.get_by_role("button", name="Save and go on").click()
    page.get_by_text("Your completion code").wait_for()
    page.get_by_text(store.rater(token).completion_code).wait_for()
    shoot(page, "phone-done")
    store.close()


@pytest.mark.slow
def test_fingers_two_tabs_and_the_closed_page_of_the_organiser(server: Server, seam_bundle: Bundle, visit):
    store = Store(seam_bundle, str(server.database))
    before = len(stored(server))
    (token,) = store.invite()
    page = visit(f"{server.url}/?rater={token}", width=390, height=844)
    begin(page)

    # One finger turns both views, two fingers zoom both.
    touch = page.context.new_cdp_session(page)

    def fingers(kind: str, *points: tuple[float, float]) -> None:
        named = [{"x": px, "y": py, "id": index} for index, (px, py) in enumerate(points)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": named})

    page.get_by_role("button", name="Pause").click()
    while state(page)["yaw"] == "0.00":  # until the page has come to rest under the finger
        box = page.locator("[data-side=left] canvas").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        fingers("touchStart", (x, y))
        for moved in (20, 40, 60, 80):
            fingers("touchMove", (x - moved, y))
        fingers("touchEnd")
        page.evaluate("() => new Promise(requestAnimationFrame)")
    view = {name: float(state(page)[name]) for name in ("yaw", "pitch")}
    assert 15 < view["yaw"] < 60
    assert max(off(image, **view) for image in pictures(page, "phone-dragged").values()) < 6
    fingers("touchStart", (x - 20, y), (x + 20, y))
    for spread in (30, 40, 60):
        fingers("touchMove", (x - spread, y), (x + spread, y))
    fingers("touchEnd")
    page.locator('.player:not([data-fov="90.0"])').wait_for()
    assert float(state(page)["fov"]) < 60

    # A second tab shows the same pair; what the first one saved stays, and the second one goes on from there.
    other = page.context.new_page()
    other.set_default_timeout(PATIENCE)
    other.goto(f"{server.url}/?rater={token}")
    ready(other)
    look(page)
    look(other)
    choose(page, "Left")
    choose(other, "Right")
    page.get_by_role("button", name="Save and go on").click()
    page.get_by_text("Pair 2 of 2").wait_for()
    other.get_by_role("button", name="Save and go on").click()
    other.get_by_text("Pair 2 of 2").wait_for()
    assert len(stored(server)) == before + 5
    mine = store.rater(token).id
    with store.read() as connection:
        query = f"select choice from answer join assignment on id = assignment_id where rater_id = '{mine}'"
        assert connection.exec_driver_sql(query).scalars().all() == ["left"] * 5

    other.goto(f"{server.url}/organiser")
    other.get_by_text("This page is closed.").wait_for()
    assert token not in other.content()
    store.close()


def test_four_at_a_time_with_practice_on_a_phone_and_in_german(chromium, visit, tmp_path: Path):
    clips = [
        write_method(tmp_path / name, f"{name}method", {"p0": "a sphere", "p1": "another"}, lambda _: direction_clip())
        for name in ("alpha", "beta", "gamma", "delta")
    ]
    bundle = prepare(clips, tmp_path / "study", StudyParams(mode="best-of-four", controls=PLAIN | {"practice": 1}))
    running = Server(bundle.folder, tmp_path / "votes.sqlite", tmp_path / "server.log")
    running.start()
    try:
        store = Store(bundle, str(running.database))
        (token,) = store.invite(language="de")
        page = visit(f"{running.url}/?rater={token}", width=390, height=844)
        page.get_by_text("Ich habe das gelesen").click()
        page.get_by_role("button", name="Weiter").click()
        page.get_by_text("Dieser Browser kann die Videos zeigen").wait_for()
        page.get_by_role("button", name="Weiter").click()
        ready(page)
        shoot(page, "phone-instructions")
        page.get_by_role("button", name="Üben").click()
        page.get_by_text("Übung 1 von 1").wait_for()
        for number in range(3):
            ready(page)
            assert page.locator("canvas").count() == 4
            assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
            choose(page, "B")
            page.get_by_role("button", name="Naht", exact=True).click()
            page.locator('[data-testid="stFormSubmitButton"] button:enabled').wait_for()
            shoot(page, f"phone-four-{number}")
            page.get_by_role("button", name="Speichern und weiter").click()
            if number == 0:
                page.get_by_text("Die Übung zählt nicht").wait_for()
                ready(page)
                shoot(page, "phone-feedback")
                page.get_by_role("button", name="Weiter", exact=True).click()
                page.get_by_text("Seite 1 von 2").wait_for()
            elif number == 1:
                page.get_by_text("Seite 2 von 2").wait_for()
        page.get_by_text("Ihr Abschlusscode").wait_for()
        assert {row[2] for row in stored(running)} == {"b"}
        store.close()
    finally:
        running.kill()


@pytest.mark.slow
def test_the_server_is_killed_ten_times_while_answers_are_sent(four_methods, chromium, visit, tmp_path: Path):
    """What the page says is saved is in the database, once; what it does not is asked again, with the same sides."""
    bundle = prepare(four_methods, tmp_path / "study", StudyParams(controls=PLAIN))
    running = Server(bundle.folder, tmp_path / "votes.sqlite", tmp_path / "server.log")
    running.start()
    try:
        store = Store(bundle, str(running.database))
        (token,) = store.invite()
        store.consent(token)
        for reached in ("checked", "instructed"):
            store.reached(token, reached)
        page, told, needed = visit("about:blank"), 0, 0.0
        for kill in range(10):
            before = store.current(token)
            store.seen(token, before.id)
            page.goto(f"{running.url}/?rater={token}")
            page.get_by_text(f"Pair {before.position + 1} of 24").wait_for()
            choose(page, "Left")
            clicked = time.monotonic()
            page.get_by_role("button", name="Save and go on").click()
            if kill in (0, 5):  # twice the page had the time to tell
                page.get_by_text(f"Pair {before.position + 2} of 24").wait_for()
                needed = time.monotonic() - clicked
            else:  # else the kills fall throughout the time that telling took on this machine
                page.wait_for_timeout(1000 * needed * (kill % 5) / 4)
            running.kill()
            told = max(told, int(page.locator('[data-testid="stProgress"]').inner_text().split()[1]) - 1)
            running.start()
            saved = {row[0] for row in stored(running)}
            assert saved == set(range(len(saved)))
            assert len(stored(running)) == 5 * len(saved)
            assert len(saved) >= told
            if before.position not in saved:
                assert store.current(token) == replace(before, seen=True)
        assert told >= 2
        store.close()
    finally:
        running.kill()
