"""The gradient of a step that several processes take: the sum of their gradients.

The gradients travel in a few messages, those of the output layer first. A message leaves as soon as the backward pass
has computed its gradients, so it travels while the pass goes on through the layers below. The last message leaves after
the pass. It has the rest: small gradients, whether each process has a gradient of each weight, and the gradients of the
embeddings that were looked up. A batch usually looks up far fewer embeddings than there are, so their rows (T, B, E)
travel instead of the matrix (V, E). All processes read the ids of the whole batch, so each knows where the rows belong.

Processes that share memory compute their sums themselves, so there is nothing that goes on beside the pass. They send
the last message alone, with everything in it.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor

from recurlm.distributed import Team
from recurlm.kernels.embedding import add_rows
from recurlm.models.language_model import LanguageModel
from recurlm.text.batching import Batch, Part

MESSAGE_BYTES = 1 << 20
"""The least size of a message that leaves during the backward pass; a smaller one costs more time than it saves."""


@contextmanager
def summing_gradients(team: Team, model: LanguageModel, batch: Batch, embedded: Tensor) -> Iterator[None]:
    """Inside, the backward pass of a part of a batch runs; at the end, every gradient is the sum over all processes.

    `embedded` (T, columns, E) are the embeddings that the part has looked up. A weight that no process has a gradient
    of keeps none.
    """
    assert batch.part is not None
    ids, embedding = batch.whole.input.to(model.device), model.embedding.weight
    rows_travel = ids.numel() < len(embedding)
    early, late = plan_messages(model, rows_travel=rows_travel)
    if team.shares_memory:
        early, late = [], [*chain.from_iterable(early), *late]
    weights = [weight for message in (*early, late) for weight in message]
    with _sent_when_ready(team, early) as messages:
        yield
    if not rows_travel:
        add_rows(embedding, batch.input, embedded.grad)
    present = torch.tensor([float(weight.grad is not None) for weight in weights]).to(embedding)
    rest = [present, *([_rows(batch.part, embedded)] if rows_travel else [])]
    messages.append(_Message(team, late, rest))
    for message in messages:
        message.receive()
    for weight, count in zip(weights, present.tolist(), strict=True):
        if not count:
            weight.grad = None
    if rows_travel:
        add_rows(embedding, ids, rest[1])


def plan_messages(model: LanguageModel, *, rows_travel: bool) -> tuple[list[list[Tensor]], list[Tensor]]:
    """The weights of each message that leaves during the backward pass, and those of the last message.

    Where rows travel, they are all that an embedding contributes. The matrix of a tied output layer travels as well.
    Where they do not, the gradient of the matrix is complete only after the pass.
    """
    embedding, tied = model.embedding.weight, model.options.tied
    early: list[list[Tensor]] = []
    pending: list[Tensor] = []
    for weight in dict.fromkeys([*model.decoder.parameters(), *reversed(list(model.parameters()))]):
        if weight is embedding and not (tied and rows_travel):
            continue
        pending.append(weight)
        if sum(each.nbytes for each in pending) >= MESSAGE_BYTES:
            early.append(pending)
            pending = []
    return early, pending if rows_travel else [*pending, embedding]


class _Message:
    """Gradients of weights, and further tensors, on their way to be summed over all processes.

    Zeros stand for a gradient that this process does not have.
    """

    def __init__(self, team: Team, weights: Sequence[Tensor], further: Sequence[Tensor] = ()) -> None:
        self._weights = weights
        self._sums = [torch.zeros_like(each) if each.grad is None else each.grad.contiguous() for each in weights]
        self._wait = team.start_adding([*self._sums, *further])

    def receive(self) -> None:
        """Waits for the sums, and puts them in the place of the gradients and of the further tensors."""
        self._wait()
        for weight, total in zip(self._weights, self._sums, strict=True):
            weight.grad = total


@contextmanager
def _sent_when_ready(team: Team, planned: Sequence[Sequence[Tensor]]) -> Iterator[list[_Message]]:
    """Inside, a message leaves when the backward pass has computed its gradients; at the end, those that still wait.

    All processes send in the order of the plan, so a message waits for those before it.
    """
    sent: list[_Message] = []
    unsent = deque(planned)
    missing = {id(weights): len(weights) for weights in planned}

    def arrival(weights: Sequence[Tensor]) -> Callable[[Tensor], None]:
        def note(_: Tensor) -> None:
            missing[id(weights)] -= 1
            while unsent and not missing[id(unsent[0])]:
                sent.append(_Message(team, unsent.popleft()))

        return note

    hooks = [
        weight.register_post_accumulate_grad_hook(arrival(weights))  # type: ignore[no-untyped-call]
        for weights in planned
        for weight in weights
    ]
    try:
        yield sent
    finally:
        for hook in hooks:
            hook.remove()
    sent.extend(_Message(team, weights) for weights in unsent)


def _rows(part: Part, embedded: Tensor) -> Tensor:
    """The gradients of the embeddings of the whole batch (T, B, E), zero where other processes read."""
    rows = embedded.new_zeros(len(embedded), part.whole.columns, embedded.shape[-1])
    if embedded.grad is not None and part.columns:
        rows[:, part.first : part.first + part.columns] = embedded.grad
    return rows
