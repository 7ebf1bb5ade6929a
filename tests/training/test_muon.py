"""Our Muon against torch's."""

import pytest
import torch

from training import muon
from training.muon import Muon, orthogonal

SHAPES = [(8, 8), (8, 8), (12, 5), (5, 12), (12, 5)]


@pytest.mark.parametrize("nesterov", [True, False])
def test_the_updates_are_those_of_torch(monkeypatch, nesterov):
    """torch iterates in bf16; so do ours here, and differ in the order of sums only, which bf16
    rounds to three digits: of four updates of at most 0.08 each, 0.004 in all."""
    monkeypatch.setattr(muon, "bf16_is_fast", lambda: True)
    torch.manual_seed(1)
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    settings = {"lr": 0.05, "weight_decay": 0.1, "nesterov": nesterov}
    one, other = Muon(ours, **settings), torch.optim.Muon(theirs, **settings)
    for _ in range(4):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn(p.shape)
            q.grad = p.grad.clone()
        one.step()
        other.step()
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=0.004)
    assert one.state_dict()["param_groups"] == other.state_dict()["param_groups"]


def test_parameters_without_a_gradient_stay():
    still, moving = (torch.nn.Parameter(torch.ones(3, 3)) for _ in range(2))
    moving.grad = torch.randn(3, 3)
    Muon([still, moving], lr=0.1).step()
    assert (still == 1).all()
    assert (moving != 1).all()


@pytest.mark.parametrize("is_fast", [True, False])
def test_singular_values_come_near_one(monkeypatch, is_fast):
    """Whatever they were: 0.68 to 1.13 is where five steps with these coefficients leave them."""
    monkeypatch.setattr(muon, "bf16_is_fast", lambda: is_fast)
    torch.manual_seed(2)
    for shape in [(2, 6, 6), (3, 4, 9), (2, 9, 4)]:
        found = orthogonal(torch.randn(shape), (3.4445, -4.7750, 2.0315), steps=5, eps=1e-7)
        assert found.dtype == (torch.bfloat16 if is_fast else torch.float32)
        values = torch.linalg.svdvals(found.float())
        assert values.min() > 0.5
        assert values.max() < 1.3
