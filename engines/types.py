"""The interface of engines: token ids in, token ids with log-probabilities out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are sampled.

    Attributes:
        temperature: 0 takes the most probable token; 1 samples from the model as it is.
        max_new_tokens: a completion is cut after that many tokens.
        logit_bias: (token id, bias in nats) pairs added to the logits before sampling.
        pattern: a regular expression that the reply's whole text must match before an end-of-turn
            token can be drawn; None for a reply that is free. It may still be cut.
    """

    temperature: float = 1.0
    max_new_tokens: int = 32
    logit_bias: tuple[tuple[int, float], ...] = ()
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's continuation of one prompt.

    Attributes:
        token_ids: the sampled tokens, the end-of-turn token included when it was drawn.
        logps: log-probability of each of them under the model at temperature 1 without bias and
            without the pattern, nats.
        weights_version: the version of the weights that generated them.
        constraint_nats: how far the pattern moved the reply: -log of the probability that the model
            gave to the tokens that it allowed, summed over the reply; None without a pattern.
    """

    token_ids: tuple[int, ...]
    logps: tuple[float, ...]
    weights_version: str
    constraint_nats: float | None = None


class Engine(Protocol):
    """Continues token ids with a language model."""

    async def generate(
        self, prompt_ids: tuple[int, ...], sampling: Sampling, *, seed: int
    ) -> Completion:
        """Continue one prompt; the same prompt, sampling, seed and weights draw the same tokens."""
        ...


class LoadedEngine(Engine, Protocol):
    """An engine whose model is loaded in this process and can be given new weights.

    Attributes:
        weights_version: the version of the weights that it has now.
    """

    weights_version: str

    def publish(self, model: PreTrainedModel) -> str:
        """Load the trainer's weights and be ready to generate; returns their version.

        Raises:
            EngineError: engine and trainer disagree on a probe afterwards.
        """
        ...

    def sleep(self) -> None:
        """Free the GPU's memory for the trainer until `wake` or `publish`."""
        ...

    def wake(self) -> None:
        """Be ready to generate again."""
        ...

    def close(self) -> None:
        """Free everything; the engine cannot be used afterwards."""
        ...


@dataclass(frozen=True, slots=True)
class Generation:
    """One generated turn, with everything needed to train on it or to generate it again.

    A seat's token stream is the concatenation of its generations: context, tokens, context, ...
    Every prompt therefore begins with the one before it, whatever the chat template does.

    Attributes:
        context_ids: the tokens between the seat's previous completion (or the start) and this one.
        token_ids: the sampled tokens.
        logps: their log-probabilities as sampled, nats, same length as `token_ids`.
        constraint_nats: see `Completion`.
    """

    context_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    logps: tuple[float, ...]
    sampling: Sampling
    seed: int
    weights_version: str
    constraint_nats: float | None = None
