"""Settings of ``aigq train grpo``."""

from typing import Any, Literal

from pydantic import Field, model_validator

from aigq.days import EVERY_DAY, Days, parse_days
from aigq.settings import Settings
from training.il_grpo.loss import Bounds
from training.il_grpo.rewards import CTR_CAP, CTR_SCALE, NEAR_DUPLICATE
from training.settings import MODEL_NAME

# Canonical GRPO has one pair of bounds and no bonus; what is given beside it is taken.
_CANONICAL = {"wide_below": "tight_below", "wide_above": "tight_above"}


class GrpoSettings(Settings):
    """What is rewarded, how rewards become advantages, and how the policy follows them.

    Prompt style and token budgets are those that the base model was trained with.
    """

    variant: Literal["direct", "think"] = Field(
        "direct", description="direct: lists of queries; think: reasons, then interest points."
    )
    algorithm: Literal["il_grpo", "grpo"] = Field(
        "il_grpo",
        description="il_grpo: credit by slot; grpo: one advantage for the sum of all rewards.",
    )
    name: str | None = Field(
        None, pattern=MODEL_NAME, description="Model to publish as, by default VARIANT_ALGORITHM."
    )
    base_model: str | None = Field(
        None,
        description="Model to start from, of `aigq train sft` or grpo; by default VARIANT.",
    )
    ctr_model: str = Field("ctr", description="CTR model that rewards: NAME or NAME@VERSION.")

    # Rollouts.
    steps: int = Field(100, ge=1, description="Rollout batches: fresh rollouts each.")
    prompts: int = Field(8, ge=1, description="Prompts of a rollout batch, over all processes.")
    rollouts: int = Field(8, ge=2, description="Rollouts of a prompt (G).")
    updates: int = Field(
        1,
        ge=1,
        description="Optimiser steps on a rollout batch; with one, ratios are 1: no bound binds.",
    )
    temperature: float = Field(1.0, gt=0, description="Temperature of rollouts.")
    top_k: int = Field(100, ge=0, description="Most likely tokens to sample from; 0: all.")
    engine: Literal["transformers", "vllm_colocate", "vllm_server"] = Field(
        "transformers", description="What writes rollouts; vllm_* want a GPU."
    )
    server: str = Field(
        "http://localhost:8000", description="Address of `trl vllm-serve`, for vllm_server."
    )
    vllm_memory: float = Field(
        0.3, gt=0, lt=1, description="Share of a GPU that vllm_colocate takes for itself."
    )
    accumulation_steps: int = Field(
        1, ge=1, description="Micro-batches that a process's share of an update is cut into."
    )
    gradient_checkpointing: bool = Field(
        False, description="Compute activations twice rather than keep them."
    )

    # Samples.
    days: str | None = Field(
        None,
        description="Shop days to train on, A..B, both included, whatever their split."
        " [default: the training split]",
    )
    max_samples: int = Field(20_000, ge=1, description="Samples drawn from these at most.")
    day_start_share: float = Field(
        0.5, ge=0, le=1, description="Share of contexts without behaviours of the same day."
    )
    heldout_share: float = Field(
        0.02, ge=0, lt=1, description="Share of users whose prompts only measure the rewards."
    )
    heldout_prompts: int = Field(128, ge=0, description="Prompts of those users at most.")

    # Difficulty filter.
    filter: bool = Field(
        False, description="Keep prompts whose mean reward lies from keep_low to keep_high."
    )
    keep_low: float = Field(0.05, description="Least mean query reward of a prompt to keep.")
    keep_high: float = Field(0.95, description="Most mean query reward of a prompt to keep.")
    filter_rollouts: int = Field(4, ge=1, description="Rollouts that a prompt is judged by.")
    filter_every: int | None = Field(
        None, ge=1, description="Judge the prompts anew after so many steps. [default: never]"
    )

    # Rewards (eq. 10, 14).
    weight_ctr: float = Field(0.5, ge=0, description="Weight of the predicted click.")
    weight_rouge: float = Field(0.4, ge=0, description="Weight of ROUGE-L with the reference.")
    weight_length: float = Field(0.1, ge=0, description="Weight of a query's length in bounds.")
    ctr_scale: float = Field(
        CTR_SCALE, gt=0, description="Factor of the click probability (alpha)."
    )
    ctr_cap: float = Field(CTR_CAP, gt=0, description="Most that a click probability gives (c).")
    least_characters: int = Field(2, ge=1, description="Shortest query in bounds.")
    most_characters: int = Field(50, ge=1, description="Longest query in bounds.")
    near_duplicate: float = Field(
        NEAR_DUPLICATE, gt=0, le=1, description="Cosine of queries that say the same."
    )
    reward_clip: float = Field(5.0, gt=0, description="Bound of R_q, R_s, R_trig; grpo: none.")

    # Advantages (eq. 11-13, 17).
    balance: float = Field(0.5, ge=0, description="Weight of the sequence's advantage (lambda).")
    advantage_clip: float = Field(5.0, gt=0, description="Bound of an advantage's absolute value.")

    # Policy (eq. 18).
    loss: Literal["dapo", "grpo"] = Field(
        "dapo",
        description="dapo: mean over all tokens; grpo: over the rollouts' own means.",
    )
    tight_below: float = Field(0.2, ge=0, le=1, description="How far a ratio may fall below 1.")
    tight_above: float = Field(0.2, ge=0, description="How far a ratio may rise above 1.")
    wide_below: float = Field(
        0.3, ge=0, le=1, description="The same, of high-entropy tokens; grpo: as tight_below."
    )
    wide_above: float = Field(
        0.3, ge=0, description="The same, of high-entropy tokens; grpo: as tight_above."
    )
    entropy_quantile: float = Field(
        0.8, ge=0, le=1, description="Quantile of token entropy from which it is high."
    )
    entropy_weight: float = Field(
        0.01, ge=0, description="Weight of the entropy bonus at the start; grpo: 0."
    )
    kl_weight: float = Field(0.0, ge=0, description="Weight of the divergence from the base model.")
    learning_rate: float = Field(1e-4, gt=0, description="Peak learning rate (AdamW).")
    warmup_share: float = Field(0.05, ge=0, le=1, description="Share of steps that warm up.")
    weight_decay: float = Field(0.0, ge=0, description="AdamW weight decay.")
    lora_rank: int | None = Field(None, ge=1, description="Train LoRA adapters of this rank.")
    lora_alpha: int = Field(32, ge=1, description="LoRA scale, used with lora_rank.")
    weights_dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="Precision of the weights in memory; bfloat16 with lora_rank only."
    )

    # What is refused before the first step.
    max_truncated: float = Field(0.25, ge=0, le=1, description="Most rollouts without an end.")
    max_malformed: float = Field(0.6, ge=0, le=1, description="Most rollouts that do not parse.")
    max_flat: float = Field(
        0.8, ge=0, le=1, description="Most prompts whose rollouts are all worth the same."
    )

    checkpoint_steps: int = Field(20, ge=1, description="Steps between checkpoints.")
    seed: int = Field(1, ge=0, description="Seed of sample choice, order and rollouts.")

    @model_validator(mode="before")
    @classmethod
    def _canonical_unless_given(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("algorithm") != "grpo":
            return values
        bounds = {
            wide: values.get(tight, cls.model_fields[tight].default)
            for wide, tight in _CANONICAL.items()
        }
        return {**bounds, "entropy_weight": 0.0, **values}

    @model_validator(mode="after")
    def _consistent(self) -> "GrpoSettings":
        _ = self.bounds
        if self.keep_low >= self.keep_high:
            raise ValueError(f"keep_low {self.keep_low} is not below keep_high {self.keep_high}")
        if self.least_characters > self.most_characters:
            raise ValueError(
                f"least_characters {self.least_characters} is above most_characters"
                f" {self.most_characters}"
            )
        if self.weights_dtype == "bfloat16" and self.lora_rank is None:
            raise ValueError("weights_dtype bfloat16 rounds updates away: set lora_rank as well")
        if self.filter_every is not None and not self.filter:
            raise ValueError("filter_every is set, but filter is not")
        _ = self.asked_days
        return self

    @property
    def model_name(self) -> str:
        """The name to publish under."""
        return self.name or f"{self.variant}_{self.algorithm}"

    @property
    def base(self) -> str:
        """The policy to start from."""
        return self.base_model or self.variant

    @property
    def asked_days(self) -> Days:
        """The days to train on; every day: the training split's."""
        return EVERY_DAY if self.days is None else parse_days(self.days)

    @property
    def bounds(self) -> Bounds:
        """Both pairs of bounds; raises ValueError where the wide ones are tighter."""
        return Bounds(
            (self.tight_below, self.tight_above),
            (self.wide_below, self.wide_above),
            self.entropy_quantile,
        )
