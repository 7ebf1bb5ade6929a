"""The checkpoint that a training starts from: found, checked, loaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aigq import models
from aigq.settings import Home, UserError


@dataclass(frozen=True)
class BaseModel:
    """Where the starting weights come from; ``identity`` changes when they do.

    ``train_end_at``: the end of the shop's days they have seen, None for weights from elsewhere.
    """

    source: str
    identity: str
    train_end_at: str | None = None


def resolve_base(home: Home, reference: str) -> BaseModel:
    """The checkpoint behind ``name``, ``name@version``, a directory or a hub name ``owner/name``.

    Raises :class:`UserError` naming the versions there are, or what the directory lacks.
    """
    if "/" in reference and not Path(reference).is_dir():
        return BaseModel(reference, reference)
    model = models.resolve_checkpoint(home, reference)
    identity = f"{model.name}@{model.version}"
    if isinstance(model, models.Checkpoint):
        identity = f"{model.path} ({model.version})"
    return BaseModel(str(model.path), identity, model.manifest.get("train_end_at"))


def load_base(base: BaseModel, dtype: str = "float32", *, longest: int = 0) -> tuple[Any, Any, Any]:
    """Model with weights in ``dtype``, tokenizer, and the dtype the checkpoint is stored in.

    ``longest``: tokens of the longest prompt with its target. Raises :class:`UserError` where it
    cannot be loaded, has fewer positions than that, or model and tokenizer do not match.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    try:
        stored = AutoConfig.from_pretrained(base.source).dtype or torch.float32
        tokenizer = AutoTokenizer.from_pretrained(base.source)
        model = AutoModelForCausalLM.from_pretrained(base.source, dtype=getattr(torch, dtype))
    except (OSError, ValueError, SafetensorError) as error:
        is_missing = str(base.source)[0] in "/.~" and not Path(base.source).exists()
        why = "no such folder" if is_missing else str(error).strip().splitlines()[0]
        raise UserError(f"cannot load base model {base.source}: {why}") from None
    check_match(base.source, model, tokenizer)
    require_positions(base.source, model.config, longest)
    if tokenizer.pad_token_id is None:
        # Padding is masked everywhere, so any token will do.
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer, stored


def require_positions(source: str, config: Any, longest: int) -> None:
    """Raises :class:`UserError` where a model of ``config`` has less than ``longest`` positions."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    if positions and longest > positions:
        raise UserError(
            f"{source} has {positions} positions, and prompts with their targets may be {longest}"
            " tokens long: lower max_prompt_tokens or max_target_tokens"
        )


def check_match(source: str, model: Any, tokenizer: Any) -> None:
    """Raises :class:`UserError` where ``tokenizer`` is not the one ``model`` was made for: it has
    tokens without an embedding, or ends sequences with another token than the model does."""
    # Of a folder without tokenizer files transformers makes an empty one.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise UserError(f"{source}: its tokenizer knows no token: are its files missing there?")
    rows = model.get_input_embeddings().weight.shape[0]
    highest = max(tokenizer.get_vocab().values())
    if highest >= rows:
        raise UserError(
            f"{source}: tokenizer and model do not match: the tokenizer has token ids up to"
            f" {highest}, the model embeddings for {rows} tokens"
        )
    eos = tokenizer.eos_token_id
    if eos is None:
        raise UserError(f"{source}: its tokenizer has no end-of-sequence token to end lists")
    ends = model.config.eos_token_id
    ends = [ends] if isinstance(ends, int) else ends
    if ends and eos not in ends:
        raise UserError(
            f"{source}: tokenizer and model do not match: the tokenizer ends sequences with token"
            f" {eos} ({tokenizer.eos_token}), the model's config with {', '.join(map(str, ends))}"
        )


def lora_config(settings: Any, model: Any, added: list[int]) -> Any:
    """LoRA on every linear layer but the head, and full training of the added tokens' rows.

    ``settings``: with ``lora_rank`` and ``lora_alpha``. None where ``lora_rank`` is None: all
    weights are trained then.
    """
    if settings.lora_rank is None:
        return None
    from peft import LoraConfig

    embeddings = model.get_input_embeddings()
    name = next(n.rpartition(".")[2] for n, m in model.named_modules() if m is embeddings)
    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        trainable_token_indices={name: added} if added else None,
        task_type="CAUSAL_LM",
    )
