"""Train on rollouts that are known beforehand, in as many processes as there are:

    accelerate launch --multi_gpu --num_processes 2 rehearsed.py FOLDER

FOLDER holds a model with its tokenizer and ``given.pickle``: settings, tasks, the rollouts of each
task, the batches, and the CTR model. Writes ``log-PROCESSES.json`` and the gradients of every
update, ``gradients-PROCESSES.pt``.
"""

import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from aigq.spans import TokenBytes
from training import distributed
from training.il_grpo.running import arguments
from training.il_grpo.scoring import Scorer
from training.il_grpo.trainer import ListGrpoTrainer


class Likeness:
    """A CTR model that clicks on long queries."""

    def score(self, contexts, queries):
        return [[len(query) / 100 for query in of] for of in queries]

    def forget(self):
        """Nothing is kept."""


class Rehearsed(ListGrpoTrainer):
    """Its rollouts are given: those of each prompt (its token ids) in turn. ``says``: prompts and
    completions to the log-probs that the sampler says, as vLLM does and transformers does not."""

    rollouts: dict[tuple[int, ...], list[list[int]]]
    says: Callable[..., list[list[float]]] | None = None

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations):
        places: dict[tuple[int, ...], int] = {}
        found = []
        for prompt in map(tuple, prompt_ids):
            place = places[prompt] = places.get(prompt, -1) + 1
            found.append(self.rollouts[prompt][place % len(self.rollouts[prompt])])
        return found, self.says and self.says(prompt_ids, found)


class Gradients(TrainerCallback):
    def __init__(self):
        self.found: list[dict[str, torch.Tensor]] = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.found.append(
            {name.removeprefix("module."): p.grad.clone() for name, p in model.named_parameters()}
        )


def main(folder: Path) -> None:
    given = pickle.loads((folder / "given.pickle").read_bytes())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    processes = distributed.world_size()
    gradients = Gradients()
    how = given["settings"]
    trainer = Rehearsed(
        model=AutoModelForCausalLM.from_pretrained(folder),
        tasks=given["tasks"],
        order=given["order"],
        scorer=Scorer(Likeness(), TokenBytes(tokenizer), how),
        how=how,
        args=arguments(how, folder / f"work-{processes}", max_new_tokens=12, bf16=False),
        processing_class=tokenizer,
        callbacks=[gradients],
    )
    trainer.rollouts = given["rollouts"]
    trainer.train()
    if distributed.rank() == 0:
        (folder / f"log-{processes}.json").write_text(json.dumps(trainer.state.log_history))
        torch.save(gradients.found, folder / f"gradients-{processes}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
