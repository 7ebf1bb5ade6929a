"""What must hold before a policy is worth training, and what is refused where it does not."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
import torch
from transformers.integrations import is_deepspeed_zero3_enabled
from trl.trainer.utils import pad

from aigq.settings import UserError
from training import distributed
from training.il_grpo.scoring import Scored
from training.il_grpo.tasks import Task

if TYPE_CHECKING:
    from training.il_grpo.trainer import ListGrpoTrainer

# Rollout batches' worth of prompts that are looked at.
_BATCHES = 4
# The same rollouts scored twice by the same weights: what rounding may make of the mean ratio.
_RATIO_TOLERANCE = {False: 1e-3, True: 2e-2}
# Mean distance of the sampler's log-probs from the trainer's. Two engines in half precision round
# differently, by some hundredths a token where logits are large; one update usually does less.
_MOST_SAMPLER_GAP = 0.1
# Rollouts of each process by which the sampler's log-probs are checked.
ROLLOUTS_COMPARED = 4
# How far weights are moved to see whether the sampler follows: no further than the policy needs to
# move by _FAR nats a token, since engines round what is large more coarsely.
_NUDGES = (0.005, 0.02, 0.08, 0.32)
_FAR = 1.0
_MOST_MOVED_GAP = 0.3


def preflight(trainer: "ListGrpoTrainer") -> dict[str, float]:
    """Write and score rollouts of the first prompts, before anything is trained; their shares.

    Raises :class:`UserError` where a sampler of its own does not get the weights, where too many
    rollouts have no end or do not parse, or where the trainer's log-probs of them do not repeat:
    each would train something else than what is wanted. So would prompts whose rollouts are all
    worth the same; where a filter is still to choose them, see :func:`require_differences`.
    """
    if trainer.use_vllm:
        _require_pushed_weights(trainer)
    tasks, completions, scored = _first_rollouts(trainer)
    total = len(completions)
    errors = Counter(error for error in scored.errors if error)
    found = {
        "truncated": errors["truncated"] / total,
        "malformed": sum(errors.values()) / total,
        "ratio": _ratio(trainer, tasks[: trainer.how.prompts], completions),
    }
    # All processes go by the first one's rollouts: one that stopped alone would leave the others.
    found, errors = distributed.share((found, errors))
    _refuse(found, errors, total, trainer)
    if not trainer.how.filter:
        found["flat"] = _refuse_flat(trainer, scored)
    return found


def require_differences(trainer: "ListGrpoTrainer") -> float:
    """Share of the first prompts whose rollouts are all worth the same; raises :class:`UserError`
    where it is too large."""
    return _refuse_flat(trainer, _first_rollouts(trainer)[2])


def _refuse_flat(trainer: "ListGrpoTrainer", scored: Scored) -> float:
    how = trainer.how
    # Canonical GRPO sees nothing but the sum.
    worth = trainer.slot_advantages(scored) if how.algorithm == "il_grpo" else scored.terms.sum(1)
    worth = worth.view(len(worth) // how.rollouts, -1)
    is_flat = (worth - worth[:, :1]).abs().amax(dim=1) < 1e-6
    flat = distributed.share(float(is_flat.float().mean()))
    if flat > how.max_flat:
        raise UserError(
            f"{flat:.0%} of the prompts have rollouts that are all worth the same, more"
            f" than max_flat ({how.max_flat:.0%}): there is nothing to tell them apart by; raise"
            " the temperature, or look at the rewards' weights"
        )
    return flat


def _first_rollouts(
    trainer: "ListGrpoTrainer",
) -> tuple[list[Task], list[list[int]], Scored]:
    """The prompts of the first batches, the completions of each, and what they are worth."""
    count = trainer.how.rollouts
    planned = trainer.order[: _BATCHES * trainer.how.prompts]
    tasks = [trainer.tasks[i] for i in dict.fromkeys(planned)]
    completions = trainer.write(tasks, count)
    scored = trainer.scorer.score([task for task in tasks for _ in range(count)], completions)
    return tasks, completions, scored


def _refuse(
    found: dict[str, float], errors: Counter[str], total: int, trainer: "ListGrpoTrainer"
) -> None:
    how = trainer.how
    if found["truncated"] > how.max_truncated:
        raise UserError(
            f"{errors['truncated']} of {total} rollouts have no end within"
            f" {trainer.max_completion_length} tokens, more than max_truncated"
            f" ({how.max_truncated:.0%}): train the base model on, or on shorter lists"
        )
    if found["malformed"] > how.max_malformed:
        said = ", ".join(f"{count} {error}" for error, count in errors.most_common(3))
        raise UserError(
            f"{sum(errors.values())} of {total} rollouts do not parse ({said}), more than"
            f" max_malformed ({how.max_malformed:.0%}): the base model has not learned the grammar"
        )
    refuse_ratio(found["ratio"], trainer.args.bf16)


def _ratio(trainer: "ListGrpoTrainer", tasks: list, completions: list[list[int]]) -> float:
    """Mean ratio of the policy as trained to the policy as scored, on the first rollouts."""
    count = trainer.how.rollouts
    rows = [
        (task.prompt, completions[number * count])
        for number, task in enumerate(tasks)
        if completions[number * count]
    ]
    ids, masks = zip(*_padded(trainer, *zip(*rows, strict=True)), strict=True)
    after = ids[1].shape[1]
    inputs: Any = (torch.cat(ids, dim=1), torch.cat(masks, dim=1), after)
    model = trainer.model
    was_training = model.training
    model.eval()
    with torch.no_grad():
        old = trainer._get_per_token_logps_and_entropies(model, *inputs)[0]
    model.train()
    new = trainer._get_per_token_logps_and_entropies(model, *inputs)[0].detach()
    model.train(was_training)
    is_token = inputs[1][:, -after:].bool()
    return float(torch.exp(new - old)[is_token].mean())


def _padded(
    trainer: "ListGrpoTrainer", prompts: Sequence[list[int]], completions: Sequence[list[int]]
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Token ids and mask of the prompts (B, P) and of the completions (B, T)."""
    found = []
    for side, texts in (("left", prompts), ("right", completions)):
        tokens = [torch.tensor(text, device=trainer.accelerator.device) for text in texts]
        ids = pad(tokens, trainer.processing_class.pad_token_id, side)
        found.append((ids, pad([torch.ones_like(of) for of in tokens], 0, side)))
    return found


