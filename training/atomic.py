"""Checkpoints that are there whole or not at all, for any trainer of transformers'."""

import json
import shutil
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback

from aigq.settings import UserError
from training import distributed


class AtomicCheckpoints:
    """Mixed into a trainer, before its class: a checkpoint is written aside and renamed, so that a
    kill leaves whole ones only; only the newest is kept, and one without numbers is refused.

    With it go the losses since the last point of the curve, which transformers forgets.
    """

    _checkpoints_at: str | None = None

    def _get_output_dir(self, trial: Any) -> str:
        return self._checkpoints_at or super()._get_output_dir(trial)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if not all(bool(p.isfinite().all()) for p in model.parameters() if p.requires_grad):
            raise diverged(self.state.global_step, "weights are no numbers")
        work = Path(self.args.output_dir)
        partial = work / ".partial"
        if distributed.rank() == 0:
            shutil.rmtree(partial, ignore_errors=True)
        distributed.barrier()
        self._checkpoints_at = str(partial)
        try:
            # Not TRL's, which also writes a page about the model.
            Trainer._save_checkpoint(self, model, trial)
            (written,) = partial.glob("checkpoint-*")
            so_far = [float(self._tr_loss), self._globalstep_last_logged]
            (written / _loss_file()).write_text(json.dumps(so_far))
        finally:
            self._checkpoints_at = None
        distributed.barrier()
        if distributed.rank() > 0:
            return
        older = checkpoints(work)
        written.rename(work / written.name)
        for path in older:
            shutil.rmtree(path)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        # A tied output layer is stored once, as the embeddings that it shares.
        tied = self.model.all_tied_weights_keys
        missing = [key for key in load_result.missing_keys if key not in tied]
        super()._issue_warnings_after_load(load_result._replace(missing_keys=missing))

    def restore_loss(self, checkpoint: Path) -> None:
        """Go on with the losses since the curve's last point."""
        files = sorted(checkpoint.glob("loss_*.json"))
        if len(files) == distributed.world_size():
            files = [checkpoint / _loss_file()]
        # Other processes than before: each takes what all had between them.
        so_far = [json.loads(file.read_text()) for file in files]
        self._tr_loss += sum(loss for loss, _ in so_far) / len(so_far)
        self._globalstep_last_logged = so_far[0][1]


class GoOn(TrainerCallback):
    """Restores what resuming has to, once the trainer has set itself up."""

    def __init__(self, trainer: AtomicCheckpoints, checkpoint: Path):
        self._trainer = trainer
        self._checkpoint = checkpoint

    def on_train_begin(self, args, state, control, **kwargs):
        self._trainer.restore_loss(self._checkpoint)


def checkpoints(work: Path) -> list[Path]:
    """The whole checkpoints in ``work``, oldest first."""
    return sorted(work.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))


def discard_partial(work: Path) -> None:
    """Remove what a killed run had begun to write."""
    for partial in work.glob(".partial"):
        shutil.rmtree(partial)


def diverged(step: int, sign: str) -> UserError:
    """The error of a training that has left all numbers behind."""
    return UserError(f"training diverged at step {step} ({sign}): lower learning_rate")


def _loss_file() -> str:
    return f"loss_{distributed.rank()}.json"
