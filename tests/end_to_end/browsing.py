"""A real browser: Debian's Chromium (or Chrome), driven by Playwright, which downloads none of its own."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from playwright.async_api import Browser, Page, async_playwright

from tests.asking import PATIENCE_SECONDS

PROGRAMS: Final = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
ARGUMENTS: Final = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's sandbox refuses root
NAMED_ROLES: Final = frozenset(
    {"button", "dialog", "heading", "image", "img", "link", "navigation", "region", "table", "textbox"}
)
# Of each text that is seen: its colour on the nearest ground that is not transparent, by the formula of WCAG.
POOR_CONTRASTS: Final = """() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = rgb(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !element.checkVisibility()) continue;
    const [a, b] = [light(rgb(getComputedStyle(element).color)), light(ground(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) found.push(`${element.tagName} ${element.textContent.trim()}: ${contrast.toFixed(2)}`);
  }
  return found;
}"""


@asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """Headless. Without one there is no test, and it says how to get one."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.fail("there is no Chromium: `make test` installs it, or your package manager's `chromium`")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def opened_page(browser: Browser, url: str, **options: Any) -> AsyncIterator[Page]:
    """A page in a context of its own."""
    context = await browser.new_context(base_url=url, **options)
    context.set_default_timeout(1000 * PATIENCE_SECONDS)
    try:
        yield await context.new_page()
    finally:
        await context.close()


async def unnamed(page: Page) -> list[str]:
    """What a screen reader could not name, among what needs a name; as the browser itself computes it."""
    session = await page.context.new_cdp_session(page)
    tree = await session.send("Accessibility.getFullAXTree")
    return [
        node["role"]["value"]
        for node in tree["nodes"]
        if not node["ignored"]
        and node["role"]["value"] in NAMED_ROLES
        and not node.get("name", {}).get("value", "").strip()
    ]


async def too_wide(page: Page) -> list[str]:
    """What reaches beyond the right edge of the page, where that can be scrolled sideways."""
    found: list[str] = await page.evaluate("""() => {
      const width = document.documentElement.clientWidth;
      if (document.documentElement.scrollWidth <= width) return [];
      return [...document.querySelectorAll("body *")]
        .filter((element) => element.getBoundingClientRect().right > width)
        .map((element) => `${element.tagName} ${element.className} ${element.id}`);
    }""")
    return found
