"""Where a shop's data lives, and how a job's settings are put together.

A job's settings are one pydantic class derived from :class:`Settings`. Values come from the command
line, else from the recipe (one YAML file per proven run in the job's folder), else the default. An
unknown key is an error that names the nearest valid one.
"""

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_origin

import click
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

PROJECT_ROOT = Path(__file__).resolve().parent.parent


class UserError(click.ClickException):
    """A mistake of the user's: printed as one message, without a traceback."""


@dataclass(frozen=True)
class Home:
    """The data home of one shop: ``AIGQ_HOME``, by default ``data`` in the checkout.

    A relative ``AIGQ_HOME`` counts from the current folder. The default does not: in a subfolder it
    would be a second, empty shop.
    """

    root: Path

    @classmethod
    def from_environment(cls) -> Self:
        return cls(Path(os.environ.get("AIGQ_HOME") or PROJECT_ROOT / "data").absolute())

    @cached_property
    def landing(self) -> Path:
        """Incoming files of the raw contract."""
        return self.root / "landing"

    @cached_property
    def catalog(self) -> Path:
        """The DuckLake catalog (SQLite)."""
        return self.root / "lake" / "catalog.sqlite"

    @cached_property
    def lake_data(self) -> Path:
        """The DuckLake's parquet files."""
        return self.root / "lake" / "data"

    @cached_property
    def features(self) -> Path:
        """Parquet files that are Feast's offline side."""
        return self.root / "features"

    @cached_property
    def online(self) -> Path:
        """Feast's registry and online store."""
        return self.root / "online"

    @cached_property
    def models(self) -> Path:
        """``models/<name>/<version>/``."""
        return self.root / "models"

    @cached_property
    def reports(self) -> Path:
        """Reports for people and machines."""
        return self.root / "reports"

    @cached_property
    def cache(self) -> Path:
        """What is only kept to save time: it may be removed whenever no job runs."""
        return self.root / "cache"


class Settings(BaseModel):
    """Base of every job's settings: typed, closed (unknown keys are errors), immutable."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False
    )

    @classmethod
    def load(cls, recipe: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Self:
        """Settings from a recipe file with ``overrides`` (those not None) on top.

        Raises :class:`UserError` naming the recipe or option, the key and what was expected.
        """
        values: dict[str, Any] = {}
        if recipe is not None:
            try:
                values = yaml.safe_load(recipe.read_text(encoding="utf-8")) or {}
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                raise UserError(f"{recipe}: not valid YAML: {error}") from None
            if not isinstance(values, dict):
                raise UserError(f"{recipe}: expected a mapping of settings, got {values!r}")
            for key in values:
                if key not in cls.model_fields:
                    raise UserError(f"{recipe}: unknown setting {key!r}{_nearest(str(key), cls)}")
        given = {k: v for k, v in (overrides or {}).items() if v is not None}
        # What a recipe sets can be unset: --muon-learning-rate none.
        given = {k: None if v == "none" else v for k, v in given.items()}
        values |= given
        try:
            return cls(**values)
        except ValidationError as error:
            problems = []
            for e in error.errors():
                key = ".".join(map(str, e["loc"]))
                from_option = key in given and key in cls.model_fields
                if not key:  # settings that do not fit together
                    with_options = f" with {', '.join(map(_option, given))}" if given else ""
                    said = e["msg"].removeprefix("Value error, ")
                    problems.append(f"{recipe or 'settings'}{with_options}: {said}")
                    continue
                place = _option(key) if from_option else f"{recipe or 'settings'}: {key}"
                problems.append(f"{place}: {e['msg']} (got {e['input']!r})")
            raise UserError("; ".join(problems)) from None


def _option(field: str) -> str:
    return "--" + field.replace("_", "-")


def _nearest(key: str, cls: type[Settings]) -> str:
    near = difflib.get_close_matches(key, cls.model_fields, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; valid settings: {', '.join(cls.model_fields)}"


def recipe_path(package: str, name: str) -> Path:
    """The recipe ``name`` of the job in ``package`` (e.g. ``training/base``), or a path to a file.

    Raises :class:`UserError` listing the recipes there are.
    """
    as_file = Path(name)
    if as_file.suffix in {".yaml", ".yml"}:
        if as_file.is_file():
            return as_file
        raise UserError(f"no recipe file at {as_file}")
    folder = PROJECT_ROOT / package / "recipes"
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml"))) or "none"
        raise UserError(f"no recipe {name!r} in {package}/recipes; there are: {known}")
    return path


def settings_options(cls: type[Settings], *, recipes: bool = True):
    """A click decorator that adds one ``--option`` per field of ``cls`` (None where not given); of
    a yes or no ``--option`` and ``--no-option``. ``recipes``: a recipe may say otherwise than the
    defaults that are shown."""

    def decorate(command):
        for name, field in reversed(cls.model_fields.items()):
            flag = _option(name)
            help = [field.description or ""]
            if get_origin(field.annotation) is Literal:
                help.append(f"One of {', '.join(map(str, get_args(field.annotation)))}.")
            if field.is_required():
                help.append("[required]")
            elif "[default: " not in help[0] and field.get_default() is not None:
                else_the_recipe = ", unless the recipe says otherwise" if recipes else ""
                help.append(f"[default: {field.get_default()}{else_the_recipe}]")
            is_flag = field.annotation is bool
            command = click.option(
                f"{flag}/--no-{flag[2:]}" if is_flag else flag,
                name,
                default=None,
                metavar=None if is_flag else "VALUE",
                help=" ".join(help),
            )(command)
        return command

    return decorate
