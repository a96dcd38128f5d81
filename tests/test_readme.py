"""README.md keeps its word: its commands exist, the files it links are there, its results are the measured ones."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = "\n".join(re.findall(r"^```(?:sh|console|bash)\n(.*?)^```", TEXT, re.M | re.S))
INLINE = "\n".join(re.findall(r"`([^`\n]+)`", TEXT))
COMMANDS = f"{BLOCKS}\n{INLINE}"


def named(pattern: str) -> set[str]:
    return set(re.findall(pattern, COMMANDS, re.M))


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    known = set(re.findall(r"^([a-z][\w%-]*):", makefile, re.M))
    targets = named(r"^make ([a-z][\w-]*)")
    assert {"roadmap", "test"} <= targets
    benches = {f"bench-{p.stem}" for p in (ROOT / "benchmarks").glob("*.py")}
    assert targets <= known | benches | {"bench-NAME"}


def test_verbs_exist_with_the_options_shown():
    import typer

    from flows.cli.main import app

    group = typer.main.get_command(app)
    calls = [line.split("#")[0].split() for line in COMMANDS.splitlines() if line.startswith("spatialllm ")]
    assert calls
    for _, *words in calls:
        verbs = [word for word in words if not word.startswith("-")]
        command = group
        while verbs and hasattr(command, "commands"):
            assert verbs[0] in command.commands, f"spatialllm {' '.join(words)}: no verb {verbs[0]!r}"
            command = command.commands[verbs.pop(0)]
        options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        shown = {word.split("=")[0] for word in words if word.startswith("-")}
        assert shown <= options, f"spatialllm {' '.join(words)}: no option {sorted(shown - options)}"


def test_designs_and_modules_exist():
    from flows.designs.design import parse

    designs = named(r"\b((?:clip|dinov2|mae|blind)[+\w-]*_(?:vicuna-7b|llama3-8b)_[\w+=-]+)")
    assert designs
    for name in designs:
        assert parse(name).name == name
    for module in named(r"python -m ([\w.]+)") - {"venv"}:
        assert importlib.util.find_spec(module), f"python -m {module}"


def test_files_exist():
    """Relative links, and paths in code marks that look like files of the repository (not what a run writes)."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", TEXT) + re.findall(r'<img[^>]*src="(?!https?:)([^"]+)"', TEXT)
    files = re.findall(r"^(?:[\w-]+/)*[\w-]+\.(?:yaml|toml|py|lock)$", INLINE, re.M)
    missing = [name for name in [*links, *files] if not (ROOT / name).exists()]
    assert not missing


def test_parameters_exist():
    """`section.key` in params.yaml, as README names them."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for dotted in named(r"^params\.yaml:([\w.-]+)$"):
        value = params
        for key in dotted.split("."):
            assert key in value, f"params.yaml has no {dotted}"
            value = value[key]


@pytest.mark.skipif(not (ROOT / "reports/roadmap/results.json").exists(), reason="no recorded roadmap in reports/")
def test_the_results_are_those_that_were_measured():
    command = [sys.executable, "-m", "tasks.report", "readme", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_pose_heads_errors_are_those_of_its_record():
    found = json.loads((ROOT / "benchmarks/results/pose.json").read_text())
    said = " ".join(TEXT.split())
    share = f"{100 * found['confident']:.0f} %"
    assert f"a median error of {found['ours']:.1f}°" in said
    assert f"of {found['confident_azimuth_median_error_deg']:.1f}° for the {share} that it is confident of" in said
