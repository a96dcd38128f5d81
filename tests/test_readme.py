"""README.md and docs/ keep their word: commands run or are named here as not run, and the files, modules, designs,
parameters and results that they name are there."""

import importlib.util
import json
import pkgutil
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from flows.cli.main import app
from flows.designs.design import parse
from tasks.stages import STAGES

ROOT = Path(__file__).parents[1]
PAGES = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
PAGES |= {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")}
ALL = "\n".join(PAGES.values())
FENCES = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
TOOLS = (
    "spatialllm",
    "make",
    "python",
    "dvc",
    "prefect",
    "mlflow",
    "docker",
    "kubectl",
    "torchrun",
    "deepspeed",
    "pip",
)

# Commands that this file runs as they are printed: they look and write nothing.
HERE = (
    "spatialllm --help",
    "spatialllm plan",
    "spatialllm status --json",
    "spatialllm data list",
    "spatialllm data info",
    "spatialllm gc --dry-run",
)
# The beginning of a command, the test that runs it (on a small project, where the command computes), a word of that.
ELSEWHERE = {
    "make roadmap": ("tests/test_roadmap.py", '"roadmap"'),  # the target's own command
    "spatialllm roadmap": ("tests/test_roadmap.py", '"roadmap"'),
    "spatialllm report": ("tests/test_roadmap.py", '"report"'),
    "spatialllm ask": ("tests/test_roadmap.py", '"ask"'),
    "spatialllm run": ("tests/flows/execution/test_run.py", '"run"'),
    "dvc repro": ("tests/flows/execution/test_run.py", '"repro"'),
    "spatialllm sweep": ("tests/flows/servers/test_servers.py", '"sweep"'),
    "spatialllm keep": ("tests/flows/execution/test_keep.py", "keep"),
    "spatialllm retry": ("tests/flows/execution/test_keep.py", '"retry"'),
    "spatialllm status": ("tests/flows/cli/test_inspect.py", "status"),
    "spatialllm info": ("tests/flows/cli/test_inspect.py", "info"),
    "spatialllm unlock": ("tests/flows/cli/test_inspect.py", "unlock"),
    "spatialllm gc": ("tests/flows/cli/test_inspect.py", "gc"),
    "spatialllm export": ("tests/tasks/use/test_ask_export.py", "export("),
    "spatialllm ui": ("tests/flows/servers/test_ui.py", '"ui"'),
    "make ui": ("tests/flows/servers/test_ui.py", '"ui"'),  # the target's own command
    "spatialllm data fetch": ("tests/data_registry/test_cli_data.py", '"fetch"'),
    "spatialllm data verify": ("tests/data_registry/test_cli_data.py", '"verify"'),
    "spatialllm data annotate": ("tests/tasks/test_annotate.py", "annotate"),
    "python -m tasks.report readme": ("tests/test_readme.py", '"readme"'),
    "python -m tasks.": ("tests/tasks/training/test_training_stages.py", "tasks."),
    "python -m flows.servers.automation": ("tests/flows/servers/test_servers.py", "automation"),
    "prefect deploy": ("tests/flows/servers/test_servers.py", '"deploy"'),
    "prefect worker start": ("tests/flows/servers/test_servers.py", '"worker"'),
    "torchrun": ("tests/tasks/training/test_training_ranks.py", "torchrun"),
    "deepspeed --hostfile": ("tests/tasks/training/test_training_ranks.py", "hostfile"),
}
# What no test runs, and why.
NOT_RUN = {
    "make test": "these tests",
    "make test-fast": "these tests",
    "python -m pytest": "these tests",
    "python -m tests.mutations": "runs tests on altered copies of the repository, for hours",
    "make lint": "CI runs it",
    "make docs": "installs packages; a hosted workflow runs it, and a test here looks at the pages' list",
    "make install": "CI runs it as part of make test",
    "make lock": "rewrites requirements.lock",
    "make clean": "removes .venv",
    "make small": "installs 110 MB of weights",
    "make smoke-small": "needs make small",
    "make bench-": "measures for minutes to hours; tests/benchmarks has the parts",
    "spatialllm data show": "its parts are tested in tests/data_registry/viewing",
    "dvc remote add": "DVC's own",
    "docker compose": "needs a container engine; tests/flows/test_docker.py reads what it would start",
    "kubectl": "needs a cluster; tests/flows/test_docker.py reads the manifests",
    "prefect deployment run": "Prefect's own; tests/flows/servers runs the deployment",
    "pip install": "installs packages",
    "dvc metrics": "DVC's own",
    "dvc plots": "DVC's own",
    "dvc exp": "DVC's own",
    "dvc checkout": "DVC's own",
    "dvc pull": "DVC's own",
    "dvc push": "DVC's own",
}


def commands() -> list[str]:
    """Every command shown, without comment and variables: lines of shell blocks, and code marks in the text."""
    shown = []
    for text in PAGES.values():
        for language, block in FENCES.findall(text):
            if language in ("sh", "console", "bash"):
                shown += block.splitlines()
        shown += [mark for mark in re.findall(r"`([^`\n]+)`", FENCES.sub("", text)) if mark.split(" ")[0] in TOOLS]
    lines = [re.sub(r"\b[A-Z_]+=\S+ (?=\w)", "", line.split(" #")[0].strip()) for line in shown]
    return sorted({line for line in lines if line.split(" ")[0] in TOOLS and " " in line})


def begins(command: str, beginnings: Iterable[str]) -> bool:
    """Whether a command begins with one of these, in whole words, except for those that end in - or a dot."""
    return any(f"{command} ".startswith(text if text[-1] in "-." else f"{text} ") for text in beginnings)


def marks(pattern: str) -> set[str]:
    """Code marks in the text, and words of its shell blocks, that match a pattern whole."""
    words = (
        re.findall(r"`([^`\n]+)`", FENCES.sub("", ALL))
        + " ".join(b for language, b in FENCES.findall(ALL) if language in ("", "sh")).split()
    )
    return {word for word in words if re.fullmatch(pattern, word)}


@pytest.mark.parametrize("command", commands())
def test_a_command_is_run_by_a_test_or_named_as_not_run(command):
    known = begins(command, (*HERE, *ELSEWHERE, *NOT_RUN))
    assert known, f"{command}: say in this file which test runs it, or why none does"


@pytest.mark.parametrize("beginning", ELSEWHERE)
def test_the_test_that_runs_a_command_is_there(beginning):
    file, word = ELSEWHERE[beginning]
    assert word in (ROOT / file).read_text(encoding="utf-8"), f"{file} no longer has {word}"


@pytest.mark.parametrize("command", [c for c in commands() if begins(c, HERE)])
def test_a_command_runs_as_printed(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(app, shlex.split(command)[1:])
    assert done.exit_code == 0, done.output


def test_make_targets_exist():
    known = set(re.findall(r"^([a-z][\w%-]*):", (ROOT / "Makefile").read_text(), re.M))
    targets = {word for command in commands() if command.startswith("make ") for word in command.split()[1:]}
    targets = {word for word in targets if "=" not in word}
    assert {"roadmap", "test"} <= targets
    benches = {f"bench-{p.stem}" for p in (ROOT / "benchmarks").glob("*.py")}
    assert targets <= known | benches | {"bench-NAME"}


@pytest.mark.parametrize("words", [shlex.split(c)[1:] for c in commands() if c.startswith("spatialllm ")], ids=" ".join)
def test_verbs_exist_with_the_options_shown(words):
    command = typer.main.get_command(app)
    verbs = [word for word in words if not word.startswith("-")]
    while verbs and hasattr(command, "commands"):
        assert verbs[0] in command.commands, f"no verb {verbs[0]!r}"
        command = command.commands[verbs.pop(0)]
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    shown = {word.split("=")[0] for word in words if word.startswith("-")}
    assert shown <= options, f"no option {sorted(shown - options)}"


def test_designs_exist():
    designs = {
        name
        for name in marks(r"(?:clip|dinov2|mae|blind)[+\w-]*_(?:vicuna-7b|llama3-8b)_[\w+=-]+")
        if "depth-talk" not in name
    }  # extending.md adds that one
    assert designs
    for name in designs:
        assert parse(name).name == name


def test_modules_exist():
    """What `-m` and `--module` start, and `package.module` or `package.module.NAME` in code marks."""
    started = set(re.findall(r" (?:-m|--module) ([a-z][\w.]+)", ALL))
    assert {"tasks.align", "tasks.instruct"} <= started
    for name in started:
        assert importlib.util.find_spec(name), name
    for name in marks(r"(?:flows|tasks|model|data_registry)(?:\.\w+)+"):
        assert pkgutil.resolve_name(name), name


@pytest.mark.parametrize("page", PAGES)
def test_links_and_paths_exist(page):
    """Relative links, and code marks that look like files and folders of the repository (not what a run writes)."""
    text = PAGES[page]
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    missing = [name for name in links if not (ROOT / page).parent.joinpath(name).exists()]
    kept = r"(?:flows|tasks|model|data_registry|tests|docs|docker|benchmarks)/[\w./-]*"
    paths = re.findall(rf"`({kept}|[\w.-]+\.(?:yaml|toml|py|lock|cff|md))`", FENCES.sub("", text))
    paths = [name for name in paths if not name.startswith(("results.", "plan.yaml")) and "NAME" not in name]
    missing += [name for name in paths if not (ROOT / name).exists()]
    assert not missing


def test_every_page_is_in_the_sites_contents():
    contents = set(re.findall(r"[\w-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    assert contents == {path.name for path in (ROOT / "docs").glob("*.md")}


def test_parameters_exist():
    """`section.key` in params.yaml; what a user adds there is described by the sections' own tests."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    added = ("runtime.scenes", "runtime.data", "runtime.annotate", "sweep.space", "sweep.device_gb")
    named = marks(rf"(?:{'|'.join(params)})(?:\.[\w-]+)+(?<!\.yaml)(?<!\.py)(?<!\.lock)")
    named = {one for one in named if not one.startswith(added)}
    assert {"runtime.lease_s", "sweep.halving"} <= named
    for dotted in named:
        value = params
        for key in dotted.split("."):
            assert key in value, f"params.yaml has no {dotted}"
            value = value[key]


def test_every_stage_is_documented_as_its_table_describes_it():
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert [name for name, stage in STAGES.items() if f"| `{name}` | {stage.summary} |" not in page] == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= 8192


@pytest.mark.skipif(not (ROOT / "reports/roadmap/results.json").exists(), reason="no recorded roadmap in reports/")
def test_the_results_are_those_that_were_measured():
    command = [sys.executable, "-m", "tasks.report", "readme", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_pose_heads_errors_are_those_of_its_record():
    record = json.loads((ROOT / "benchmarks/results/pose.json").read_text())
    said = " ".join(PAGES["docs/own-data.md"].split())
    share = f"{100 * record['confident']:.0f} %"
    assert f"a median error of {record['ours']:.1f}°" in said
    assert f"of {record['confident_azimuth_median_error_deg']:.1f}° for the {share} that it is confident of" in said


def test_the_examples_of_extending_are_imported_as_they_stand(tmp_path):
    """Files and cards of docs/extending.md as an extension, in a process of its own: their entries stay there."""
    for _, block in FENCES.findall(PAGES["docs/extending.md"]):
        if named := re.match(r"# mine/(\S+)\n", block):
            path = tmp_path / "mine" / named[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block, encoding="utf-8")
    check = (
        "from pathlib import Path\n"
        "from data_registry import extensions\n"
        "from data_registry.cards import datasets\n"
        f"extensions.load(Path({str(tmp_path)!r}), ['mine'])\n"
        "from data_registry.benchmark.table import BENCHMARKS\n"
        "from data_registry.questions.types import QUESTION_TYPES\n"
        "from data_registry.readers.table import READERS\n"
        "from flows.designs.design import parse\n"
        "from flows.search.samplers.registry import SAMPLERS\n"
        "from tasks.stages import STAGES\n"
        "from tasks.tracking.trackers import TRACKERS\n"
        "name = 'siglip2-base_qwen3-4b_cc558k_mix665k+depth-talk'\n"
        "assert parse(name).name == name\n"
        "assert {'gp', 'deeper', 'audit', 'lines'} <= {*SAMPLERS, *QUESTION_TYPES, *STAGES, *TRACKERS}\n"
        "assert 'kitti-near' in READERS and 'indoors' in BENCHMARKS\n"
    )
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
