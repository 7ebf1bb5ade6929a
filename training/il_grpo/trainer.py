"""IL-GRPO as a thin layer on TRL's GRPOTrainer: which reward a token gets, and how far it moves it.

Rollouts, distribution, optimisation and logging are TRL's. What is put in its place:

- rewards come from :class:`training.il_grpo.scoring.Scorer`, from token ids: TRL's reward functions
  see texts without special tokens;
- algorithm ``il_grpo``: an advantage for each token (eq. 11); ``grpo``: TRL's own, of the sum;
- the loss is that of :mod:`training.il_grpo.loss`, with TRL's normalisation (``grpo``, ``dapo``);
- prompts are token ids already, and which of them make up a batch is planned beforehand;
- checkpoints are atomic, and lie between rollout batches.

Old log-probs are the trainer's, never the sampler's, which has renormalised its top k. With one
update per rollout batch they are those of the loss itself: the ratio is exactly 1.
"""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from accelerate.utils import gather_object, is_peft_model
from datasets import Dataset
from trl import GRPOTrainer

from aigq.settings import UserError
from training.atomic import AtomicCheckpoints
from training.il_grpo.advantages import group_advantages, token_advantages
from training.il_grpo.loss import (
    entropy_bonus,
    entropy_threshold,
    is_exploring,
    kept_log_probs,
    log_probs_and_entropies,
    token_loss,
)
from training.il_grpo.preflight import ROLLOUTS_COMPARED, refuse_ratio, refuse_unsynchronised
from training.il_grpo.scoring import TERMS, Scored, Scorer
from training.il_grpo.settings import GrpoSettings
from training.il_grpo.tasks import Task

_QUANTILES = (0.1, 0.5, 0.9)
# Rollouts at least, outside of training.
_WRITTEN_AT_ONCE = 128
# A group's largest advantage, where it has any, is about 1 (`balance`, where lists alone differ).
_FLAT = 0.01
# Tokens after which rollouts with an end leave the batch the first time.
_FIRST_PART = 64


class Moves:
    """How far a rollout batch's updates have moved the policy, summed over their micro-batches."""

    def __init__(self):
        self._sums = [0.0] * 9
        self._furthest = 0.0

    def add(self, sums: Sequence[float], furthest: float) -> None:
        """``sums`` over tokens, in this order: clipped ones of high entropy and all of these,
        clipped others and all of these, ratios and their number, entropies, divergences and their
        number. ``furthest``: the largest distance of a ratio from 1."""
        self._sums = [one + other for one, other in zip(self._sums, sums, strict=True)]
        self._furthest = float(np.maximum(self._furthest, furthest))  # no number stays none

    def figures(self) -> dict[str, float]:
        """What is logged; nothing about a class of tokens that was empty."""
        clipped, high, clipped_other, other, ratios, moved, entropy, kl, tokens = self._sums
        found = {
            "clip_fraction/exploring": (clipped, high),
            "clip_fraction/other": (clipped_other, other),
            "ratio/mean": (ratios, moved),
            "entropy": (entropy, tokens),
            "kl": (kl, tokens),
        }
        figures = {name: total / count for name, (total, count) in found.items() if count}
        return figures | ({"ratio/furthest": self._furthest} if moved else {})


