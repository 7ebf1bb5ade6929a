"""A byte-level BPE tokenizer learned from the shop's text."""

from collections.abc import Iterable
from typing import Any

from aigq.context import SPECIAL_TOKENS

EOS_TOKEN = "<|endoftext|>"
PAD_TOKEN = "<|pad|>"


def train_tokenizer(texts: Iterable[str], *, vocab_size: int, max_behaviors: int) -> Any:
    """A transformers fast tokenizer of at most ``vocab_size`` pieces, learned from ``texts``.

    All special tokens of the prompt are in it from the start, and so is the head of each behaviour
    line (line break, index, bar) as one ordinary piece: a third of a short line otherwise. Any
    string survives encode and decode unchanged: the 256 bytes are pieces too.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    line_heads = [f"\n{index}|" for index in range(1, max_behaviors + 1)]
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size - len(line_heads),
            special_tokens=[EOS_TOKEN, PAD_TOKEN, *SPECIAL_TOKENS],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    core.add_tokens([AddedToken(head, normalized=False) for head in line_heads])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=EOS_TOKEN,
        pad_token=PAD_TOKEN,
        clean_up_tokenization_spaces=False,
    )
