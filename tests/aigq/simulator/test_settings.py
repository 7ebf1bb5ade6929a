import pytest

from aigq.settings import UserError
from aigq.simulator.settings import ShopSettings


def test_every_parameter_is_documented():
    undocumented = [k for k, f in ShopSettings.model_fields.items() if not f.description]
    assert undocumented == []


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"users": 0}, "users"),
        ({"days": "many"}, "days"),
        ({"repeat_share": 0.7, "exploratory_share": 0.4}, "exploratory_share"),
        ({"pattern_shares": (0, 0, 0, 0, 0)}, "pattern_shares"),
        ({"typo_share": 1.2}, "--typo-share"),
    ],
)
def test_impossible_shops_are_refused_by_name(wrong, named):
    with pytest.raises(UserError, match=named):
        ShopSettings.load(overrides=wrong)
