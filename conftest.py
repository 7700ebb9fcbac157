"""What the tests of all folders share: the profile of Hypothesis, and a browser.

The profile states every field: the same examples in every run, in CI or not.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, settings

settings.register_profile(
    "tests",
    max_examples=60,
    derandomize=True,
    database=None,
    verbosity=Verbosity.normal,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    stateful_step_count=50,
    report_multiple_bugs=False,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.differing_executors),
    deadline=None,  # shared machines are slow at times
    print_blob=False,
    backend="hypothesis",
)
settings.load_profile("tests")


@pytest.fixture(scope="session")
def open_browser() -> Callable[[Path], AbstractContextManager[Any]]:
    """A context with Chromium without a window, by the folder of its profile."""
    return _chromium


@contextmanager
def _chromium(profile: Path) -> Iterator[Any]:
    binary, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("needs chromium, or google-chrome, and chromedriver")
    selenium = pytest.importorskip("selenium.webdriver")
    options = selenium.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={profile}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    made = selenium.Chrome(options=options, service=selenium.ChromeService(driver, log_output=os.devnull))
    try:
        yield made
    finally:
        made.quit()
