"""Many tabs of one browser, which has six connections to an address: none hangs while a training is followed."""

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from studio.browser import MILLISECONDS, browser, needs_browser
from studio.page_server import RunningStudio, running_studio

pytestmark = needs_browser
TABS, MOST_STREAMS = 8, 4
TEXT = "\n".join(["the red fruit is a cherry .", "the blue fruit is a plum .", "the green fruit is a lime ."] * 6000)
HIDE = """hidden => {
  Object.defineProperty(document, "hidden", {configurable: true, get: () => hidden});
  document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    """A studio that trains."""
    with running_studio(tmp_path_factory.mktemp("studio") / "runs") as studio:
        studio.post("/training", {"name": "long", "text": TEXT, "time_limit": "10m"})
        yield studio


CURVES = "[...document.querySelectorAll('svg.chart path')].map((path) => path.getAttribute('d')).join()"


class Tab:
    """A tab that follows the training, and the event streams that it asked for."""

    def __init__(self, context, studio: RunningStudio) -> None:
        self.page = context.new_page()
        self.page.set_default_timeout(MILLISECONDS)
        self.asked: list[str] = []
        self.ended: list[str] = []
        self.page.on("request", lambda request: self._note(self.asked, request))
        self.page.on("requestfinished", lambda request: self._note(self.ended, request))
        self.page.on("requestfailed", lambda request: self._note(self.ended, request))
        self.page.goto(studio.address)

    @staticmethod
    def _note(found: list[str], request) -> None:
        if request.resource_type == "eventsource":
            found.append(request.url)

    def curves(self) -> str:
        return self.page.evaluate(CURVES)

    def wait_for_other_curves(self, before: str) -> None:
        self.page.wait_for_function(f"before => {CURVES} !== before", arg=before)

    @property
    def open_streams(self) -> int:
        return len(self.asked) - len(self.ended)


def test_eight_tabs_follow_a_training_and_each_still_answers(studio):
    with browser() as launched:
        context = launched.new_context()
        tabs = [Tab(context, studio) for _ in range(TABS)]
        for tab in tabs:
            tab.wait_for_other_curves("")
            assert not tab.page.evaluate("document.hidden")
        curves = [tab.curves() for tab in tabs]
        for tab in tabs:
            assert tab.page.evaluate("fetch('/runs').then((answer) => answer.status)") == 200
        for tab, before in zip(tabs, curves, strict=True):
            tab.wait_for_other_curves(before)
        assert all(tab.open_streams <= 1 for tab in tabs)
        assert sum(tab.open_streams for tab in tabs) == MOST_STREAMS


def test_a_hidden_tab_closes_its_stream_and_goes_on_after_the_last_line(studio):
    with browser() as launched:
        tab = Tab(launched.new_context(), studio)
        tab.wait_for_other_curves("")
        assert (len(tab.asked), tab.open_streams) == (1, 1)
        tab.page.evaluate(HIDE, True)
        tab.page.wait_for_function("() => true", timeout=1000)
        before = tab.curves()
        assert tab.open_streams == 0
        tab.page.evaluate(HIDE, False)
        tab.wait_for_other_curves(before)
        assert (len(tab.asked), tab.open_streams) == (2, 1)
        first, second = (int(parse_qs(urlsplit(address).query)["after"][0]) for address in tab.asked)
        assert first == 0 < second
