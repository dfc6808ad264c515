"""Headless Chromium for tests of pages: found on this machine, never fetched."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver import Chrome

NEEDED = "SIGLIP_NEED_BROWSER"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # a container's root has none
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
    "--lang=en-GB",
)


def programs() -> tuple[str, str]:
    """The browser and its driver; without them the test is skipped, or fails where they are needed."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if browser and driver:
        return browser, driver
    reason = "needs Chromium and its driver: Debian's packages chromium and chromium-driver"
    if os.environ.get(NEEDED) == "1":
        pytest.fail(f"{reason} ({NEEDED}=1)")
    pytest.skip(reason)


@contextmanager
def chromium(profile: Path) -> Iterator[Chrome]:
    """A browser with a fresh profile that keeps its console and its network log."""
    browser, driver = programs()
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    try:
        chrome.set_window_size(1280, 900)
        yield chrome
    finally:
        chrome.quit()


def console(chrome: Chrome) -> list[str]:
    """What the page has said on its console since it was last asked, but for plain notes."""
    return [
        entry["message"]
        for entry in chrome.get_log("browser")  # type: ignore[no-untyped-call]
        if entry["level"] in {"SEVERE", "WARNING"}
    ]


def requests(chrome: Chrome) -> list[str]:
    """The addresses the page has asked for since this was last called.

    Neither data: nor what the page's own policy stopped on its way counts.
    """
    asked: dict[str, str] = {}
    for entry in chrome.get_log("performance"):  # type: ignore[no-untyped-call]
        message = json.loads(entry["message"])["message"]
        params = message["params"]
        if message["method"] == "Network.requestWillBeSent":
            asked[params["requestId"]] = params["request"]["url"]
        elif params.get("blockedReason") == "csp":
            asked.pop(params["requestId"], None)
    own = ("data:", "chrome:", "chrome-untrusted:", "about:")
    return [address for address in asked.values() if not address.startswith(own)]


def tree(chrome: Chrome) -> list[dict[str, Any]]:
    """What a screen reader is told: each node with its role and name."""
    nodes = chrome.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    return [
        {
            "role": node.get("role", {}).get("value", ""),
            "name": node.get("name", {}).get("value", ""),
            "properties": {p["name"]: p["value"].get("value") for p in node.get("properties", ())},
        }
        for node in nodes
        if not node.get("ignored")
    ]


def colours(chrome: Chrome, scheme: str) -> None:
    """Have the page see a reader who prefers light or dark."""
    chrome.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )


def size(chrome: Chrome, width: int, height: int) -> None:
    """Have the page see a screen of this size, smaller than a window may be."""
    chrome.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
    )
