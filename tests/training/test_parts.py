"""A step is the same step, however it is shared out and laid out."""

import pytest
import torch

from training.parts import MASKED, PAD_TO, Example, Parts, collator, planned_tokens, target_loss

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def tokenizer():
    from training.base.tokenizer import train_tokenizer

    return train_tokenizer(["red shoes", "blue lamp"] * 5, vocab_size=400, max_behaviors=5)


@pytest.fixture(scope="module")
def model(tokenizer):
    from training.base.job import BaseSettings, new_model

    settings = BaseSettings(hidden_size=16, layers=2, heads=2, head_dim=8, intermediate_size=32)
    return new_model(settings, tokenizer).train()


def make_examples(count: int) -> list[Example]:
    generator = torch.Generator().manual_seed(0)
    examples = []
    for number in range(count):
        size = int(torch.randint(6, 70, (1,), generator=generator))
        ids = torch.randint(80, 300, (size,), generator=generator).tolist()
        examples.append(Example(ids, 0 if number % 5 == 0 else size // 2))
    return sorted(examples, key=lambda e: len(e.input_ids))


def reference(model, examples) -> torch.Tensor:
    """One sequence at a time, without padding, by transformers' own loss."""
    total = 0.0
    for example in examples:
        ids, labels = torch.tensor([example.input_ids]), torch.tensor([example.labels])
        total = total + model(ids, labels=labels).loss * example.target_tokens
    return total / sum(e.target_tokens for e in examples)


def gradient(model, loss) -> torch.Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize(("accumulation", "world"), [(1, 1), (8, 1), (1, 2), (3, 2), (8, 4)])
def test_parts_add_up_to_the_step(model, tokenizer, accumulation, world, packed):
    # Eight examples: with 8 x 4 parts most parts are empty.
    examples = make_examples(20)
    plan = [list(range(8)), [19], [5, 9, 12]]
    collate = collator(tokenizer, packed=packed)
    shares = [
        Parts(examples, plan, collate, accumulation=accumulation, rank=rank, world=world)
        for rank in range(world)
    ]
    for step, batch in enumerate(plan):
        expected = reference(model, [examples[i] for i in batch])
        total = 0.0
        for share in shares:
            assert len(share) == 3 * accumulation
            for part in range(accumulation):
                inputs = share[step * accumulation + part]
                assert inputs["input_ids"].shape[1] % PAD_TO == 0
                total = total + target_loss(model, inputs) / inputs["step_tokens"]
        torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(
            gradient(model, total), gradient(model, expected), rtol=1e-3, atol=1e-6
        )


def test_every_example_is_in_one_part_of_its_step(tokenizer):
    examples = make_examples(7)
    found = []
    for rank in range(2):
        parts = Parts(examples, [list(range(7))], collator(tokenizer), accumulation=2, rank=rank,
                      world=2)  # fmt: skip
        for part in range(2):
            for ids, labels in zip(parts[part]["input_ids"], parts[part]["labels"], strict=True):
                found.append(
                    (ids[ids != tokenizer.pad_token_id].tolist(), (labels != MASKED).any())
                )
    assert sorted(ids for ids, _ in found) == sorted(e.input_ids for e in examples)
    assert all(has_target for _, has_target in found)


def test_nothing_to_predict_is_zero_with_a_gradient(model, tokenizer):
    for rows in (1, 3):
        for packed in (False, True):
            ids = list(range(90, 100))
            inputs = collator(tokenizer, packed=packed)(
                [{"input_ids": ids, "labels": [MASKED] * 10}] * rows
            )
            loss = target_loss(model, inputs)
            assert float(loss) == 0
            assert not gradient(model, loss).any()


def test_a_packed_sequence_does_not_see_its_neighbours(model, tokenizer):
    one, other = make_examples(20)[3], make_examples(20)[17]
    alone = target_loss(model, collator(tokenizer, packed=True)(rows(one)))
    first = target_loss(model, collator(tokenizer, packed=True)(rows(one, masked(other))))
    second = target_loss(model, collator(tokenizer, packed=True)(rows(masked(other), one)))
    torch.testing.assert_close(first, alone)
    torch.testing.assert_close(second, alone)


def rows(*examples):
    return [{"input_ids": e.input_ids, "labels": e.labels} for e in examples]


def masked(example):
    return Example(example.input_ids, len(example.input_ids))


@pytest.mark.parametrize(
    ("layout", "computed"),
    [
        ({"packed": False, "world": 1}, 2 * 32 + 2 * 64),
        ({"packed": True, "world": 1}, 32 + 96),
        ({"packed": False, "world": 2}, 32 + 32 + 32 + 64),
    ],
)
def test_tokens_and_padding_by_hand(layout, computed):
    examples = [Example([1] * size, start) for size, start in ((10, 4), (12, 0), (64, 2))]
    counted = planned_tokens(examples, [[0, 1], [0, 2]], accumulation=1, **layout)
    assert counted == {
        "target_tokens": 6 + 11 + 6 + 62,
        "tokens": 96,
        "padding_share": round(1 - 96 / computed, 4),
    }
