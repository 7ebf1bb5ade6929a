"""Memory predicted on the meta device, against the real thing at small scale."""

import json
from types import SimpleNamespace

import pytest
import torch

from aigq.settings import PROJECT_ROOT
from training.checkpoint import lora_config
from training.memory import Batch, largest_batches, predict
from training.parts import Example
from training.settings import TrainSettings

pytestmark = pytest.mark.torch

BATCH = Batch(rows=3, width=64, predicted=16)


def small_config(layers=5, **changes):
    from transformers import Qwen3Config

    return Qwen3Config(
        **{
            "vocab_size": 300,
            "hidden_size": 32,
            "num_hidden_layers": layers,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "intermediate_size": 48,
            "tie_word_embeddings": True,
        }
        | changes
    )


def kept_in_reality(config, checkpointing: bool, dtype=torch.float32) -> int:
    """Bytes that autograd keeps of a forward pass, on the CPU, with the model whole."""
    from transformers import Qwen3ForCausalLM

    torch.manual_seed(0)
    model = Qwen3ForCausalLM._from_config(config, attn_implementation="eager", dtype=dtype).train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        ids = torch.randint(300, (BATCH.rows, BATCH.width))
        where = torch.arange(BATCH.width - BATCH.predicted, BATCH.width)
        logits = model(ids, use_cache=False, logits_to_keep=where).logits
        torch.nn.functional.cross_entropy(
            logits.float().flatten(0, 1),
            torch.zeros(BATCH.rows * BATCH.predicted, dtype=torch.long),
        )
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize(
    ("dtype", "bytes_of_gradients"), [(torch.float32, 4), (torch.bfloat16, 4 + 2)]
)
def test_activations_of_the_whole_model_are_those_of_its_layers(dtype, bytes_of_gradients):
    config = small_config()
    bf16 = dtype == torch.bfloat16
    memory = predict(config, TrainSettings(), [BATCH], bf16=bf16, fused_attention=False)
    of_logits = bytes_of_gradients * BATCH.rows * BATCH.predicted * 300
    real = kept_in_reality(config, checkpointing=False, dtype=dtype) + of_logits
    assert memory.activations == pytest.approx(real, rel=0.02)


@pytest.mark.parametrize(
    ("parts", "packed", "expected"),
    [
        # 40 and 20 tokens are two rows of 64, predicted from 10 on: 128 tokens, all of them
        # predicted. 70 alone is one of 96, of which 32 are predicted, but attention is 96 x 96.
        ((1, 1), False, {Batch(2, 64, 64), Batch(1, 96, 32)}),
        ((2, 1), False, {Batch(1, 96, 32)}),
        ((1, 2), False, {Batch(1, 96, 32)}),
        # 60 tokens in one row of 64 with 15 targets, against 96 with 4.
        ((1, 1), True, {Batch(1, 64, 15), Batch(1, 96, 4)}),
    ],
)
def test_the_largest_micro_batches_by_hand(parts, packed, expected):
    examples = [Example([1] * 40, 35), Example([1] * 20, 10), Example([1] * 70, 66)]
    accumulation, world = parts
    found = largest_batches(
        examples, [[0, 1], [2]], accumulation=accumulation, world=world, packed=packed
    )
    assert set(found) == expected and len(found) == len(expected)


def test_of_several_batches_the_one_that_takes_most():
    """Fewer tokens may take more: with a large vocabulary it is the predicted ones that count."""

    def bytes_of(*batches):
        config = small_config(2, vocab_size=50_000)
        return predict(config, TrainSettings(), batches, bf16=False, fused_attention=False).total

    long, many = Batch(2, 128, 8), Batch(2, 96, 64)
    assert bytes_of(long) < bytes_of(many) == bytes_of(long, many) == bytes_of(many, long)


def test_queries_as_wide_as_a_row_are_no_attention_weights():
    """A fused kernel keeps none of the latter: what is kept grows with the width, in a line, also
    where the row is as wide as a head."""

    def kept(width):
        batches = [Batch(2, width, 16)]
        config = small_config(head_dim=64, hidden_size=40)
        return predict(
            config, TrainSettings(), batches, bf16=True, fused_attention=True
        ).activations

    assert kept(32) < kept(64) <= kept(96) < kept(128)
    assert kept(64) >= (kept(32) + kept(96)) / 2


def test_the_peak_is_this_process_own():
    """A process started by a large one must not report that one's peak."""
    import subprocess
    import sys

    own = "from training.memory import peak_bytes; print(peak_bytes())"
    held = (
        f"import subprocess, sys; x = b'x' * {3 * 2**29};"
        f" subprocess.run([sys.executable, '-c', {own!r}])"
    )
    found = subprocess.run([sys.executable, "-c", held], capture_output=True, text=True, check=True)
    assert 2**20 < int(found.stdout) < 5 * 2**28


