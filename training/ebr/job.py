"""``aigq train ebr``: embedding-based retrieval, the paper's EBR baseline.

    aigq train ebr                      # 2 CPU cores, minutes
    aigq generate lists --model ebr     # its lists for the test user-days

Two towers (``aigq.ebr``) learn which query a user searches next, from the searches of the training
days; those that a clicked hint started are among them. Negatives are the other queries of the
batch, with their sampling corrected (logQ). The index holds the queries searched on training days.
The context of an example ends at the search or, for ``day_start_share`` of them, where the day
begins, because that is when lists are made for test user-days.
"""

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from aigq import jobs, models
from aigq.settings import Settings, UserError
from training.command import train_command

if TYPE_CHECKING:
    from aigq.ebr import EbrNetwork
    from training.ebr.examples import Batches, Examples, Log

MODEL = "ebr"
_RECALL_AT = 30


class EbrSettings(Settings):
    """Settings of ``aigq train ebr``."""

    steps: int = Field(600, ge=1, description="Optimiser steps.")
    batch_examples: int = Field(512, ge=2, description="Searches of a step: mutual negatives.")
    learning_rate: float = Field(2e-3, gt=0, description="Peak learning rate of the towers.")
    features_learning_rate: float = Field(2e-2, gt=0, description="The same of the text features.")
    weight_decay: float = Field(0.01, ge=0, description="AdamW weight decay of the towers.")
    warmup_share: float = Field(0.05, ge=0, le=1, description="Share of steps that warm up.")
    day_start_share: float = Field(
        0.8, ge=0, le=1, description="Share of contexts without behaviours of the same day."
    )
    heldout_share: float = Field(0.02, ge=0, lt=1, description="Share of users held out.")
    width: int = Field(64, ge=4, description="Dimensions of the vectors, without the bias.")
    heads: int = Field(4, ge=1, description="Questions that a user's behaviours are pooled by.")
    hidden: int = Field(128, ge=4, description="Width of the user tower's hidden layer.")
    buckets: int = Field(1 << 16, ge=16, description="Hash buckets of text features.")
    max_behaviors: int = Field(50, ge=1, description="Newest behaviours of a context.")
    checkpoint_steps: int = Field(200, ge=1, description="Steps between checkpoints.")
    seed: int = Field(1, ge=0, description="Seed of weights and order.")


def train_ebr(run: jobs.Run, settings: EbrSettings, *, recipe: str) -> None:
    """Read the pinned log, train, build the index, measure both on held-out users, publish."""
    import torch

    from aigq import ebr
    from training.ebr.examples import Batches, make_examples, read_log
    from training.ebr.trainer import plan_batches, train
    from training.export import finish_published, publish
    from training.workspace import Snapshot, already_published, open_workspace, train_end

    with open_workspace(run, MODEL, {"settings": settings.model_dump()}) as work:
        if published := already_published(run.home, MODEL, work):
            return finish_published(run, work, published)
        with Snapshot(run.home, work.snapshot) as snapshot:
            log = read_log(snapshot)
            seen_until = train_end(snapshot)
        run.read(f"behavior.behaviors at snapshot {work.snapshot}", len(log.text))
        examples = make_examples(log)
        shape = ebr.EbrConfig.__dataclass_fields__
        config = ebr.EbrConfig(**{name: getattr(settings, name) for name in shape})
        torch.manual_seed(settings.seed)
        network = ebr.EbrNetwork(config)
        batches = Batches(log, examples, config)
        kept, heldout = split(log, examples, settings.heldout_share)
        plan = plan_batches(
            len(kept), batch=settings.batch_examples, steps=settings.steps, seed=settings.seed
        )
        metrics: dict[str, Any] = train(
            network, batches, examples, [kept[step] for step in plan], settings, work.path
        )
        vectors = ebr.query_vectors(network, examples.queries)
        index = ebr.build_index(vectors)
        metrics |= {
            "examples_train": len(kept),
            "examples_heldout": len(heldout),
            "queries": len(examples.queries),
            "parameters": sum(p.numel() for p in network.parameters()),
        }
        if len(heldout):
            retriever = ebr.Retriever(network, examples.queries, index)
            metrics |= measure(retriever, network, batches, examples, heldout, vectors)
        build = work.build_dir()
        ebr.save(network, examples.queries, index, build)
        publish(
            run,
            MODEL,
            work,
            build,
            {
                "kind": models.EBR,
                "precision": "fp32",
                "recipe": recipe,
                "settings": settings.model_dump(),
                "seed": settings.seed,
                "train_end_at": seen_until,
                "metrics": metrics,
            },
        )


command = train_command(
    "ebr",
    EbrSettings,
    train_ebr,
    about="Train the two-tower retrieval model and its index.",
)


def split(log: "Log", examples: "Examples", heldout_share: float) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the examples to train on and of those held out: users whole, by their hash.

    Raises :class:`UserError` where nothing is left to train on.
    """
    hashed = [int(hashlib.md5(u.encode()).hexdigest()[:8], 16) for u in log.users]
    is_heldout = np.array(hashed) < heldout_share * 16**8
    of_example = is_heldout[log.user[examples.event]]
    kept = np.flatnonzero(~of_example)
    if len(kept) < 2:
        raise UserError(
            f"{len(kept)} searches are left to train on ({int(of_example.sum())} are of held-out"
            " users): lower heldout_share"
        )
    return kept, np.flatnonzero(of_example)


def measure(
    retriever: Any,
    network: "EbrNetwork",
    batches: "Batches",
    examples: "Examples",
    heldout: np.ndarray,
    vectors: np.ndarray,
) -> dict[str, float]:
    """On held-out users at the start of a day: loss over the whole vocabulary (nats), share of
    searches among the best 30, and ANN recall: share of the exact best 30 that the index finds."""
    import torch

    from aigq.ebr import search_exactly

    heldout = heldout[:2000]
    with torch.inference_mode():
        users, texts = batches.users(heldout, np.ones(len(heldout), dtype=bool))
        found = network.users(users, network.texts(batches.bags(texts)))
        wanted = torch.from_numpy(examples.query[heldout])
        loss = torch.nn.functional.cross_entropy(found @ torch.from_numpy(vectors).T, wanted)
    exact = search_exactly(found.numpy(), vectors, _RECALL_AT)
    near = retriever.search(found.numpy(), _RECALL_AT)
    shared = [len(np.intersect1d(*pair)) for pair in zip(exact, near, strict=True)]
    return {
        "heldout_loss": float(loss),
        "heldout_hit_rate_30": float((exact == wanted.numpy()[:, None]).any(axis=1).mean()),
        "ann_recall_30": float(np.mean(shared) / exact.shape[1]),
    }
