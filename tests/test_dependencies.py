"""Every package that is imported is declared: what another package brings along may go with its next version."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OWN = {"data_registry", "model", "tasks", "flows", "tests", "benchmarks"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def named(requirements: list[str]) -> set[str]:
    """The packages that requirements name, as pip compares names."""
    return {re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", one)[0]).lower() for one in requirements}


def imported(folders: tuple[str, ...]) -> dict[str, str]:
    """{top-level module of somebody else: a file that imports it}, also inside functions."""
    modules: dict[str, str] = {}
    for path in (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            modules |= {name.partition(".")[0]: str(path.relative_to(ROOT)) for name in names}
    return {name: path for name, path in modules.items() if name not in sys.stdlib_module_names and name not in OWN}


@pytest.mark.parametrize(
    ("folders", "extras"),
    [(("flows", "tasks", "model", "data_registry"), ()), (("tests", "benchmarks"), ("dev", "small"))],
)
def test_every_import_is_declared(folders, extras):
    optional = PROJECT["optional-dependencies"]
    declared = named(PROJECT["dependencies"]) | {name for extra in extras for name in named(optional[extra])}
    known = packages_distributions()
    undeclared = {
        module: path
        for module, path in imported(folders).items()
        if not declared & named([*known.get(module, []), module])
    }
    assert not undeclared


def test_the_lock_has_what_is_declared():
    locked = named((ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines())
    assert named(PROJECT["dependencies"]) <= locked
