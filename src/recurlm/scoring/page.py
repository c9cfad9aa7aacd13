"""Scores as a page for a browser: a heat map of all lines, with the signature, that needs nothing else."""

from recurlm.markup import markup
from recurlm.scoring.formats import Writer
from recurlm.scoring.heat_map import legend, line_markup
from recurlm.scoring.scores import LineScore, Totals

STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:1rem/1.7 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "main>div{margin:.6rem 0}small{opacity:.75}footer{margin-top:2rem;overflow-wrap:anywhere}"
)
HEAD = (
    '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
    f"<title>Surprisal</title>\n<style>{STYLE}</style>\n"
)


class Page(Writer):
    """A heat map of surprisals: each token on a color that grows with its bits; pointing at a token shows its rank."""

    needs_predictions = True

    def head(self) -> str:
        return f"{HEAD}{legend(unknown=True)}\n<main>\n"

    def line(self, line: LineScore) -> str:
        return f"{line_markup(line)}\n"

    def foot(self, totals: Totals, name: str, signature: str) -> str:
        perplexity = f", perplexity {totals.perplexity:.3f}" if totals.tokens else ""
        described = f"{markup(name)}{perplexity}<br><code>{markup(signature)}</code>"
        return f"</main>\n<footer><small>{described}</small></footer>\n</html>\n"
