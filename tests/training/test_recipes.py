"""Every checked-in recipe loads, and a mistyped key is told."""

import pytest

from aigq.settings import PROJECT_ROOT, UserError, recipe_path
from training.base.job import BaseSettings
from training.ctr.job import CtrSettings
from training.il_sft.job import SftSettings

CLASSES = {
    "training/base": BaseSettings,
    "training/ctr": CtrSettings,
    "training/il_sft": SftSettings,
}
RECIPES = [
    (package, path.stem)
    for package in CLASSES
    for path in sorted((PROJECT_ROOT / package / "recipes").glob("*.yaml"))
]


@pytest.mark.parametrize("package, name", RECIPES)
def test_recipe_loads(package, name):
    CLASSES[package].load(recipe_path(package, name))


def test_there_are_recipes():
    assert {name for _, name in RECIPES} >= {"tiny", "direct-tiny", "direct-lora"}


def test_mistyped_key(tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("learning_rat: 1\n")
    with pytest.raises(UserError, match="did you mean 'learning_rate'"):
        SftSettings.load(recipe_path("training/il_sft", str(recipe)))
