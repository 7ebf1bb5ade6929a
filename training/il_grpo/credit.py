"""Which tokens learn when one slot of a list is rewarded: an experiment whose truth is known.

A toy policy writes lists of four queries of three tokens, each followed by one token of no query:
one categorical distribution a position, uniform at the start. A query's reward is the share of its
tokens that are right. Where slot 2 alone is rewarded, nothing else has a reason to move. IL-GRPO
and canonical GRPO (the list's mean reward, one advantage for all its tokens) are given the same
number of rollouts; advantages and loss are those of this package. See docs/il_grpo.md.

    python -m training.il_grpo.credit --out docs/credit.svg
"""

from collections.abc import Callable
from pathlib import Path

import click
import torch

from aigq.spans import OTHER
from training.il_grpo.advantages import group_advantages, token_advantages
from training.il_grpo.loss import Bounds, token_loss
from training.plot import Panel, Series, svg

SLOTS, QUERY_LENGTH, VOCABULARY = 4, 3, 8
SPANS = torch.tensor([s for slot in range(SLOTS) for s in [*[slot] * QUERY_LENGTH, OTHER]])
LENGTH = len(SPANS)
TARGETS = torch.arange(LENGTH) % VOCABULARY  # the right token of every position
ROLLOUTS = 8
LEARNING_RATE = 8.0
GROUPS, SEEDS, UPDATES = 2000, 20, 120
ONE_SLOT, ALL_SLOTS = [2], list(range(SLOTS))
COLORS = {"IL-GRPO": "#4338ca", "canonical GRPO": "#ea580c"}

# Rewards of the group's queries, (G, SLOTS), to advantages of its tokens, (G, LENGTH).
Algorithm = Callable[[torch.Tensor], torch.Tensor]


def il_grpo(rewards: torch.Tensor) -> torch.Tensor:
    """Slot by slot (AIGQ eq. 11-13); all lists are alike well formed."""
    advantages = group_advantages(rewards, torch.ones(len(rewards)))
    return token_advantages(SPANS.expand(len(rewards), -1), advantages, balance=0.5)


def canonical_grpo(rewards: torch.Tensor) -> torch.Tensor:
    """The list as one slot that every token belongs to, with the mean reward of its queries."""
    advantages = group_advantages(rewards.mean(1, keepdim=True), torch.ones(len(rewards)))
    return token_advantages(torch.zeros(len(rewards), LENGTH).int(), advantages, balance=0.0)


ALGORITHMS = dict(zip(COLORS, (il_grpo, canonical_grpo), strict=True))


def group_gradient(
    logits: torch.Tensor, algorithm: Algorithm, rewarded: list[int], generator: torch.Generator
) -> torch.Tensor:
    """The loss's gradient by ``logits`` (LENGTH, VOCABULARY) after one group of rollouts.

    The queries of slots not ``rewarded`` have reward 1 whatever they say.
    """
    logits = logits.detach().requires_grad_()
    log_probs = logits.log_softmax(-1)
    drawn = torch.multinomial(log_probs.detach().exp(), ROLLOUTS, True, generator=generator)
    is_right = (drawn == TARGETS[:, None]).float().T
    rewards = torch.ones(ROLLOUTS, SLOTS)
    for slot in rewarded:
        rewards[:, slot] = is_right[:, slot == SPANS].mean(1)
    chosen = log_probs.gather(1, drawn).T
    nowhere = torch.zeros(ROLLOUTS, LENGTH, dtype=torch.bool)
    loss = token_loss(chosen, chosen.detach(), algorithm(rewards), nowhere, Bounds()).loss.mean()
    return torch.autograd.grad(loss, logits)[0]


def slot_norms(gradient: torch.Tensor) -> torch.Tensor:
    """(SLOTS + 1,): a gradient's norm at one token of each slot, and last of none (quadratic mean
    over the tokens)."""
    squares = gradient.square().sum(-1)
    return torch.stack([squares[span == SPANS].mean().sqrt() for span in [*range(SLOTS), OTHER]])


