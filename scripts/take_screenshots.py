"""Takes the README's pictures of the dashboard, and records a failover as an animated one.

A real cluster is started, watched through a real browser, and its PRIMARY killed: the recording is
what a person at the screen would have seen, second for second.
"""

import io
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from stationkeep.node.chaos.constellation import Constellation

PICTURES = Path(__file__).resolve().parent / "pictures"
DESK: Any = {"width": 1280, "height": 900}
PHONE: Any = {"width": 390, "height": 844}
DEVICES = 40
FRAME = 0.25
"""Seconds between two frames of the recording."""
BEFORE, AFTER = 1.5, 4.0
"""Seconds recorded before the PRIMARY is killed, and after another has taken over."""
LONGEST = 20.0
WIDTH = 960
"""Pixels of the recording."""
COLOURS = 255
NO_DITHER = Image.Dither.NONE


def _page(browser: Browser, url: str, size: Any, scheme: Any = "light") -> Page:
    page = browser.new_page(viewport=size, color_scheme=scheme)
    page.goto(url)
    page.get_by_text("live from").wait_for()
    page.locator(".proposal").first.wait_for()
    return page


def _frames(
    page: Page, cluster: Constellation, primary: str
) -> Iterator[tuple[float, Image.Image]]:
    """The page before, while and after its PRIMARY, which is also its node, is killed; each frame
    with its second."""
    start, killed, over = time.monotonic(), False, float("inf")
    while (now := time.monotonic() - start) < min(LONGEST, over):
        yield now, _still(page)
        if not killed and now > BEFORE:
            cluster.kill(primary)
            killed = True
        if over == float("inf") and primary not in page.locator("#headline h1").inner_text():
            over = now + AFTER
        time.sleep(max(0.0, FRAME - (time.monotonic() - start - now)))


def _still(page: Page) -> Image.Image:
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    smaller = image.resize((WIDTH, image.height * WIDTH // image.width), Image.Resampling.LANCZOS)
    return smaller


def _palette(frames: Sequence[Image.Image]) -> Image.Image:
    """Colours for all frames alike, or what stands still would seem to change."""
    shown = [frames[0], frames[len(frames) // 2], frames[-1]]
    sheet = Image.new("RGB", (WIDTH, sum(frame.height for frame in shown)))
    for place, frame in enumerate(shown):
        sheet.paste(frame, (0, place * frame.height))
    return sheet.quantize(COLOURS, Image.Quantize.MAXCOVERAGE)


def record(page: Page, cluster: Constellation, primary: str, path: Path) -> None:
    """A failover, in the time that it took; the last picture stands for three seconds."""
    times, frames = zip(*_frames(page, cluster, primary), strict=True)
    durations = [round(1_000 * (after - at)) for at, after in pairwise(times)]
    palette = _palette(frames)
    first, *rest = [frame.quantize(palette=palette, dither=NO_DITHER) for frame in frames]
    first.save(path, save_all=True, append_images=rest, duration=[*durations, 3_000], loop=0)


def take(browser: Browser, cluster: Constellation, folder: Path) -> None:
    """All pictures."""
    cluster.up(devices=DEVICES)
    primary = cluster.settled()
    cluster.until(
        "all devices", lambda: cluster.anyone("/v1/cluster")["fleet"]["total_slaves"] == DEVICES
    )
    url = f"http://{cluster.addresses[primary]}/"
    _page(browser, url, PHONE).screenshot(path=folder / "phone.png")
    page = _page(browser, url, DESK)
    page.screenshot(path=folder / "light.png")
    record(page, cluster, primary, folder / "failover.gif")
    page.get_by_role("button", name=primary, exact=True).first.click()
    page.get_by_text("Why it is not PRIMARY").wait_for()
    page.screenshot(path=folder / "why.png")
    survivor = next(node for node in cluster.addresses if node != primary)
    dark = _page(browser, f"http://{cluster.addresses[survivor]}/", DESK, "dark")
    dark.screenshot(path=folder / "dark.png")


def main() -> int:
    chromium = shutil.which("chromium")
    if chromium is None:
        print("no chromium here (Debian: apt install chromium)", file=sys.stderr)
        return 1
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURES
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="stationkeep-pictures-") as data:
        cluster = Constellation(Path(data) / "cluster")
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=chromium, args=["--no-sandbox"]
                )
                take(browser, cluster, folder)
        finally:
            cluster.stop()
    for picture in sorted(folder.iterdir()):
        print(f"{picture}  {picture.stat().st_size / 1_000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
