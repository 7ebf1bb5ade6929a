"""Settings: command line over recipe over default, and what a mistake is told."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from pydantic import Field

from aigq.settings import PROJECT_ROOT, Home, Settings, UserError, recipe_path, settings_options


class Tiny(Settings):
    batch_size: int = Field(8, ge=1, description="Samples a step.")
    learning_rate: float = Field(1e-3, description="Peak.")
    name: str


@pytest.fixture
def recipe(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "tiny.yaml"
        path.write_text(text)
        return path

    return write


def test_command_line_over_recipe_over_default(recipe):
    path = recipe("batch_size: 16\nname: a\n")
    assert Tiny.load(path, {"name": "b", "learning_rate": None}) == Tiny(
        batch_size=16, learning_rate=1e-3, name="b"
    )
    assert Tiny.load(None, {"name": "c"}).batch_size == 8
    # What a command line gives is text.
    assert Tiny.load(path, {"batch_size": "32"}).batch_size == 32


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batchsize: 3\nname: a", "unknown setting 'batchsize'; did you mean 'batch_size'"),
        ("zzz: 3\nname: a", "unknown setting 'zzz'; valid settings: batch_size, learning_rate"),
        ("1: 3\nname: a", "unknown setting 1; valid settings"),
        ("batch_size: many\nname: a", "batch_size: .*integer.*got 'many'"),
        ("batch_size: 0\nname: a", "batch_size: .*greater than or equal to 1"),
        ("batch_size: 3", "name: Field required"),
        ("- 1", "expected a mapping of settings"),
        ("a: [", "tiny.yaml: not valid YAML"),
    ],
)
def test_a_broken_recipe_names_file_key_and_what_was_expected(recipe, text, message):
    with pytest.raises(UserError, match=message) as error:
        Tiny.load(recipe(text))
    assert "tiny.yaml" in error.value.message


def test_a_bad_option_is_named_and_not_the_recipe(recipe):
    path = recipe("learning_rate: fast\nname: a")
    with pytest.raises(UserError) as error:
        Tiny.load(path, {"batch_size": "abc", "learning_rate": None})
    option, of_recipe = error.value.message.split("; ")
    assert option.startswith("--batch-size: ") and "got 'abc'" in option
    assert of_recipe.startswith(f"{path}: learning_rate: ")


def test_an_unknown_override_is_an_error_too():
    with pytest.raises(UserError, match="batch_sizes"):
        Tiny.load(None, {"name": "a", "batch_sizes": 3})


def test_settings_do_not_change():
    with pytest.raises(ValueError, match="frozen"):
        Tiny(name="a").name = "b"


def test_options_are_the_fields():
    @click.command()
    @settings_options(Tiny)
    def command(**given):
        click.echo(repr(given))

    result = CliRunner().invoke(command, ["--batch-size", "4"])
    assert result.output == "{'batch_size': '4', 'learning_rate': None, 'name': None}\n"
    text = " ".join(CliRunner().invoke(command, ["--help"]).output.split())
    assert "Samples a step. [default: 8, unless the recipe says otherwise]" in text
    assert "[required]" in text


def test_recipe_path(tmp_path, monkeypatch):
    monkeypatch.setattr("aigq.settings.PROJECT_ROOT", tmp_path)
    folder = tmp_path / "training" / "toy" / "recipes"
    folder.mkdir(parents=True)
    (folder / "tiny.yaml").write_text("name: a")
    assert recipe_path("training/toy", "tiny") == folder / "tiny.yaml"
    assert recipe_path("training/toy", str(folder / "tiny.yaml")) == folder / "tiny.yaml"
    with pytest.raises(
        UserError, match="no recipe 'huge' in training/toy/recipes; there are: tiny"
    ):
        recipe_path("training/toy", "huge")
    with pytest.raises(UserError, match=r"no recipe file at other\.yaml"):
        recipe_path("training/toy", "other.yaml")


def test_home_is_the_environments_or_data_of_the_checkout(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIGQ_HOME", "")
    assert Home.from_environment().root == PROJECT_ROOT / "data"
    monkeypatch.setenv("AIGQ_HOME", "elsewhere")
    assert Home.from_environment().catalog == tmp_path / "elsewhere" / "lake" / "catalog.sqlite"
