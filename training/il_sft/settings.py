"""Settings of ``aigq train sft``."""

from typing import Any, Literal

from pydantic import Field, model_validator

from training.settings import MODEL_NAME, TrainSettings

# The baseline keeps what IL-SFT changes: an order free of interest, and the prompt in words.
_STYLE_OF_OBJECTIVE = {"il_sft": "compressed", "sft": "verbose"}


class SftSettings(TrainSettings):
    """Which samples, in what order and prompt, and what is trained on them."""

    variant: Literal["direct", "think"] = Field(
        "direct", description="direct: lists of queries; think: reasons, then interest points."
    )
    objective: Literal["il_sft", "sft"] = Field(
        "il_sft", description="il_sft: labels best first; sft: in an order free of interest."
    )
    name: str | None = Field(
        None,
        pattern=MODEL_NAME,
        description="Model to publish as, by default the variant.",
    )
    base_model: str = Field(
        "base", description="Model to start from: base, base@VERSION, a path or a hub name."
    )
    prompt_style: Literal["compressed", "verbose"] = Field(
        None,
        validate_default=False,
        description="compressed or verbose; by default verbose for objective sft.",
    )
    max_prompt_tokens: int = Field(512, ge=16, description="Oldest behaviours go beyond this.")
    max_target_tokens: int = Field(128, ge=8, description="Samples with longer lists are dropped.")
    max_samples: int = Field(20_000, ge=1, description="Samples drawn from the training split.")
    day_start_share: float = Field(
        0.5, ge=0, le=1, description="Share of contexts without behaviours of the same day."
    )
    heldout_share: float = Field(
        0.02, ge=0, lt=1, description="Share of users kept for the held-out loss."
    )
    max_epochs: float = Field(10, gt=0, description="Passes over the samples at most.")
    lora_rank: int | None = Field(None, ge=1, description="Train LoRA adapters of this rank.")
    lora_alpha: int = Field(32, ge=1, description="LoRA scale, used with lora_rank.")
    weights_dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Precision of the weights in memory; bfloat16 with lora_rank only, whose frozen"
        " weights take no updates.",
    )

    @model_validator(mode="before")
    @classmethod
    def _style_follows_objective(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("prompt_style") is None:
            style = _STYLE_OF_OBJECTIVE.get(values.get("objective", "il_sft"))
            return values | {"prompt_style": style}
        return values

    @model_validator(mode="after")
    def _updates_need_precision(self) -> "SftSettings":
        if self.weights_dtype == "bfloat16" and self.lora_rank is None:
            raise ValueError("weights_dtype bfloat16 rounds updates away: set lora_rank as well")
        return self

    @property
    def model_name(self) -> str:
        """The name to publish under."""
        return self.name or self.variant
