"""Write a chat model that says anything: what a judge does to replies when nobody judges.

    python benchmarks/random_judge.py FOLDER

A Llama of two layers with random weights, 32768 positions, and a tokenizer made from our
documentation. Under a grammar its replies have the right form and no meaning.
"""

from __future__ import annotations

from pathlib import Path

import torch
from common import ROOT, parser
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

DOCS = ROOT / "docs"
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<eos>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def write(folder: Path) -> None:
    """Write model and tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=["<eos>", "<|system|>", "<|user|>", "<|assistant|>"],
        show_progress=False,
    )
    pages = (path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md")))
    # Without backslashes: a grammar lets halves of escaped characters pass that no reader takes.
    tokenizer.train_from_iterator((page.replace("\\", " ") for page in pages), trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32768,
        initializer_range=0.1,  # what was read must matter to what is said
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("folder", type=Path)
    write(arguments.parse_args().folder)