def learn(
    algorithm: Algorithm, rewarded: list[int], seed: int, updates: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(updates + 1,) each: how many of the rewarded slots' tokens are right, expected, from 0 to 1;
    and how far all others have drifted, as KL(now || start) in nats a token."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.zeros(LENGTH, VOCABULARY)
    is_rewarded = torch.isin(SPANS, torch.tensor(rewarded))
    right, drift = [], []
    for update in range(updates + 1):
        log_probs = logits.log_softmax(-1)
        probabilities = log_probs.exp()
        right.append(probabilities[is_rewarded, TARGETS[is_rewarded]].mean())
        divergence = (probabilities * log_probs).sum(-1) - torch.tensor(1 / VOCABULARY).log()
        drift.append(divergence[~is_rewarded].mean())
        if update < updates:
            logits -= LEARNING_RATE * group_gradient(logits, algorithm, rewarded, generator)
    return torch.stack(right), torch.stack(drift)


def gradients_of(algorithm: Algorithm, rewarded: list[int], groups: int) -> torch.Tensor:
    """(groups, LENGTH, VOCABULARY) at the start of learning."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.zeros(LENGTH, VOCABULARY)
    return torch.stack(
        [group_gradient(logits, algorithm, rewarded, generator) for _ in range(groups)]
    )


def banded(name: str, values: torch.Tensor) -> Series:
    """(N, X) to the mean over N with the band from the 10th to the 90th percentile."""
    low, high = values.quantile(torch.tensor([0.1, 0.9]), dim=0)
    mean, is_dashed = values.mean(0), name != "IL-GRPO"
    return Series(name, mean.tolist(), low.tolist(), high.tolist(), dashed=is_dashed)


def _last(series: Series) -> str:
    return f"{series.mean[-1]:.3f} [{series.low[-1]:.3f} {series.high[-1]:.3f}]"


def _outcome(series: Series) -> str:
    short = sum(value < 0.9 for value in series.mean) * ROLLOUTS
    return f"below 90% right for {short} rollouts, {_last(series)} in the end"


@click.command()
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="SVG.")
def main(out: Path) -> None:
    """Run the experiment, print its figures, draw it."""
    norms, right, drift, all_right = [], [], [], []
    for name, algorithm in ALGORITHMS.items():
        gradients = gradients_of(algorithm, ONE_SLOT, GROUPS)
        of_groups = torch.stack([slot_norms(g) for g in gradients])
        norms.append(banded(name, of_groups))
        one = [learn(algorithm, ONE_SLOT, seed, UPDATES) for seed in range(SEEDS)]
        right.append(banded(name, torch.stack([r for r, _ in one])))
        drift.append(banded(name, torch.stack([d for _, d in one])))
        every = [learn(algorithm, ALL_SLOTS, seed, UPDATES)[0] for seed in range(SEEDS)]
        all_right.append(banded(name, torch.stack(every)))

        click.echo(name)
        for label, found in (
            ("one group", of_groups.mean(0)),
            (f"mean of {GROUPS:,} groups", slot_norms(gradients.mean(0))),
        ):
            figures = " ".join(f"{value:.4f}" for value in found.tolist())
            click.echo(f"  gradient, {label}: {figures} (slots 0 to 3, other tokens)")
        click.echo(
            f"  slot 2 rewarded: {_outcome(right[-1])}; drift of the others {_last(drift[-1])}"
        )
        click.echo(f"  all slots rewarded: {_outcome(all_right[-1])}")

    rollouts = [ROLLOUTS * update for update in range(UPDATES + 1)]
    slots = [*map(str, range(SLOTS)), "none"]
    panels = [
        Panel("Slot 2 rewarded: gradient norm a token", "tokens of slot", slots, norms, 0.03),
        Panel("Slot 2 rewarded: its tokens right", "rollouts", rollouts, right, 1),
        Panel("Slot 2 rewarded: drift of the others, nats", "rollouts", rollouts, drift, 0.2),
        Panel("All slots rewarded: their tokens right", "rollouts", rollouts, all_right, 1),
    ]
    label = "Slot 2 alone is rewarded: IL-GRPO moves its tokens only, canonical GRPO all of them"
    out.write_text(svg(panels, COLORS, label), encoding="utf-8")
    click.echo(f"drew {out}")


if __name__ == "__main__":
    main()