def test_predicting_draws_no_random_numbers():
    """A training must end the same whether its memory was predicted or not."""
    before = torch.get_rng_state()
    predict(small_config(), TrainSettings(), [BATCH], bf16=False, fused_attention=False)
    assert torch.equal(before, torch.get_rng_state())


def test_a_fused_kernel_keeps_no_attention_weights():
    eager, fused = (
        predict(small_config(), TrainSettings(), [BATCH], bf16=False, fused_attention=kernel)
        for kernel in (False, True)
    )
    layers, heads = 5, 2
    matrices = layers * BATCH.rows * heads * BATCH.width**2
    assert eager.activations - fused.activations == 4 * matrices


def test_adapters_on_weights_of_half_precision():
    from peft import get_peft_model
    from transformers import Qwen3ForCausalLM

    config = small_config()
    model = Qwen3ForCausalLM(config).bfloat16()
    count = model.num_parameters()
    lora = lora_config(SimpleNamespace(lora_rank=2, lora_alpha=4), model, [0, 1])
    settings = {"bf16": True, "fused_attention": True, "lora": lora, "weights_dtype": "bfloat16"}
    memory = predict(config, TrainSettings(), [BATCH], **settings)
    trained = [p for p in get_peft_model(model, lora).parameters() if p.requires_grad]
    assert {p.dtype for p in trained} == {torch.float32}
    adapters = sum(p.numel() for p in trained)
    assert 0 < adapters < count / 4
    assert (memory.parameters, memory.trainable) == (count + adapters, adapters)
    # Autocast copies the adapters as well: 4 bytes and 2.
    assert memory.weights == 2 * count + (4 + 2) * adapters
    assert memory.gradients == 4 * adapters and memory.optimizer == 8 * adapters


def test_checkpointing_keeps_the_inputs_of_layers():
    settings = TrainSettings(gradient_checkpointing=True)
    few, many = (
        predict(small_config(n), settings, [BATCH], bf16=False, fused_attention=False)
        for n in (5, 25)
    )
    grown = many.activations - few.activations
    assert grown == 20 * BATCH.rows * BATCH.width * 32 * 4
    real = [kept_in_reality(small_config(n), checkpointing=True) for n in (5, 25)]
    assert grown == pytest.approx(real[1] - real[0], rel=0.05)
    whole = predict(small_config(25), TrainSettings(), [BATCH], bf16=False, fused_attention=False)
    assert many.activations < 0.3 * whole.activations


@pytest.mark.parametrize("muon", [None, 0.02])
def test_optimizer_state_is_what_the_optimizers_make(muon):
    from transformers import Qwen3ForCausalLM

    from training.optimizer import MuonAdamW

    config = small_config()
    model = Qwen3ForCausalLM(config)
    parameters = list(model.parameters())
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    if muon is None:
        optimizer = torch.optim.AdamW(parameters)
    else:
        optimizer = MuonAdamW(parameters, [model.get_input_embeddings().weight],
                              muon_learning_rate=muon, learning_rate=1e-3, weight_decay=0.0,
                              betas=(0.9, 0.98))  # fmt: skip
    optimizer.step()
    inner = [optimizer] if muon is None else [optimizer._muon, optimizer._adamw]
    real = sum(
        value.numel() * value.itemsize
        for each in inner
        for state in each.state.values()
        for value in state.values()
        if torch.is_tensor(value) and value.ndim
    )
    settings = TrainSettings(muon_learning_rate=muon)
    memory = predict(config, settings, [BATCH], bf16=False, fused_attention=False)
    assert memory.optimizer == real
    assert memory.parameters == memory.trainable == model.num_parameters()
    assert memory.weights == memory.gradients == 4 * model.num_parameters()
    more = predict(config, settings, [BATCH], bf16=False, fused_attention=False, world=2)
    assert more.gradients == 2 * memory.gradients


@pytest.mark.parametrize(
    ("name", "parameters"), [("Qwen3-0.6B", 596_049_920), ("Qwen3-30B-A3B", 30_532_122_624)]
)
def test_documented_architectures_have_the_published_sizes(name, parameters):
    from transformers import AutoConfig

    folder = PROJECT_ROOT / "training/il_sft/recipes/architectures"
    config = AutoConfig.for_model(**json.loads((folder / f"{name}.json").read_text()))
    memory = predict(config, TrainSettings(), [Batch(1, 64, 16)], bf16=True, fused_attention=True)
    assert memory.parameters == parameters
