"""Special tokens with an embedding made from the words they stand for (AIGQ eq. 1)."""

from collections.abc import Mapping
from typing import Any

import torch

from aigq.settings import UserError


@torch.no_grad()
def add_special_tokens(model: Any, tokenizer: Any, tokens: Mapping[str, str]) -> list[int]:
    """Add the ``tokens`` (token -> its words) that ``tokenizer`` lacks; returns the ids added.

    Eq. 1: e(token) = mean of the embeddings of its words' sub-words; the row of an untied output
    head (and its bias) likewise. This is not what ``resize_token_embeddings`` does, and a
    checkpoint with spare rows is not resized at all: so rows are always written here. Tokens that
    are there already keep what they learned.
    """
    from transformers import AddedToken

    present = tokenizer.get_vocab()
    missing = {token: words for token, words in tokens.items() if token not in present}
    if not missing:
        return []
    pieces = {}
    for token, words in missing.items():
        pieces[token] = tokenizer(words, add_special_tokens=False)["input_ids"]
        if not pieces[token]:
            raise UserError(f"the tokenizer knows no sub-words of {words!r}, needed for {token}")
    tokenizer.add_tokens(
        [AddedToken(token, special=True, normalized=False) for token in missing],
        special_tokens=True,
    )
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)

    tables = [model.get_input_embeddings().weight]
    head = model.get_output_embeddings()
    if head is not None and head.weight is not tables[0]:
        tables.append(head.weight)
        if head.bias is not None:
            tables.append(head.bias)
    ids = tokenizer.convert_tokens_to_ids(list(missing))
    for table in tables:
        for token_id, token in zip(ids, missing, strict=True):
            table[token_id] = table[pieces[token]].float().mean(dim=0).to(table.dtype)
    return ids
