"""An update of IL-GRPO beside TRL's GRPO with identical rollouts: seconds a step, in one run.

    AIGQ_HOME=data/ladder python tests/bench/grpo_speed.py --base-model direct_il_sft

Rollouts of the first prompts are written by the policy, by TRL's way and by ours; then plain
``trl.GRPOTrainer`` and ours take turns at training on ours, from the same weights, with the same
rewards: ours as it is, TRL with one reward function for each of their terms. ``trl, completions
only``: TRL with our way of computing log-probs on CPUs, leaving the
rest of the difference.
"""

import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import torch
from datasets import Dataset
from transformers import PrinterCallback
from trl import GRPOTrainer

from aigq import warehouse
from aigq.settings import Home, recipe_path
from training.checkpoint import load_base
from training.il_grpo.job import find_start, prepare
from training.il_grpo.running import arguments
from training.il_grpo.scoring import TERMS
from training.il_grpo.settings import GrpoSettings
from training.il_grpo.tasks import plan
from training.il_grpo.trainer import ListGrpoTrainer
from training.precision import set_fast_attention


class Written:
    """Rollouts that were written before, in the order in which they are asked for."""

    batches: list[list[list[int]]]
    place = 0

    def _tokenize_prompts(self, prompts):
        return prompts, None, {}

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations):
        self.place += 1
        return self.batches[self.place - 1], None


class Ours(Written, ListGrpoTrainer):
    pass


class Trl(Written, GRPOTrainer):
    pass


class TrlAtCompletions(Trl):
    _entropies, _is_scoring = None, False
    _get_per_token_logps_and_entropies = ListGrpoTrainer._get_per_token_logps_and_entropies
    _at_completions = ListGrpoTrainer._at_completions


def rewards_of(scorer, tasks):
    """A reward function for each term; the scoring itself is done once a batch."""
    last: dict[int, torch.Tensor] = {}

    def function(column: int):
        def reward(completion_ids, row, **_):
            if id(completion_ids) not in last:
                last.clear()
                last[id(completion_ids)] = scorer.score(
                    [tasks[i] for i in row], completion_ids
                ).terms
            return last[id(completion_ids)][:, column].tolist()

        reward.__name__ = TERMS[column]
        return reward

    return [function(column) for column in range(len(TERMS))]


def write(writer, kind, tasks, order) -> tuple[list[list[list[int]]], float]:
    """Rollouts of each batch's prompts, the way of ``kind``, and the seconds a batch took."""
    how, found = writer.how, []
    began = time.perf_counter()
    for b in range(0, len(order), how.prompts):
        of = [tasks[i].prompt for i in order[b : b + how.prompts] for _ in range(how.rollouts)]
        found.append(kind._generate_single_turn(writer, of, None, {}, how.rollouts)[0])
    seconds = (time.perf_counter() - began) / len(found)
    tokens = statistics.mean(len(ids) for batch in found for ids in batch)
    click.echo(f"{kind.__name__:<24}{seconds:8.2f} s to write a batch, {tokens:.0f} tokens each")
    return found, seconds


@click.command()
@click.option("--base-model", default="direct_il_sft", show_default=True)
@click.option("--variant", default="direct", show_default=True)
@click.option("--steps", default=3, show_default=True, help="Rollout batches a turn.")
@click.option("--repetitions", default=2, show_default=True)
def main(base_model: str, variant: str, steps: int, repetitions: int) -> None:
    """Print seconds a rollout batch (its updates) of each, and the ratios."""
    home = Home.from_environment()
    how = GrpoSettings.load(
        recipe_path("training/il_grpo", f"{variant}-tiny"),
        {"variant": variant, "base_model": base_model, "steps": steps, "filter": False},
    )
    start = find_start(home, how)
    con = warehouse.connect(home, read_only=True)
    version = warehouse.current_snapshot(con)
    con.close()
    ready = prepare(home, version, start, how)
    tasks = ready.tasks.train
    order = plan(range(len(tasks)), steps=steps, prompts=how.prompts, seed=how.seed)
    taken: dict[str, list[float]] = {}
    with TemporaryDirectory() as folder:

        def make(kind, number):
            model, _, _ = load_base(start.base)
            set_fast_attention(model, bf16=False)
            more = {"tasks": tasks, "order": order, "scorer": ready.scorer, "how": how}
            if kind is not Ours:
                rows = [{"prompt": tasks[i].prompt, "row": i} for i in order]
                more = {
                    "train_dataset": Dataset.from_list(rows),
                    "reward_funcs": rewards_of(ready.scorer, tasks),
                }
            args = arguments(how, Path(folder) / f"{number}", bf16=False,
                             max_new_tokens=start.max_new_tokens)  # fmt: skip
            args.save_strategy = "no"
            args.epsilon = 0.2
            trainer = kind(model=model, args=args, processing_class=ready.tokenizer, **more)
            trainer.remove_callback(PrinterCallback)
            return trainer

        writer = make(Ours, "writer")
        batches, ours = write(writer, ListGrpoTrainer, tasks, order)
        writer.generation_config.cache_implementation = None
        _, theirs = write(writer, GRPOTrainer, tasks, order)
        click.echo(f"ours / trl, writing rollouts: {ours / theirs:.2f}")
        for b, completions in enumerate(batches):  # embeddings of new queries: known to all
            of = order[b * how.prompts : (b + 1) * how.prompts]
            ready.scorer.score([tasks[i] for i in of for _ in range(how.rollouts)], completions)
        kinds = {"ours": Ours, "trl": Trl, "trl, completions only": TrlAtCompletions}
        for repetition in range(repetitions):
            for name, kind in kinds.items():
                trainer = make(kind, f"{name}-{repetition}")
                trainer.batches = batches
                began = time.perf_counter()
                trainer.train()
                taken.setdefault(name, []).append((time.perf_counter() - began) / steps)
                click.echo(f"{name:<24}{taken[name][-1]:8.2f} s a rollout batch")
    for name in list(kinds)[1:]:
        ratios = [a / b for a, b in zip(taken["ours"], taken[name], strict=True)]
        middle, low, high = statistics.median(ratios), min(ratios), max(ratios)
        click.echo(f"ours / {name}: {middle:.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
