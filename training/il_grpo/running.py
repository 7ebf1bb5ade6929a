"""A trainer made from what a job has read, and run to its end."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PrinterCallback
from trl import GRPOConfig

from training import distributed
from training.atomic import GoOn, checkpoints, discard_partial
from training.checkpoint import lora_config
from training.il_grpo.settings import GrpoSettings
from training.il_grpo.tasks import plan
from training.il_grpo.trainer import ListGrpoTrainer
from training.precision import set_fast_attention
from training.trainer import Progress

if TYPE_CHECKING:
    from training.il_grpo.job import Prepared

# What the manifest keeps of the log, beside training_log.json, which has all of it.
_CURVE = ("reward", "slots/0/reward", "entropy", "distinct_share", "malformed", "queries")


def make_trainer(
    ready: "Prepared", how: GrpoSettings, work: Path, *, max_new_tokens: int, bf16: bool
) -> ListGrpoTrainer:
    """A trainer whose batches hold every task once an epoch."""
    model = ready.model
    set_fast_attention(model, bf16=bf16)
    tasks = ready.tasks.train
    trainer = ListGrpoTrainer(
        model=model,
        tasks=tasks,
        order=plan(range(len(tasks)), steps=how.steps, prompts=how.prompts, seed=how.seed),
        scorer=ready.scorer,
        how=how,
        args=arguments(how, work, max_new_tokens=max_new_tokens, bf16=bf16),
        processing_class=ready.tokenizer,
        callbacks=[Progress(f"train grpo {how.model_name}", shown=distributed.rank() == 0)],
        peft_config=lora_config(how, model, []),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def resume_step(work: Path) -> int:
    """The optimiser step of the newest checkpoint in ``work``, 0 without one."""
    done = distributed.share(checkpoints(work))
    return int(done[-1].name.split("-")[1]) if done else 0


def run_trainer(trainer: ListGrpoTrainer, work: Path) -> dict[str, Any]:
    """Train, from the newest checkpoint in ``work`` on; steps, rollouts and the curve.

    With the same inputs a killed and resumed run ends like an uninterrupted one, on the same kind
    of machine with the same number of threads.
    """
    if distributed.rank() == 0:
        discard_partial(work)
    done = distributed.share(checkpoints(work))
    if done:
        trainer.add_callback(GoOn(trainer, done[-1]))
    trainer.scorer.forget()
    trainer.train(resume_from_checkpoint=str(done[-1]) if done else None)
    history = [entry for entry in trainer.state.log_history if "reward" in entry]
    how = trainer.how
    return {
        "steps": how.steps,
        "rollouts": how.steps * how.prompts * how.rollouts,
        "processes": distributed.world_size(),
        "curve": {
            "step": [entry["step"] // how.updates for entry in history],
            **{name: [entry.get(name) for entry in history] for name in _CURVE},
        },
    }


def arguments(how: GrpoSettings, work: Path, *, max_new_tokens: int, bf16: bool) -> GRPOConfig:
    """TRL's settings for ours."""
    micro_batch = how.prompts * how.rollouts // (distributed.world_size() * how.accumulation_steps)
    found = GRPOConfig(
        output_dir=str(work),
        max_steps=how.steps * how.updates,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=how.accumulation_steps,
        num_iterations=how.updates,
        num_generations=how.rollouts,
        max_completion_length=max_new_tokens,
        temperature=how.temperature,
        top_k=how.top_k,
        # A cache that grows is copied with every token. Under autocast keys and values are of two
        # precisions, of which a static one has one.
        cache_implementation=None if bf16 else "static",
        use_vllm=how.engine.startswith("vllm"),
        vllm_mode=how.engine.removeprefix("vllm_") if how.engine != "transformers" else "colocate",
        vllm_server_base_url=how.server if how.engine == "vllm_server" else None,
        vllm_gpu_memory_utilization=how.vllm_memory,
        vllm_importance_sampling_correction=False,
        loss_type=how.loss,
        beta=how.kl_weight,
        shuffle_dataset=False,
        learning_rate=how.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=round(how.warmup_share * how.steps * how.updates),
        weight_decay=how.weight_decay,
        max_grad_norm=1.0,
        bf16=bf16,
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=how.gradient_checkpointing,
        save_strategy="steps",
        save_steps=how.checkpoint_steps * how.updates,
        logging_steps=how.updates,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        seed=how.seed,
        data_seed=how.seed,
    )
    # transformers would spread a process over all GPUs by DataParallel, which cuts groups apart.
    found._n_gpu = min(found.n_gpu, 1)
    return found
