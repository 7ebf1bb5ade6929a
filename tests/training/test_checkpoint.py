"""A base model whose tokenizer is another one's is refused before anything is trained."""

import pytest
import torch

from aigq.settings import Home, UserError
from training.checkpoint import BaseModel, load_base, resolve_base

pytestmark = pytest.mark.torch


def save(path, *, rows=300, eos="</s>", config_eos=0):
    from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
    from tokenizers import models as bpe
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    core = Tokenizer(bpe.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(
        ["red shoes"],
        trainers.BpeTrainer(
            special_tokens=["</s>", "<end>"],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    config = LlamaConfig(
        vocab_size=rows,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        eos_token_id=config_eos,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    PreTrainedTokenizerFast(tokenizer_object=core, eos_token=eos).save_pretrained(path)
    return BaseModel(str(path), "test")


@pytest.mark.parametrize("config_eos", [0, [5, 0], None])
def test_what_matches_is_loaded(tmp_path, config_eos):
    model, tokenizer, _ = load_base(save(tmp_path, config_eos=config_eos))
    assert model.dtype == torch.float32
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": 200}, r"ids up to 26\d, the model embeddings for 200 tokens"),
        ({"config_eos": 7}, r"ends sequences with token 0 \(</s>\), the model's config with 7"),
        (
            {"config_eos": [7, 9], "eos": "<end>"},
            r"token 1 \(<end>\), the model's config with 7, 9",
        ),
        ({"eos": None}, "no end-of-sequence token"),
    ],
)
def test_what_does_not_match_is_refused(tmp_path, changes, message):
    base = save(tmp_path, **changes)
    with pytest.raises(UserError, match=message):
        load_base(base)


def test_a_folder_that_lacks_something_is_refused(tmp_path):
    from tokenizers import Tokenizer
    from tokenizers import models as bpe
    from transformers import PreTrainedTokenizerFast

    base = save(tmp_path / "cut")
    (tmp_path / "cut" / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match="cannot load base model"):
        load_base(base)
    # What transformers makes for some architectures where the files are missing.
    base = save(tmp_path / "empty")
    empty = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(bpe.BPE()), eos_token="</s>")
    empty.save_pretrained(tmp_path / "empty")
    with pytest.raises(UserError, match="are its files missing"):
        load_base(base)


def test_where_a_base_comes_from(tmp_path):
    home = Home(tmp_path)
    assert resolve_base(home, "owner/name") == BaseModel("owner/name", "owner/name")
    folder = tmp_path / "mine"
    folder.mkdir()
    with pytest.raises(UserError, match=r"holds no checkpoint: it has no config\.json"):
        resolve_base(home, str(folder))
    (folder / "config.json").write_text("{}")
    bare = resolve_base(home, str(folder))
    assert bare.source == str(folder) and bare.train_end_at is None
    (folder / "manifest.json").write_text('{"train_end_at": "2026-03-01T00:00:00+00:00"}')
    known = resolve_base(home, str(folder))
    assert known.train_end_at == "2026-03-01T00:00:00+00:00"
    assert known.identity != bare.identity, "its files have changed"
    (folder / "manifest.json").write_text("{")
    with pytest.raises(UserError, match=r"manifest\.json is no JSON"):
        resolve_base(home, str(folder))