@contextmanager
def _moved(model: torch.nn.Module, nudge: float) -> Iterator[None]:
    """Its trained weights elsewhere, the same in every process; then all weights as they were.

    All of them, since pushing adapters adds them to the weights below and subtracts them again.
    """
    before = [weight.detach().to("cpu", copy=True) for weight in model.parameters()]
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        try:
            for weight in model.parameters():
                if weight.requires_grad:
                    weight += (nudge * torch.randn(weight.shape, generator=draw)).to(weight)
            yield
        finally:
            for weight, value in zip(model.parameters(), before, strict=True):
                weight.copy_(value)


def _require_pushed_weights(trainer: "ListGrpoTrainer") -> None:
    """Move the policy far away, have the sampler write with it, and move it back.

    An engine that was started from the same checkpoint writes as the policy does until the first
    updates, whether weights reach it or not, and one update is less than rounding.
    """
    if trainer.is_fsdp_enabled or is_deepspeed_zero3_enabled():
        # No process has whole weights to move, or will have once they are shared out.
        if distributed.rank() == 0:
            click.echo("preflight: whether weights reach vLLM cannot be tried here", err=True)
        return
    model = trainer.accelerator.unwrap_model(trainer.model)
    prompts = [trainer.tasks[trainer.order[0]].prompt] * ROLLOUTS_COMPARED
    for nudge in _NUDGES:
        with _moved(model, nudge):
            trainer._last_loaded_step = -1  # else TRL pushes once a step
            completions, said = trainer._generate_single_turn(prompts, None, {}, ROLLOUTS_COMPARED)
            log_probs = [
                torch.tensor(
                    [math.nan if one is None else one for one in of],
                    device=trainer.accelerator.device,
                )
                for of in said
            ]
            rows = (*_padded(trainer, prompts, completions), pad(log_probs, math.nan, "right"))
            gap = trainer.sampler_distance(*rows)
        moved_by = trainer.sampler_distance(*rows)
        trainer._last_loaded_step = -1
        # Not by either alone: a sampler that stays behind writes what the weights before like.
        if not max(moved_by, gap) < _FAR:
            break
    else:
        raise UserError(
            "whether weights reach the vLLM engine cannot be told: however far they are moved, the"
            f" log-probs of what it writes move by {moved_by:.2f} nats a token"
        )
    if not gap <= max(_MOST_SAMPLER_GAP, min(_MOST_MOVED_GAP, moved_by / 10)):
        raise UserError(
            "weights do not reach the vLLM engine: of weights that were moved far, its log-probs"
            f" lie {gap:.2f} nats a token from the policy's, and {moved_by:.2f} from those of"
            " the weights before"
        )


def refuse_ratio(ratio: float, bf16: bool) -> None:
    """Raise :class:`UserError` where the mean ratio is not 1 before anything is trained."""
    if not abs(ratio - 1) <= _RATIO_TOLERANCE[bf16]:
        raise UserError(
            f"the same rollouts have other log-probs when scored again (mean ratio {ratio:.4f},"
            " expected 1): dropout, or weights that changed in between"
        )


def refuse_unsynchronised(distance: float) -> None:
    """Raise :class:`UserError` where the sampler's log-probs are not those of the policy.

    ``distance``: see :meth:`ListGrpoTrainer.sampler_distance`. Not a difference: what was drawn
    with other weights may as well be likelier now. What it finds is another model, or weights that
    have not been pushed for many updates.
    """
    if not distance <= _MOST_SAMPLER_GAP:
        raise UserError(
            "rollouts were written with other weights than those that are trained: log-probs of"
            f" their tokens differ by {distance:.3f} in the mean (up to"
            f" {_MOST_SAMPLER_GAP} may be rounding); a vLLM server has to be started with"
            " --logprobs-mode processed_logprobs"
        )
