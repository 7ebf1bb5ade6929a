"""Muon for the weight matrices, AdamW for the rest, as one optimizer that checkpoints whole.

A model trained from scratch learns to copy from its context several times sooner with Muon (Jordan
et al., 2024: orthogonalised momentum) than with AdamW; see training/LOG.md.
"""

from collections.abc import Iterable
from typing import Any

import torch

from training.muon import Muon


class MuonAdamW(torch.optim.Optimizer):
    """Muon on the 2-D weights inside the layers, AdamW on embeddings, head and vectors.

    ``parameters``: the trainable ones. ``embeddings``: input and output tables, which AdamW keeps
    although they are matrices: a row is a token of its own, not a direction of a map. Weight decay
    spares vectors (norms, biases).
    """

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        embeddings: Iterable[torch.nn.Parameter],
        *,
        muon_learning_rate: float,
        learning_rate: float,
        weight_decay: float,
        betas: tuple[float, float],
    ):
        tables = {id(table) for table in embeddings}
        matrices, rows, vectors = [], [], []
        for parameter in parameters:
            if parameter.ndim != 2:
                vectors.append(parameter)
            elif id(parameter) in tables:
                rows.append(parameter)
            else:
                matrices.append(parameter)
        self._muon = Muon(matrices, lr=muon_learning_rate, weight_decay=weight_decay)
        self._adamw = torch.optim.AdamW(
            [{"params": rows}, {"params": vectors, "weight_decay": 0.0}],
            lr=learning_rate,
            weight_decay=weight_decay,
            betas=betas,
        )
        super().__init__([{"params": [*matrices, *rows, *vectors]}], {})
        self._link()

    def _link(self) -> None:
        # One list of the very same groups: a scheduler that sets a group's rate sets it for both.
        self.param_groups = [*self._muon.param_groups, *self._adamw.param_groups]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """One update of all parameters. ``closure`` is not supported (nobody passes one)."""
        self._muon.step()
        self._adamw.step()

    def state_dict(self) -> dict[str, Any]:
        """The states of both."""
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._muon.load_state_dict(state_dict["muon"])
        self._adamw.load_state_dict(state_dict["adamw"])
        self._link()
