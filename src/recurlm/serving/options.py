"""What a server is told when it starts: its key and its limits."""

from dataclasses import dataclass, field
from pathlib import Path

from recurlm.serving.sessions.store import Limits


@dataclass(frozen=True)
class ServerOptions:
    """The key and the limits of a server; docs/limits.md lists the limits.

    key: what a request must carry as `Authorization: Bearer KEY`; None asks for none · body_bytes: of the body of a
    request · prompt_tokens: read by one request, all prompts together · tokens: drawn for one choice · choices: texts
    that one request asks for, prompts times `n` · logprobs: likeliest tokens told beside each token · stops,
    stop_characters: stop texts, and characters of each · lines, line_tokens: scored by one request · hypotheses:
    rescored by one request · traced_values: values of a state, tokens times units of all layers, of one inspected text
    · told_values: values in one answer · remembered: tokens after a word in one curve · inspected_models: in one answer
    · queue: requests that may wait for scores of one model · seconds: from the request to the end of its answer ·
    closing_seconds: what running requests get when the server stops · log_texts: whether the log shows prompts ·
    sessions: the database; None keeps sessions in memory · session_limits: their number, and when one expires ·
    session_tokens: of one session · session_draws: by one request to a session · state_secret: what signs states that
    clients hold; None takes that of the database.
    """

    key: str | None = field(default=None, repr=False)
    body_bytes: int = 4 << 20
    prompt_tokens: int = 32_768
    tokens: int = 16_384
    choices: int = 128
    logprobs: int = 20
    stops: int = 16
    stop_characters: int = 200
    lines: int = 10_000
    line_tokens: int = 200_000
    hypotheses: int = 10_000
    traced_values: int = 10_000_000
    told_values: int = 1_000_000
    remembered: int = 200
    inspected_models: int = 8
    queue: int = 256
    seconds: float = 300.0
    closing_seconds: float = 30.0
    log_texts: bool = False
    sessions: Path | None = None
    session_limits: Limits = field(default_factory=Limits)
    session_tokens: int = 1 << 20
    session_draws: int = 4096
    state_secret: str | None = field(default=None, repr=False)
