"""How the words of a new run are cut: as the recipe says, or by what its text looks like."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from recurlm.config import Recipe
from recurlm.errors import InputError
from recurlm.progress import Watcher
from recurlm.runs.config import RunConfig
from recurlm.text.codec import Codec
from recurlm.text.corpora import named_corpora
from recurlm.text.notice import Traits, traits_of
from recurlm.text.prose import Prose
from recurlm.text.sources import Corpus
from recurlm.text.tokenization import PLURALS, Tokenization

JOIN_PARAGRAPHS = r"""awk 'BEGIN { RS = "" } { gsub(/\n/, " "); print }'"""


@dataclass(frozen=True)
class Noticed:
    """What the user is told about how a text is cut: plain lines, and a warning where words are not meant."""

    lines: tuple[str, ...] = ()
    warning: str | None = None

    def tell(self, watcher: Watcher) -> None:
        """Tells a watcher."""
        for line in self.lines:
            watcher.say(f"       {line}")
        if self.warning is not None:
            watcher.warn(self.warning)


def with_cut(config: RunConfig, texts: Corpus, codec: Codec | None) -> tuple[RunConfig, Noticed]:
    """The configuration of a new run with its cut settled, and what to tell the user.

    `codec` is that of the run to start from, if there is one. Raises InputError if the recipe asks for another cut.
    """
    options = config.recipe.text
    if codec is not None:
        return _with_cut_of(config, codec.tokenization), Noticed()
    is_open = options.unit == "word" and options.cut == "auto"
    if config.source in named_corpora():
        return _changed(config, cut="spaces") if is_open else config, Noticed()
    traits = traits_of(texts.train)
    if not is_open:
        return config, Noticed(tuple(_blank_lines(traits, config.recipe)))
    settled = _changed(config, cut="prose" if traits.kind == "raw" else "spaces")
    return settled, Noticed(_noticed(traits, config.recipe), _warning(traits))


def _with_cut_of(config: RunConfig, tokenization: Tokenization) -> RunConfig:
    """The configuration with the cut of the vocabulary that the run starts from."""
    asked, cut = config.recipe.text, "prose" if isinstance(tokenization, Prose) else "spaces"
    assert config.start is not None
    if asked.unit != tokenization.unit:
        raise InputError(f"{config.start.run}: its tokens are {PLURALS[tokenization.unit]}; leave --unit out")
    if asked.unit != "word":
        return config
    if asked.cut not in ("auto", cut):
        raise InputError(f'{config.start.run}: its words are cut by text.cut = "{cut}"; leave text.cut out')
    if not isinstance(tokenization, Prose):
        return _changed(config, cut=cut)
    return _changed(config, cut=cut, lowercase=tokenization.lowercase, digits=tokenization.digits)


def _changed(config: RunConfig, **values: object) -> RunConfig:
    text = config.recipe.text.model_copy(update=values)
    return replace(config, recipe=config.recipe.model_copy(update={"text": text}))


def _noticed(traits: Traits, recipe: Recipe) -> tuple[str, ...]:
    return (*_raw_lines(traits), *_wrapped_lines(traits), *_blank_lines(traits, recipe))


def _wrapped_lines(traits: Traits) -> Iterator[str]:
    if traits.is_wrapped:
        yield f"paragraphs are broken into lines of about {traits.filled:.0f} characters; each line end counts as <eos>"
        yield f"one line a paragraph: {JOIN_PARAGRAPHS} FILE > joined.txt"


def _raw_lines(traits: Traits) -> Iterator[str]:
    if traits.kind == "raw":
        measured = f"{traits.attached:.0%} of its words end in punctuation, {traits.capitals:.0%} begin with a capital"
        yield f"raw text ({measured}): cut as prose, punctuation apart; --set text.cut=spaces cuts at spaces"


def _blank_lines(traits: Traits, recipe: Recipe) -> Iterator[str]:
    if traits.has_paragraphs:
        carries = recipe.text.document == "file" and recipe.batches.kind == "stream"
        hint = "; --set text.document=blank-line restarts the state after them" if carries else ""
        yield f"blank lines: {traits.blank / traits.lines:.0%} of the lines; each counts as one <eos>{hint}"


def _warning(traits: Traits) -> str | None:
    if traits.kind != "unspaced":
        return None
    if traits.holds_strings:
        what = f"nearly every line is one string without spaces, {traits.length:.0f} characters long on average"
    else:
        what = f"{traits.unspaced:.0%} of the letters are of a script that puts no spaces between words"
    return f"warning: {what}, so words say little\nuse characters or byte pairs: --unit character or --unit bpe"
