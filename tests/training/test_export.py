"""The exported checkpoint is the model that was trained, adapters included."""

import pytest
import torch

from training.export import save_merged

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("tied", [True, False])
def test_merged_lora_equals_the_adapter_model(tmp_path, tied):
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    from training.base.tokenizer import train_tokenizer
    from training.checkpoint import lora_config
    from training.il_sft.settings import SftSettings

    tokenizer = train_tokenizer(["red shoes"] * 3, vocab_size=400, max_behaviors=3)
    torch.manual_seed(0)
    base = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=16,
            intermediate_size=32,
            tie_word_embeddings=tied,
        )
    )
    ids = torch.tensor([[10, 70, 71, 12, 90, 3]])
    before = base(ids).logits.detach()
    added = [10, 12]
    model = get_peft_model(base, lora_config(SftSettings(lora_rank=4), base, added))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.eval()
    expected = model(ids).logits.detach()
    assert (expected - before).abs().max() > 0.1

    save_merged(model, tokenizer, tmp_path, torch.float32)
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    # Merging adds the adapter's product into the weights: same numbers up to float rounding.
    torch.testing.assert_close(reloaded(ids).logits, expected, rtol=1e-4, atol=1e-5)
    assert reloaded.config.tie_word_embeddings == tied
    assert reloaded.config.dtype == torch.float32
    assert reloaded.generation_config.eos_token_id == tokenizer.eos_token_id
    text = "a|b\n1|<0_day_ago>|<search>|red shoes\n<hints>"
    assert AutoTokenizer.from_pretrained(tmp_path)(text) == tokenizer(text)
    assert not list(tmp_path.glob("adapter*"))
