"""Records what `stationkeep demo rollout` shows on a terminal, as a moving picture of the README.

A real cluster is started, and the rollouts are real. A browser draws the frames, as it has fonts;
they are shown four times as fast as they were taken.
"""

import io
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from stationkeep.node.chaos.constellation import Constellation
from stationkeep.node.cli.rendering import rollout_screen
from stationkeep.node.cli.rendering.screen import Picture

PICTURE = Path(__file__).resolve().parent / "pictures" / "rollout.gif"
WIDTH, HEIGHT = 100, 24
"""Columns and lines of the terminal."""
FRAME, FASTER = 1.0, 4
"""Seconds between two frames at least, and how much faster than life they are shown."""
LAST = 4.0
"""Seconds that the last frame of each rollout is shown."""
LONGEST = 240.0
COLOURS = 64
STYLE = "margin:0;padding:14px;background:#0c1014;color:#d9d9d9;font:15px/1.35 monospace"
PAGE = f'<body style="margin:0"><pre id="screen" style="{STYLE};width:{WIDTH}ch">{{code}}</pre>'


def _newest(url: str) -> dict[str, Any] | None:
    """The rollout that was laid down last."""
    found = httpx.get(f"{url}/v1/rollouts?limit=1").json()["items"]
    if not found:
        return None
    rollout: dict[str, Any] = httpx.get(f"{url}/v1/rollouts/{found[0]['rollout']}").json()
    return rollout


class Frame(NamedTuple):
    """What the terminal shows at a moment, and whether the rollout is over."""

    at: float
    text: Text
    ended: bool


def _frames(url: str, demo: "subprocess.Popen[bytes]") -> Iterator[Frame]:
    """What the terminal shows while the demo runs."""
    start, over = time.monotonic(), ""
    while demo.poll() is None and time.monotonic() - start < LONGEST:
        rollout = _newest(url)
        if rollout is not None and over != rollout["rollout"]:
            cluster = httpx.get(f"{url}/v1/cluster").json()
            picture = Picture(cluster, [], [], [], url, rollout=rollout)
            ended = rollout["state"] in ("succeeded", "rolled_back")
            over = rollout["rollout"] if ended else ""
            yield Frame(time.monotonic(), rollout_screen.frame(picture, WIDTH, HEIGHT), ended)
        time.sleep(FRAME)


def _still(page: Page, frame: Text) -> Image.Image:
    screen = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    screen.print(frame)
    html = screen.export_html(theme=MONOKAI, inline_styles=True, code_format="{code}")
    page.set_content(PAGE.format(code=html))
    return Image.open(io.BytesIO(page.locator("#screen").screenshot())).convert("RGB")


def _palette(images: list[Image.Image]) -> Image.Image:
    """Colours for all frames alike, or what stands still would seem to change."""
    sheet = Image.new("RGB", (images[0].width, sum(image.height for image in images)))
    for place, image in enumerate(images):
        sheet.paste(image, (0, place * image.height))
    return sheet.quantize(COLOURS, Image.Quantize.MAXCOVERAGE)


def record(page: Page, url: str, path: Path) -> None:
    """The demo from its first rollout to its last."""
    command = [sys.executable, "-m", "stationkeep", "demo", "rollout", "--url", url]
    demo = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        frames = list(_frames(url, demo))
    finally:
        demo.terminate()
        demo.wait()
    durations = [
        round(1_000 * (LAST if frame.ended else (after.at - frame.at) / FASTER))
        for frame, after in pairwise(frames)
    ]
    images = [_still(page, frame.text) for frame in frames]
    palette = _palette([images[len(images) // 2], images[-1]])
    first, *rest = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    ends = [*durations, round(1_000 * LAST)]
    first.save(path, save_all=True, append_images=rest, duration=ends, loop=0)


def main() -> int:
    chromium = shutil.which("chromium")
    if chromium is None:
        print("no chromium here (Debian: apt install chromium)", file=sys.stderr)
        return 1
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    with tempfile.TemporaryDirectory(prefix="stationkeep-rollout-") as data:
        cluster = Constellation(Path(data) / "cluster")
        try:
            cluster.up()
            url = f"http://{cluster.addresses[cluster.settled()]}"
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=chromium, args=["--no-sandbox"]
                )
                record(browser.new_page(), url, path)
        finally:
            cluster.stop()
    print(f"{path}  {path.stat().st_size / 1_000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
