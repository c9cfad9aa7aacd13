"""What a server is told when it starts: its key and its limits."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recurlm.files.limits import raised
from recurlm.serving.sessions.store import Limits

WHOLE_TEXTS = 16
"""How many texts of the largest length one request may ask for."""


def _limit(usual: int) -> Any:
    """A limit that RECURLM_LIMITS multiplies, unless another one is given."""
    return field(default_factory=lambda: raised(usual))


@dataclass(frozen=True)
class ServerOptions:
    """The key and the limits of a server; docs/limits.md lists the limits, and says which RECURLM_LIMITS multiplies.

    Raises UsageError where RECURLM_LIMITS is not a number of at least 1.

    key: what a request must carry as `Authorization: Bearer KEY`; None asks for none · body_bytes: of the body of a
    request · bodies_bytes: of all bodies at once · prompt_tokens: read by one request, all prompts together · tokens:
    drawn for one choice · choices: texts that one request asks for, prompts times `n` · logprobs: likeliest tokens told
    beside each token · told: likeliest tokens told by one answer · stops, stop_characters: stop texts, and characters
    of each · lines, line_tokens: scored by one request · hypotheses: rescored by one request · traced_values: values of
    a state, tokens times units of all layers, of one inspected text · told_values: values in one answer · remembered:
    tokens after a word in one curve · inspected_models: in one answer · queue: requests that may wait for scores of one
    model · seconds: from the request to the end of its answer · head_seconds: until the headers of a request have
    arrived · closing_seconds: what running requests get when the server stops · log_texts: whether the log shows
    prompts · sessions: the database; None keeps sessions in memory · session_limits: their number, and when one
    expires · session_tokens: of one session · session_draws: by one request to a session · state_secret: what signs
    states that clients hold; None takes that of the database.
    """

    key: str | None = field(default=None, repr=False)
    body_bytes: int = _limit(4 << 20)
    bodies_bytes: int = _limit(256 << 20)
    prompt_tokens: int = _limit(32_768)
    tokens: int = _limit(16_384)
    choices: int = _limit(128)
    logprobs: int = _limit(20)
    told: int = _limit(1 << 19)
    stops: int = _limit(16)
    stop_characters: int = _limit(200)
    lines: int = _limit(10_000)
    line_tokens: int = _limit(200_000)
    hypotheses: int = _limit(10_000)
    traced_values: int = _limit(10_000_000)
    told_values: int = _limit(1_000_000)
    remembered: int = _limit(200)
    inspected_models: int = _limit(8)
    queue: int = 256
    seconds: float = _limit(300)
    head_seconds: float = 30.0
    closing_seconds: float = 30.0
    log_texts: bool = False
    sessions: Path | None = None
    session_limits: Limits = field(default_factory=Limits)
    session_tokens: int = _limit(1 << 20)
    session_draws: int = _limit(4096)
    state_secret: str | None = field(default=None, repr=False)

    @property
    def drawn(self) -> int:
        """Tokens drawn for all texts of one request."""
        return WHOLE_TEXTS * self.tokens
