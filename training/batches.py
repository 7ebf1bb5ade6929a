"""Which examples make up which step: length-grouped batches under a token budget, seeded."""

from collections.abc import Sequence

import numpy as np

# Examples of one window are sorted by length before they are cut into batches: wide enough that a
# batch is hardly padded, narrow enough that an epoch's order stays random.
_WINDOW_BATCHES = 32


def plan_batches(
    lengths: Sequence[int], *, batch_tokens: int, steps: int, max_epochs: float, seed: int
) -> list[list[int]]:
    """The batches of a whole run, as indices into ``lengths`` (tokens per example).

    A batch holds at most ``batch_tokens`` tokens, padding counted; a longer example is a batch of
    its own. Every epoch visits each example once, in an order of its own. At most ``steps``
    batches, and no more than ``max_epochs`` epochs. The same arguments give the same plan, which is
    what lets an interrupted run continue where it stopped.
    """
    if not len(lengths):
        raise ValueError("no examples to make batches of")
    sizes = np.asarray(lengths)
    plan: list[list[int]] = []
    epoch = 0
    while len(plan) < steps and epoch < max_epochs:
        rng = np.random.default_rng([seed, epoch])
        batches = _epoch(sizes, batch_tokens, rng)
        plan += batches[: max(1, round(len(batches) * min(1.0, max_epochs - epoch)))]
        epoch += 1
    return plan[:steps]


def _epoch(sizes: np.ndarray, batch_tokens: int, rng: np.random.Generator) -> list[list[int]]:
    order = rng.permutation(len(sizes))
    window = max(1, round(_WINDOW_BATCHES * batch_tokens / max(1.0, float(sizes.mean()))))
    batches: list[list[int]] = []
    for start in range(0, len(order), window):
        part = order[start : start + window]
        part = part[np.argsort(sizes[part], kind="stable")]
        batch: list[int] = []
        for index in part:
            # Ascending order: the newcomer is the longest, so it sets the padded width.
            if batch and (len(batch) + 1) * sizes[index] > batch_tokens:
                batches.append(batch)
                batch = []
            batch.append(int(index))
        batches.append(batch)
    return [batches[i] for i in rng.permutation(len(batches))]
