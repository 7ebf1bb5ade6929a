from itertools import pairwise

import pytest
import yaml

from aigq.settings import UserError, recipe_path
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


def test_the_default_preset_is_the_defaults_all_of_them_each_with_a_comment():
    path = recipe_path("aigq/simulator", "default")
    written = yaml.safe_load(path.read_text())
    assert list(written) == list(ShopSettings.model_fields)
    assert ShopSettings.load(path) == ShopSettings()
    lines = path.read_text().splitlines()
    uncommented = [
        line
        for before, line in pairwise(lines)
        if line and line[0] != "#" and not before.startswith("# ")
    ]
    assert uncommented == []


@pytest.mark.parametrize("name", ["low_loyalty", "high_loyalty", "paper"])
def test_presets_load_and_repeat_no_default(name):
    path = recipe_path("aigq/simulator", name)
    settings = ShopSettings.load(path)
    for key in yaml.safe_load(path.read_text()):
        assert getattr(settings, key) != getattr(ShopSettings(), key), key


def test_loyalty_goes_with_the_names():
    low, high = (
        ShopSettings.load(recipe_path("aigq/simulator", name))
        for name in ("low_loyalty", "high_loyalty")
    )
    normal = ShopSettings()
    for rising in ("repeat_share", "lasting_share", "sessions_per_day", "passing_half_life_days"):
        assert getattr(low, rising) < getattr(normal, rising) < getattr(high, rising), rising
    for falling in ("new_user_share", "exploratory_share", "new_interest_rate"):
        assert getattr(low, falling) > getattr(normal, falling) > getattr(high, falling), falling


def test_a_mistyped_parameter_is_told(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("repeat_shares: 0.1\n")
    with pytest.raises(UserError, match="did you mean 'repeat_share'"):
        ShopSettings.load(recipe_path("aigq/simulator", str(mine)))
