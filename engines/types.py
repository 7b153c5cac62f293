"""What goes into a text generator and what comes out: token ids, never re-tokenised text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        temperature: 0 takes the most probable token; 1 samples from the model as it is.
        max_new_tokens: a completion is cut after that many tokens.
        logit_bias: (token id, bias in nats) pairs added to the logits before sampling.
    """

    temperature: float = 1.0
    max_new_tokens: int = 32
    logit_bias: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model said to one prompt.

    Attributes:
        token_ids: the sampled tokens, the end-of-turn token included when it was drawn.
        logps: log-probability of each of them under the model at temperature 1 without bias, nats.
        weights_version: which published weights drew them.
    """

    token_ids: tuple[int, ...]
    logps: tuple[float, ...]
    weights_version: str


class Engine(Protocol):
    """Anything that continues token ids."""

    async def generate(
        self, prompt_ids: tuple[int, ...], sampling: Sampling, *, seed: int
    ) -> Completion:
        """Continue one prompt; the same prompt, sampling, seed and weights draw the same tokens."""
        ...


class LoadedEngine(Engine, Protocol):
    """An engine with weights in this process, which can be changed for others.

    Attributes:
        weights_version: the name of the weights that it has.
    """

    weights_version: str

    def publish(self, model: PreTrainedModel) -> str:
        """Take over the trainer's weights, awake afterwards; returns their version.

        Raises:
            EngineError: engine and trainer disagree on a probe afterwards.
        """
        ...

    def sleep(self) -> None:
        """Leave the GPU's memory to the trainer for a while."""
        ...

    def wake(self) -> None:
        """Be ready to generate again."""
        ...

    def close(self) -> None:
        """Generate no more."""
        ...


@dataclass(frozen=True, slots=True)
class Generation:
    """One generated turn with all that is needed to train on it or to draw it again.

    A seat's token stream is the concatenation of its generations: context, tokens, context, ...
    so that every prompt begins with the one before it, whatever the chat template does.

    Attributes:
        context_ids: the tokens between the seat's previous completion (or the start) and this one.
        token_ids: the sampled tokens.
        logps: their log-probabilities as sampled, nats, same length as `token_ids`.
    """

    context_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    logps: tuple[float, ...]
    sampling: Sampling
    seed: int
    weights_version: str
