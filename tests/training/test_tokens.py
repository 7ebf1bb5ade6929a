"""Eq. 1: an added token starts as the mean of its words' sub-words, whatever the checkpoint."""

import pytest
import torch

from aigq.context import SPECIAL_TOKENS
from training.tokens import add_special_tokens

pytestmark = pytest.mark.torch

TOKENS = {"<3_day_ago>": "3 day ago", "<click>": "click"}


@pytest.fixture
def plain_tokenizer(byte_level_tokenizer):
    """A tokenizer without any of our special tokens, as a downloaded one is."""
    return byte_level_tokenizer(["a day long ago, click day ago"], 300, ["<eos>"])


def make_model(rows: int, *, tied: bool):
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=rows,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=8,
            intermediate_size=16,
            tie_word_embeddings=tied,
        )
    )


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("spare_rows", [0, 1, 40])
def test_added_rows_are_means_of_sub_words(plain_tokenizer, tied, spare_rows):
    # Spare rows: Qwen checkpoints have more rows than pieces, so nothing is resized there, and an
    # initialisation that hangs on resizing silently leaves untrained rows.
    before = len(plain_tokenizer)
    model = make_model(before + spare_rows, tied=tied)
    inputs = model.get_input_embeddings().weight.detach().clone()
    outputs = model.get_output_embeddings().weight.detach().clone()
    pieces = {t: plain_tokenizer(words)["input_ids"] for t, words in TOKENS.items()}
    assert len(pieces["<3_day_ago>"]) > 1

    ids = add_special_tokens(model, plain_tokenizer, TOKENS)

    assert ids == [before, before + 1]
    new_inputs = model.get_input_embeddings().weight
    new_outputs = model.get_output_embeddings().weight
    assert (new_outputs is new_inputs) == tied
    assert new_inputs.shape[0] == max(before + spare_rows, before + 2)
    for token_id, token in zip(ids, TOKENS, strict=True):
        torch.testing.assert_close(new_inputs[token_id], inputs[pieces[token]].mean(dim=0))
        torch.testing.assert_close(new_outputs[token_id], outputs[pieces[token]].mean(dim=0))
    torch.testing.assert_close(new_inputs[:before], inputs[:before], rtol=0, atol=0)
    torch.testing.assert_close(new_outputs[:before], outputs[:before], rtol=0, atol=0)
    assert plain_tokenizer("<click>x")["input_ids"][0] == ids[1]


def test_present_tokens_keep_what_they_learned(plain_tokenizer):
    model = make_model(len(plain_tokenizer) + 100, tied=True)
    first = add_special_tokens(model, plain_tokenizer, TOKENS)
    with torch.no_grad():
        model.get_input_embeddings().weight[first] = 7.0
    rest = add_special_tokens(model, plain_tokenizer, SPECIAL_TOKENS)
    assert (model.get_input_embeddings().weight[first] == 7.0).all()
    assert len(rest) == len(SPECIAL_TOKENS) - len(TOKENS)
    assert add_special_tokens(model, plain_tokenizer, SPECIAL_TOKENS) == []
