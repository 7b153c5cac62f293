"""The vocabulary of the line language, which the small models read and write: one token a word.

Numbers are bound to what they count ("book=2"), since a model that small cannot put two tokens
together. Each family lists its own words (`Family.words`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from envs.scenarios.family import FAMILIES

PAD, UNKNOWN, END, ME, THEM = "<pad>", "<unk>", "<eos>", "<me>", "<them>"
_SHARED = (
    "<think> </think> say gesture do leave none offer accept reject you me i want need no like "
    "hate know somebody at that is too much little worth buy sell keep division price camp match "
    "plans reads nods smiles"
)
SHARED_WORDS = tuple(_SHARED.split())
"""Words that any family may use. Their order fixes the token ids of the shipped model."""

BUILT_IN = ("division", "camp", "plans", "match", "price")
"""The families that the shipped model knows, in the order of its token ids."""


def vocabulary(extra_words: Sequence[str] = ()) -> list[str]:
    """All words of the line language, in the order of their token ids.

    Args:
        extra_words: further words at the end, such as those of another package's family.
    """
    words = [PAD, UNKNOWN, END, ME, THEM, *SHARED_WORDS]
    for family in BUILT_IN:
        words += FAMILIES[family].words
    words += [f"aim={n}" for n in range(61)]
    words += [f"left={n}" for n in range(1, 31)]
    words += [str(n) for n in range(-20, 61)]
    return list(dict.fromkeys([*words, *extra_words]))


def missing_words(families: Iterable[str]) -> tuple[str, ...]:
    """The words of the families that the shipped model does not know, in the families' order.

    Args:
        families: names of scenario families; those without a task have no words and are skipped.
    """
    known = set(vocabulary())
    words = [word for name in families if name in FAMILIES for word in FAMILIES[name].words]
    return tuple(dict.fromkeys(word for word in words if word not in known))
