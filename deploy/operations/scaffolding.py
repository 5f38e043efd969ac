"""`headwater actions new`: a package with one action of one's own, and its test."""

import keyword
from pathlib import Path


class ScaffoldError(ValueError):
    """The package cannot be made. The message says why."""


def scaffold(name: str, folder: Path) -> list[Path]:
    """Write the package into a folder of the action's name; its files. Raises ScaffoldError."""
    module = name.replace("-", "_")
    if not module.isidentifier() or keyword.iskeyword(module) or name != name.lower():
        raise ScaffoldError(f"{name!r}: lower-case letters, digits and dashes, a letter first")
    root = folder / name
    if root.exists():
        raise ScaffoldError(f"{root} is there already")
    title = "".join(part.capitalize() for part in module.split("_"))
    files = {
        root / "pyproject.toml": _PROJECT.format(name=name, module=module, title=title),
        root / f"headwater_{module}.py": _ACTION.format(name=name, title=title),
        root / f"test_{module}.py": _TEST.format(name=name, module=module, title=title),
    }
    root.mkdir(parents=True)
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return list(files)


_PROJECT = """\
[build-system]
requires = ["setuptools>=80"]
build-backend = "setuptools.build_meta"

[project]
name = "headwater-{name}"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["headwater"]

[project.entry-points."headwater.actions"]
{name} = "headwater_{module}:{title}"

[tool.setuptools]
py-modules = ["headwater_{module}"]
"""

_ACTION = '''\
"""The action {name}."""

from workflows.actions.action import Action, Config, Expression, Outcome, Run
from workflows.commands import SetTrait


class {title}Config(Config):
    """`value`: CEL over `event`, `profile` and `data`. `trait`: where it goes."""

    value: Expression
    trait: str


class {title}(Action[{title}Config]):
    """Sets a trait to a value. (This text is the action's documentation: `headwater actions {name}` shows it.)"""

    name = "{name}"
    Config = {title}Config
    ports = ("out", "missing")

    def run(self, config: {title}Config, run: Run) -> Outcome:
        value = config.value.value(run.context)
        if value is None:
            return Outcome("missing")
        return Outcome(commands=[SetTrait(config.trait, value)])
'''

_TEST = '''\
"""{name} decides what it says it does."""

from headwater_{module} import {title}
from workflows.actions.testing import run_action
from workflows.commands import SetTrait

CONFIG = {{"value": "event.properties.size", "trait": "size"}}


def test_it_sets_the_trait():
    outcome = run_action({title}(), CONFIG, properties={{"size": "XL"}})
    assert (outcome.port, outcome.commands) == ("out", [SetTrait("size", "XL")])


def test_it_leaves_by_missing_without_a_value():
    assert run_action({title}(), CONFIG).port == "missing"
'''