class ListGrpoTrainer(AtomicCheckpoints, GRPOTrainer):
    """See the module's docstring. ``order``: the task (its index) of each prompt of the run, batch
    after batch; it may be changed from the next batch on."""

    def __init__(
        self,
        *,
        tasks: Sequence[Task],
        order: list[int],
        scorer: Scorer,
        how: GrpoSettings,
        **kwargs,
    ):
        self.tasks = tasks
        self.order = order
        self.scorer = scorer
        self.how = how
        self._bounds = how.bounds
        self._scored: Scored | None = None
        # While rollouts are scored, the entropies that came with their old log-probs.
        self._is_scoring = False
        self._entropies: torch.Tensor | None = None
        self._moves = Moves()
        rows = Dataset.from_dict({"prompt": range(how.steps * how.prompts)})
        # TRL asks a function for each column of rewards; ours come all at once.
        super().__init__(reward_funcs=[scorer.score] * len(TERMS), train_dataset=rows, **kwargs)
        self.reward_func_names = list(TERMS)

    def _tokenize_prompts(self, prompts: list) -> tuple[list, None, dict]:
        return prompts, None, {}

    def _generate_single_turn(self, prompt_ids, *args, **kwargs):
        """By transformers, in parts that double what is written: a batch goes on until its longest
        rollout ends, and most end long before. What is drawn depends on the tokens before it alone,
        so beginning anew with the others draws from the same distribution."""
        # Processes that share out weights have to begin together.
        if self.use_vllm or self.is_deepspeed_enabled or self.is_fsdp_enabled:
            return super()._generate_single_turn(prompt_ids, *args, **kwargs)
        whole = self.generation_config
        model = self.accelerator.unwrap_model(self.model)
        base = model.get_base_model() if is_peft_model(model) else model
        found: list[list[int]] = [[] for _ in prompt_ids]
        left = list(range(len(found)))
        written = 0
        try:
            while left and written < whole.max_new_tokens:
                size = min(max(written, _FIRST_PART), whole.max_new_tokens - written)
                self.generation_config = copy.copy(whole)
                self.generation_config.max_new_tokens = size
                # transformers makes no cache smaller than the largest so far: slower, and a run
                # that was resumed would sum over other widths.
                base._previous_max_cache_length = -1
                prompts = [[*prompt_ids[i], *found[i]] for i in left]
                parts, _ = super()._generate_single_turn(prompts, *args, **kwargs)
                for i, part in zip(left, parts, strict=True):
                    found[i] += part
                written += size
                left = [i for i in left if found[i][-1] not in self.eos_token_ids]
        finally:
            self.generation_config = whole
        return found, None

    def _save_checkpoint(self, model, trial):
        super()._save_checkpoint(model, trial)
        # A run that goes on from here has nothing kept: texts that are encoded in other company
        # differ in the last digits.
        self.scorer.forget()

    def write(self, tasks: Sequence[Task], count: int) -> list[list[int]]:
        """``count`` completions (token ids) of each of ``tasks``, task by task."""
        batch = self.args.generation_batch_size // self.accelerator.num_processes
        at_once = max(1, max(batch, _WRITTEN_AT_ONCE) // count)
        found: list[list[int]] = []
        for start in range(0, len(tasks), at_once):
            prompts = [t.prompt for t in tasks[start : start + at_once] for _ in range(count)]
            found += self._generate_single_turn(prompts, None, {}, count)[0]
        return found

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        scored = self.scorer.score([row["task"] for row in inputs], completion_ids_list)
        self._scored = scored
        terms = self.accelerator.gather(scored.terms.to(self.accelerator.device))
        self._log_rewards(scored, terms)
        return terms

    def _generate_and_score_completions(self, inputs):
        tasks = [self.tasks[self.order[row["prompt"]]] for row in inputs]
        self._is_scoring, self._entropies = True, None
        try:
            output = super()._generate_and_score_completions(
                [{"prompt": task.prompt, "task": task} for task in tasks]
            )
        finally:
            self._is_scoring = False
        if "sampling_per_token_logps" in output:
            distance = self.sampler_distance(
                (output["prompt_ids"], output["prompt_mask"]),
                (output["completion_ids"], output["completion_mask"]),
                output["sampling_per_token_logps"],
            )
            refuse_unsynchronised(distance)
            self._metrics["train"]["sampler_gap"].append(distance)
        if self.how.algorithm == "il_grpo":
            output["advantages"] = self.slot_advantages(self._scored).to(self.accelerator.device)
        groups = output["advantages"].view(
            -1, self.num_generations * output["advantages"][0].numel()
        )
        # Equal rewards less their mean leave a rounding error of some 1e-7, divided by 1e-4.
        self._log("flat_prompts", [float(of.abs().max() < _FLAT) for of in groups])
        clip = self.how.advantage_clip
        output["advantages"] = output["advantages"].clamp(-clip, clip)
        if "old_per_token_logps" in output:
            # They are asked for before the reference's.
            output["exploring"] = self._exploring(self._entropies, output["completion_mask"])
        return output

    @torch.no_grad()
    def sampler_distance(
        self,
        prompts: tuple[torch.Tensor, torch.Tensor],
        completions: tuple[torch.Tensor, torch.Tensor],
        said: torch.Tensor,
    ) -> float:
        """Mean distance, in nats a token, of the sampler's log-probs from the policy's.

        ``prompts`` (B, P), ``completions`` (B, T): token ids and masks; ``said`` (B, T): what the
        sampler says. By the first rollouts of every process: logits of a large vocabulary take
        room. The sampler's log-probs are of its ``top_k`` tokens alone, so the policy's are made so
        too. Raises :class:`UserError` where it has said nothing.
        """
        some = slice(0, ROLLOUTS_COMPARED)
        ids, masks = zip(prompts, completions, strict=True)
        written, mask = (of[some] for of in completions)
        with self.accelerator.autocast():
            logits = self.model(
                input_ids=torch.cat(ids, dim=1)[some],
                attention_mask=torch.cat(masks, dim=1)[some],
                use_cache=False,
                logits_to_keep=written.shape[1] + 1,
            ).logits[:, :-1]
        ours = kept_log_probs(logits / self.temperature, written, self.how.top_k)
        is_said = mask.bool() & ~said[some].isnan()
        sums = torch.stack([(said[some] - ours).abs()[is_said].sum(), is_said.sum()]).float()
        distance, tokens = self.accelerator.reduce(sums, reduction="sum").tolist()
        if not tokens:
            raise UserError("the sampler has not said the log-probs of what it wrote")
        return distance / tokens

    def slot_advantages(self, scored: Scored) -> torch.Tensor:
        """(B, T): the advantage of every token, group by group (eq. 11-13, 17)."""
        size = self.num_generations
        found = []
        for start in range(0, len(scored.sequence), size):
            group = slice(start, start + size)
            advantages = group_advantages(
                scored.query[group],
                scored.sequence[group],
                None if scored.trigger is None else scored.trigger[group],
            )
            found.append(token_advantages(scored.spans[group], advantages, self.how.balance))
        return torch.cat(found)

    def _get_per_token_logps_and_entropies(
        self,
        model,
        input_ids,
        attention_mask,
        logits_to_keep,
        batch_size=None,
        compute_entropy=False,
        **kwargs,
    ):
        ids = (input_ids, attention_mask, logits_to_keep, batch_size or len(input_ids))
        # Of rollouts, those of the policy that drew them: of several updates the first call. The
        # reference, whose call is the only one before a single update, computes none on GPUs.
        is_asked = self._is_scoring and self._entropies is None and self.num_iterations > 1
        if input_ids.is_cuda or self.aux_loss_enabled:
            found = super()._get_per_token_logps_and_entropies(
                model, *ids, compute_entropy or is_asked, **kwargs
            )
        else:
            found = (*self._at_completions(model, *ids), None)
        if is_asked:
            self._entropies = found[1]
        return found

    def _at_completions(self, model, ids, mask, width, batch_size):
        """Log-probs and entropies (B, width), 0 where there is no token: whatever batch a row is
        in, they are the same. TRL, away from GPUs, projects every position on the vocabulary, and
        most of them are prompt or padding."""
        parts = []
        for start in range(0, len(ids), batch_size):
            rows = slice(start, start + batch_size)
            used = mask[rows].any(0).nonzero()[:, 0]
            first, end = int(used[0]), int(used[-1]) + 1
            ends = ids.shape[1] - end
            with self.accelerator.autocast():
                logits = model(
                    input_ids=ids[rows, first:end],
                    attention_mask=mask[rows, first:end],
                    use_cache=False,
                    logits_to_keep=width - ends + 1,
                ).logits[:, :-1]
            found = log_probs_and_entropies(logits / self.temperature, ids[rows, -width:end])
            parts.append([torch.nn.functional.pad(of, (0, ends)) for of in found])
        is_padding = mask[:, mask.shape[1] - width :] == 0
        return tuple(
            torch.cat(part).masked_fill(is_padding, 0) for part in zip(*parts, strict=True)
        )

    def _exploring(self, entropies: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, T): which tokens are among those of high entropy in the whole rollout batch."""
        local = entropies[mask.bool()].float()
        padded = self.accelerator.pad_across_processes(local, pad_index=float("nan"))
        everything = self.accelerator.gather(padded)
        threshold = entropy_threshold(everything, ~everything.isnan(), self._bounds.quantile)
        return is_exploring(entropies, mask, threshold)

    def _compute_loss(self, model, inputs):
        mask = inputs["completion_mask"]
        log_probs, entropies, aux_loss = self._get_per_token_logps_and_entropies(
            model,
            torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1),
            torch.cat([inputs["prompt_mask"], mask], dim=1),
            mask.shape[1],
            compute_entropy=True,
            compute_aux_loss=self.aux_loss_enabled,
        )
        parts = self.args.steps_per_generation
        is_first_update = self._step % (parts * self.num_iterations) < parts
        advantages = inputs["advantages"]
        exploring = inputs.get("exploring", torch.zeros_like(mask, dtype=torch.bool))
        found = token_loss(
            log_probs,
            inputs.get("old_per_token_logps", log_probs.detach()),
            advantages if advantages.ndim == 2 else advantages[:, None],
            exploring,
            self._bounds,
            reference_log_probs=inputs.get("ref_per_token_logps"),
            beta=self.beta,
        )
        bonus = entropy_bonus(self.how.entropy_weight, self.state.global_step, self.args.max_steps)
        loss = self._averaged(found.loss - bonus * entropies, mask, inputs)
        if self.aux_loss_enabled:
            shares = self.current_gradient_accumulation_steps
            loss = loss + self.router_aux_loss_coef * aux_loss / shares
            everywhere = self.accelerator.gather_for_metrics(aux_loss)
            self._metrics["train"]["aux_loss"].append(everywhere.mean().item())
        if "old_per_token_logps" in inputs and is_first_update and not self.state.global_step:
            ratio = found.ratio[mask.bool()].mean()
            refuse_ratio(self.accelerator.gather(ratio).mean().item(), self.args.bf16)
        # Of several updates the first has ratios of 1 by construction.
        has_moved = not is_first_update or self.num_iterations == 1
        self._count_moves(found, entropies.detach(), exploring, mask.bool(), has_moved=has_moved)
        return loss

    def _averaged(self, values: torch.Tensor, mask: torch.Tensor, inputs: dict) -> torch.Tensor:
        """This micro-batch's share of the mean over the update's tokens, as TRL takes it."""
        shares = self.current_gradient_accumulation_steps
        if self.loss_type == "grpo":
            return ((values * mask).sum(1) / mask.sum(1).clamp(min=1)).mean() / shares
        tokens = inputs["num_items_in_batch"].clamp(min=1) / self.accelerator.num_processes
        return (values * mask).sum() / (tokens * shares / self.args.steps_per_generation)

    def _log(self, name: str, values: Sequence[float]) -> None:
        """The mean over all processes."""
        everything = gather_object(list(values))
        self._metrics["train"][name].append(sum(everything) / max(1, len(everything)))

    def _log_rewards(self, scored: Scored, terms: torch.Tensor) -> None:
        """Each term's distribution, each slot's reward, and what the lists are like."""
        points = torch.tensor(_QUANTILES, device=terms.device)
        for name, values in zip(TERMS, terms.unbind(1), strict=True):
            for quantile, value in zip(_QUANTILES, values.quantile(points).tolist(), strict=True):
                self._metrics["train"][f"rewards/{name}/p{quantile * 100:.0f}"].append(value)
        width = scored.query.shape[1]
        widths = self.accelerator.gather(torch.tensor([width], device=terms.device))
        sums = torch.zeros(3, int(widths.max()))
        sums[0, :width] = scored.query.nansum(0)
        sums[1, :width] = scored.by_slot[..., 0].nansum(0)
        sums[2, :width] = (~scored.query.isnan()).sum(0)
        sums = self.accelerator.reduce(sums.to(terms.device), reduction="sum")
        for slot, (reward, click, count) in enumerate(sums.T.tolist()):
            if count:
                self._metrics["train"][f"slots/{slot}/reward"].append(reward / count)
                self._metrics["train"][f"slots/{slot}/ctr"].append(click / count)
        self._log("malformed", [float(error is not None) for error in scored.errors])
        self._log("queries", [float(len(of)) for of in scored.queries])
        size = self.num_generations
        groups = [scored.queries[i : i + size] for i in range(0, len(scored.queries), size)]
        self._log(
            "distinct_share",
            [
                len({q for of in group for q in of}) / max(1, sum(map(len, group)))
                for group in groups
            ],
        )

    def _count_moves(self, found, entropies, exploring, present, *, has_moved: bool) -> None:
        """A micro-batch's share of what is logged once a rollout batch."""
        moved = present & has_moved
        high, other = exploring & moved, ~exploring & moved
        sums = [found.is_clipped[high].sum(), high.sum(), found.is_clipped[other].sum()]
        sums += [other.sum(), found.ratio[moved].sum(), moved.sum(), entropies[present].sum()]
        sums += [found.divergence[present].sum(), present.sum()]
        sums = self.accelerator.reduce(torch.stack([s.float() for s in sums]), reduction="sum")
        distance = torch.where(moved, (found.ratio - 1).abs(), 0).max()
        furthest = self.accelerator.gather(distance).max().item()
        self._moves.add(sums.tolist(), furthest)

    def log(self, logs, start_time=None):
        moves, self._moves = self._moves, Moves()
        self._metrics["train"].update({name: [of] for name, of in moves.figures().items()})
        super().log(logs, start_time)
