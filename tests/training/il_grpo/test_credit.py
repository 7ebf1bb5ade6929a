"""The truth that the credit experiment is built around, and that its picture is drawn."""

import xml.etree.ElementTree as ET

import pytest
import torch
from click.testing import CliRunner

from training.il_grpo import credit
from training.il_grpo.credit import (
    ALL_SLOTS,
    ONE_SLOT,
    canonical_grpo,
    gradients_of,
    il_grpo,
    learn,
    slot_norms,
)


@pytest.mark.parametrize("slot", ALL_SLOTS)
def test_il_grpo_reaches_the_rewarded_slot_s_tokens_and_no_other(slot):
    gradients = gradients_of(il_grpo, [slot], 50)
    is_rewarded = slot == credit.SPANS
    assert not gradients[:, ~is_rewarded].any()
    # A group whose rewards are all alike teaches nothing; there are few.
    assert (gradients[:, is_rewarded].flatten(1).norm(dim=1) > 0).float().mean() > 0.9


def test_canonical_grpo_does_not_separate_them():
    """A group's gradient is about as long at tokens that were not rewarded; what points nowhere
    averages out over groups, and no step sees that average."""
    gradients = gradients_of(canonical_grpo, ONE_SLOT, 300)
    of_a_group = torch.stack([slot_norms(g) for g in gradients]).mean(0)
    others = torch.arange(len(of_a_group)) != ONE_SLOT[0]
    assert (of_a_group[others] > 0.8 * of_a_group[ONE_SLOT]).all()
    of_the_mean = slot_norms(gradients.mean(0))
    assert (of_the_mean[others] < 0.2 * of_the_mean[ONE_SLOT]).all()


def test_what_nobody_rewarded_drifts_under_canonical_grpo_only():
    for seed in range(3):
        right, drift = learn(il_grpo, ONE_SLOT, seed, 60)
        assert drift.abs().max() < 1e-6
        canonical_right, canonical_drift = learn(canonical_grpo, ONE_SLOT, seed, 60)
        assert canonical_drift[-1] > 0.03
        # Constant rewards of other slots cancel: of slot 2 both are told the same.
        assert right[0] == pytest.approx(1 / credit.VOCABULARY)
        assert right[-1] > 0.9
        torch.testing.assert_close(canonical_right, right, atol=0.1, rtol=0)


def test_where_all_slots_are_rewarded_slot_by_slot_learns_faster():
    for seed in range(3):
        ours = learn(il_grpo, ALL_SLOTS, seed, 40)[0]
        canonical = learn(canonical_grpo, ALL_SLOTS, seed, 40)[0]
        assert ours[-1] > canonical[-1] + 0.15


def test_figures_and_picture(tmp_path, monkeypatch):
    for name, value in {"GROUPS": 5, "SEEDS": 2, "UPDATES": 20}.items():
        monkeypatch.setattr(credit, name, value)
    out = tmp_path / "credit.svg"
    result = CliRunner().invoke(credit.main, ["--out", str(out)], catch_exceptions=False)
    assert "mean of 5 groups: 0.0000 0.0000" in result.output
    assert ET.parse(out).getroot().tag.endswith("svg")
