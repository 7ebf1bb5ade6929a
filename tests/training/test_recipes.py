"""Every checked-in recipe loads, and a mistyped key is told."""

import pytest

from aigq.settings import PROJECT_ROOT, UserError, recipe_path
from training.base.job import BaseSettings
from training.ctr.job import CtrSettings
from training.ebr.job import EbrSettings
from training.il_grpo.settings import GrpoSettings
from training.il_sft.job import SftSettings
from training.item_text.job import ItemTextSettings

CLASSES = {
    "training/base": BaseSettings,
    "training/ctr": CtrSettings,
    "training/ebr": EbrSettings,
    "training/il_grpo": GrpoSettings,
    "training/il_sft": SftSettings,
    "training/item_text": ItemTextSettings,
}
RECIPES = [
    (package, path.stem)
    for package in CLASSES
    for path in sorted((PROJECT_ROOT / package / "recipes").glob("*.yaml"))
]


@pytest.mark.parametrize("package, name", RECIPES)
def test_recipe_loads(package, name):
    CLASSES[package].load(recipe_path(package, name))


def test_a_base_model_is_what_its_recipe_publishes():
    from training.base.job import recipe_of

    for name in ("base", "base_small"):
        path = recipe_path("training/base", recipe_of(name))
        assert BaseSettings.load(path).name == name
    recipes = [name for package, name in RECIPES if package == "training/il_sft"]
    needed = {SftSettings.load(recipe_path("training/il_sft", name)).base_model for name in recipes}
    assert all("/" in name or recipe_of(name) for name in needed)


def test_there_are_recipes():
    assert {name for _, name in RECIPES} >= {
        *("tiny", "small", "direct-tiny", "think-tiny", "direct-small", "think-small"),
        *("direct-lora", "qwen3-0.6b", "qwen3-30b-a3b"),
    }


def test_mistyped_key(tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("learning_rat: 1\n")
    with pytest.raises(UserError, match="did you mean 'learning_rate'"):
        SftSettings.load(recipe_path("training/il_sft", str(recipe)))
