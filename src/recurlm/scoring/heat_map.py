"""A heat map of surprisals as HTML: each token on a color that grows with its surprisal, its bits below it.

The color is one transparent hue of the palette of Okabe and Ito over the page's own background. It reads on light and
dark pages and without color vision; the number below a token says the same.
"""

import math
from collections.abc import Sequence

from recurlm.markup import markup
from recurlm.scoring.scores import LineScore, TokenScore
from recurlm.text.vocabulary import EOS
from recurlm.wording import counted

HUE = (230, 159, 0)
STRONGEST = 0.4
"""The opacity of the color at the most surprising tokens; text stays readable on it."""
MOST_BITS = 12.0
"""Bits from which on the color is the strongest; the same in every heat map, so that two can be compared."""
MOST_TOKENS = 2000
"""Tokens shown at most."""
TOKEN = "display:inline-block;text-align:center;margin:1px;padding:1px 3px;border-radius:3px;line-height:1.25"
VISIBLE = {" ": "␣", "\t": "⇥", "\n": "⏎", EOS: "⏎"}
"""What stands for tokens that a reader would not see, and for the end of a line."""


def heat_map(lines: Sequence[LineScore]) -> str:
    """The lines as HTML that needs nothing else; beyond `MOST_TOKENS` tokens it says how many lines are left out."""
    shown, tokens = 0, 0
    for line in lines:
        tokens += len(line.words)
        if shown and tokens > MOST_TOKENS:
            break
        shown += 1
    parts = [legend(any(any(line.missing) for line in lines[:shown])), *map(line_markup, lines[:shown])]
    if shown < len(lines):
        parts.append(f"<div>… and {counted(len(lines) - shown, 'more line')}</div>")
    return f"<div>{''.join(parts)}</div>"


def opacity(bits: float) -> float:
    """The opacity of the color behind a token of this surprisal."""
    return STRONGEST * min(max(bits, 0.0) / MOST_BITS, 1.0)


def _color(bits: float) -> str:
    return f"rgba({HUE[0]},{HUE[1]},{HUE[2]},{opacity(bits):.3f})"


def legend(unknown: bool) -> str:
    """What the colors mean; `unknown` also says how unknown tokens are marked."""
    gradient = f"linear-gradient(to right,{_color(0)},{_color(MOST_BITS)})"
    bar = f'<span style="display:inline-block;width:8em;height:0.8em;background:{gradient}"></span>'
    note = "; dotted: not in the vocabulary" if unknown else ""
    return f"<div><small>surprisal in bits: 0 {bar} {MOST_BITS:g} and more{note}</small></div>"


def line_markup(line: LineScore) -> str:
    """One line: its tokens, at most `MOST_TOKENS`, and its perplexity."""
    end = "" if line.perplexity is None else f" <small>perplexity {line.perplexity:.2f}</small>"
    tokens = line.tokens[:MOST_TOKENS]
    more = f" … and {counted(len(line.words) - len(tokens), 'more token')}" if len(line.words) > len(tokens) else ""
    return f"<div>{''.join(map(_token, tokens))}{more}{end}</div>"


def _token(token: TokenScore) -> str:
    """One token with its surprisal below it; pointing at it shows rank and entropy where they are known."""
    bits = None if token.logprob is None else -token.logprob / math.log(2)
    figure = "–" if bits is None else f"{bits:.1f}"
    style = TOKEN + ("" if bits is None else f";background:{_color(bits)}")
    style += ";border-bottom:2px dotted" if token.oov else ""
    shown = markup(VISIBLE.get(token.token, token.token))
    return f'<span style="{style}" title="{_details(token, bits)}">{shown}<br><small>{figure}</small></span>'


def _details(token: TokenScore, bits: float | None) -> str:
    parts = [token.token, "not counted" if bits is None else f"{bits:.2f} bits"]
    if token.prediction is not None:
        entropy = token.prediction.entropy / math.log(2)
        parts += [f"rank {token.prediction.rank:,}", f"entropy {entropy:.2f} bits"]
    return markup(" · ".join([*parts, *(["not in the vocabulary"] if token.oov else [])]))
