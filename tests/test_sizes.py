"""How much one reads at a time: no module above 350 lines, no function of 60."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ["flows", "tasks", "model", "data_registry"]
MODULE_LINES, FUNCTION_LINES = 350, 60


def modules() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def long_functions(text: str) -> list[str]:
    """Functions of `FUNCTION_LINES` lines or more, docstrings included."""
    functions = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return [node.name for node in functions if node.end_lineno - node.lineno + 1 >= FUNCTION_LINES]


def test_no_module_is_long():
    assert len(modules()) > 150
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules()}
    assert {name: lines for name, lines in lengths.items() if lines > MODULE_LINES} == {}


def test_no_function_is_long():
    long = {str(path.relative_to(ROOT)): long_functions(path.read_text()) for path in modules()}
    assert {name: functions for name, functions in long.items() if functions} == {}


@pytest.mark.parametrize(("lines", "found"), [(58, []), (59, ["f"])])
def test_a_long_function_is_found(lines, found):
    assert long_functions("def f():\n" + "    pass\n" * lines) == found
