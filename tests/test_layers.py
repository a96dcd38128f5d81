"""Who may import whom: one direction between the packages, layers inside `flows`, no circle of files anywhere."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ["data_registry", "model", "tasks", "flows"]  # each may import those before it
FLOWS = [  # likewise inside `flows`; what stands together may not import each other
    {"text"},
    {"designs"},
    {"store", "servers"},
    {"costs"},
    {"execution"},
    {"tracking"},
    {"search"},
    {"roadmap", "sweep"},
    {"cli", "deployments", "smoke_small"},
]


def modules(root: Path, packages: list[str]) -> dict[str, Path]:
    """Every module below the packages by its dotted name."""
    names = {}
    for package in packages:
        for path in (root / package).rglob("*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports(root: Path, packages: list[str]) -> dict[str, set[str]]:
    """What each module imports of these packages, at its top, inside functions and for type checkers alike."""
    known = modules(root, packages)
    found: dict[str, set[str]] = {}
    for name, path in known.items():
        seen = found.setdefault(name, set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                seen.update(one.name for one in node.names if one.name in known)
            elif isinstance(node, ast.ImportFrom) and node.module:
                assert not node.level, f"{path}: a relative import, which this test does not follow"
                for one in node.names:
                    whole = f"{node.module}.{one.name}"
                    seen.update({whole if whole in known else node.module} & known.keys())
    return found


def upward(graph: dict[str, set[str]]) -> list[str]:
    """Imports that run against the direction of the packages or of the layers inside `flows`."""
    layers = {part: level for level, parts in enumerate(FLOWS) for part in parts}

    def place(name: str) -> tuple[int, int]:
        package, _, rest = name.partition(".")
        if package != "flows" or not rest:
            return PACKAGES.index(package), 0
        part = rest.partition(".")[0]
        assert part in layers, f"{name}: has no layer yet; give it one in {Path(__file__).name}"
        return PACKAGES.index(package), layers[part]

    def part(name: str) -> list[str]:
        return name.split(".")[: 2 if name.startswith("flows.") else 1]

    return sorted(
        f"{name} imports {other}"
        for name, others in graph.items()
        for other in others
        if part(name) != part(other) and place(other) >= place(name)
    )


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle; none: an empty list."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_imports_run_one_way():
    assert upward(imports(ROOT, PACKAGES)) == []


def test_no_circle_of_files():
    assert circle(imports(ROOT, PACKAGES)) == []


def test_model_takes_nothing_of_the_data_but_errors_and_text():
    """The networks know no data set: of `data_registry` they share its errors, the pictures' decoding and, for the
    tiny language models, the text that is written about imagined scenes."""
    taken = {other for name, others in imports(ROOT, PACKAGES).items() if name.startswith("model") for other in others}
    assert {one for one in taken if one.startswith("data_registry")} == {
        "data_registry.errors",
        "data_registry.storage.pictures",
        "data_registry.text.passages",
    }


LIBRARIES = {  # which places alone may know a library; all others hear of it by plain values
    "prefect": ("flows.",),
    "optuna": ("flows.",),
    "dvc": ("flows.",),
    "mlflow": ("tasks.tracking.", "flows.servers.mlflow"),
    "deepspeed": ("model.training.",),
    "torch": ("model.", "tasks."),
    "transformers": ("model.", "tasks."),
}


def strangers(root: Path, packages: list[str]) -> list[str]:
    """Imports of a library where it is not to be known."""
    broken = []
    for name, path in modules(root, packages).items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            whole = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            whole += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for library in {one.partition(".")[0] for one in whole} & LIBRARIES.keys():
                if not name.startswith(LIBRARIES[library]):
                    broken.append(f"{name} imports {library}")
    return sorted(broken)


def test_libraries_are_known_where_they_belong():
    assert strangers(ROOT, PACKAGES) == []


def test_errors_import_nothing_of_the_project():
    assert imports(ROOT, PACKAGES)["data_registry.errors"] == set()


def test_a_library_out_of_its_place_is_found(tmp_path):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/score.py").write_text("def late():\n    from prefect import flow\n")
    assert strangers(tmp_path, PACKAGES) == ["tasks.score imports prefect"]


@pytest.mark.parametrize(
    ("line", "broken"),
    [
        ("from flows.cli.main import app", ["tasks.stage imports flows.cli.main"]),
        ("def late():\n    from flows.cli import main", ["tasks.stage imports flows.cli.main"]),
    ],
)
def test_an_import_against_the_direction_is_found(tmp_path, line, broken):
    for name, text in {"flows/cli/main.py": "", "tasks/stage.py": line}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert upward(imports(tmp_path, PACKAGES)) == broken


def test_a_circle_is_found(tmp_path):
    for name, text in {"tasks/a.py": "from tasks import b", "tasks/b.py": "from tasks.a import x"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert set(circle(imports(tmp_path, PACKAGES))) == {"tasks.a", "tasks.b"}
