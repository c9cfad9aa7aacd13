"""From text to ids and back."""

from fastapi import APIRouter

from recurlm.serving.bodies.tokens import (
    DetokenizeAnswer,
    DetokenizeRequest,
    TokenizeAnswer,
    TokenizeRequest,
    TokenizerInfo,
)
from recurlm.serving.context import Served
from recurlm.serving.prompts import check_ids, text_ids
from recurlm.serving.requests import BoundedRoute
from recurlm.serving.routes.answers import CHOOSES, READS_BODY, errors
from recurlm.text.vocabulary import EOS, UNK

router = APIRouter(route_class=BoundedRoute, tags=["tokens"])


@router.post("/tokenize", responses=errors(READS_BODY))
async def tokenize(body: TokenizeRequest, context: Served) -> TokenizeAnswer:
    """Cuts a text into tokens; a line feed and a written `<eos>` are `<eos>`."""
    codec = context.model(body.model).model.codec
    ids, unknown = text_ids(codec, body.prompt)
    return TokenizeAnswer(
        count=len(ids),
        max_model_len=context.options.prompt_tokens,
        tokens=ids,
        token_strs=[codec.vocabulary.tokens[index] for index in ids] if body.return_token_strs else None,
        unknown=unknown,
    )


@router.post("/detokenize", responses=errors(READS_BODY))
async def detokenize(body: DetokenizeRequest, context: Served) -> DetokenizeAnswer:
    """Spells ids."""
    codec = context.model(body.model).model.codec
    return DetokenizeAnswer(prompt=codec.decode(check_ids(codec, body.tokens, "tokens")))


@router.get("/tokenizer_info", responses=errors(CHOOSES))
async def tokenizer_info(context: Served, model: str | None = None) -> TokenizerInfo:
    """Says how a model cuts text."""
    codec = context.model(model).model.codec
    return TokenizerInfo(
        tokenizer_class=f"recurlm.{type(codec.tokenization).__name__}",
        unit=codec.tokenization.unit,
        cut=codec.tokenization.cut,
        vocab_size=len(codec.vocabulary),
        eos_token=EOS,
        unk_token=None if codec.vocabulary.unknown_id is None else UNK,
    )
