"""The command line. Every verb is a thin wrapper; what it needs is imported when it runs, so that --help is instant.
An error in what the user gave is one message and exit code 2."""

import contextlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from flows import cli_data

app = typer.Typer(
    name="spatialllm",
    help="Which multimodal model understands 3D space best: plan, run and search designs, and see what they answer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(cli_data.app)
console = Console()
errors = Console(stderr=True)
EXIT_FAILED = 1
EXIT_INPUT = 2

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
DesignName = Annotated[
    str, typer.Argument(help="ENCODERS_LLM[_STAGE0]_STAGE1_STAGE2, e.g. clip_vicuna-7b_cc558k_mix665k")
]


@app.command()
def plan(
    design: Annotated[list[str] | None, typer.Option(help="A design by name; may be given several times.")] = None,
    row: Annotated[list[int] | None, typer.Option(help="A row of the paper's Table 2, 1 to 10.")] = None,
    all: Annotated[bool, typer.Option("--all", help="The whole space (sweep.space of params.yaml).")] = False,
    slots: Annotated[int | None, typer.Option(help="Stage runs at the same time; default: runtime.slots.")] = None,
    as_json: Json = False,
) -> None:
    """What a set of designs would run and cost. Writes nothing."""
    with _reporting():
        from flows.outlook import outlook, show

        seen = outlook(_root(), _chosen(design, row, all), slots)
        if as_json:
            _print_json(seen.as_json())
        else:
            show(console, seen)


@app.command()
def run(design: DesignName) -> None:
    """Run one design: what it shares with others that are there is not run again."""
    with _reporting():
        from flows.design import parse
        from flows.plan import plan_of
        from flows.run import run_plan
        from flows.show import Display
        from flows.track import Tracking

        chosen = parse(design)
        wanted = plan_of([chosen])
        result = run_plan(_root(), wanted, chosen.name, Display(console, "run"))
        tracking = Tracking(_root(), _warn)
        if tracking.owes():
            tracking.deliver(wanted)
            tracking.settle()
        _summary(result)
        if result.ok:
            score = _root() / "runs" / _settings().scale / "score" / chosen.name / "metrics.json"
            metrics = json.loads(score.read_text())
            names = ("average", "distance", "orientation", "relation")
            console.print("  ".join(f"{name} {100 * metrics[name]:.1f} %" for name in names if name in metrics))
        _exit(result)


@app.command()
def roadmap(
    rows: Annotated[
        str, typer.Option(help="`roadmap` (the paper's five), `all` (its ten), or numbers such as 1,3,8.")
    ] = "roadmap",
) -> None:
    """The paper's roadmap: run what is missing, print the table, write the report."""
    with _reporting():
        from flows.roadmap import REPORT, run_roadmap
        from flows.show import Display

        made = run_roadmap(_root(), _rows(rows), Display(console, "roadmap"), _warn)
        _summary(made.result)
        if made.report is not None:
            from tasks.report.terminal import table

            console.print(table(made.report))
            console.print(f"Report:  {REPORT / 'report.html'}")
            console.print("MLflow:  `make ui` (or `spatialllm ui`), then http://127.0.0.1:5000")
        _exit(made.result)


@app.command()
def sweep(
    trials: Annotated[int, typer.Option(min=1, help="Distinct designs to evaluate in all.")] = 20,
    workers: Annotated[int, typer.Option(min=1, help="Designs in work at the same time.")] = 2,
    sampler: Annotated[str | None, typer.Option(help="tpe, random or grid; default: sweep.sampler.")] = None,
    study: Annotated[str, typer.Option(help="Name of the study; the same name goes on with it.")] = "sweep",
    as_json: Json = False,
) -> None:
    """Let Optuna choose designs; no design is evaluated twice, and what designs share is computed once."""
    with _reporting():
        from flows.show import Display, NoDisplay
        from flows.sweep import run_sweep

        display = NoDisplay() if as_json else Display(console, f"sweep {study}")
        found, result = run_sweep(_root(), study, trials, workers, sampler, display, _warn)
        if as_json:
            _print_json([{"design": one.design.name, "value": one.value} for one in found])
        else:
            from flows.outlook import trials_table

            _summary(result)
            console.print(trials_table(found))
        _exit(result)


@app.command()
def status(as_json: Json = False) -> None:
    """The stage runs of plan.yaml: what is there, what runs and how far it is, what is missing."""
    with _reporting():
        from flows.inspect import status_of, status_table

        rows = status_of(_root())
        if as_json:
            _print_json(rows)
        else:
            console.print(status_table(rows))


@app.command()
def info(
    name: Annotated[str, typer.Argument(help="STAGE/NAME as in `spatialllm status`, or a design.")],
    as_json: Json = False,
) -> None:
    """Everything about a stage run: what it is, its inputs, who uses it, how to reproduce it."""
    with _reporting():
        from flows.inspect import info_of, show_info

        about = info_of(_root(), name)
        if as_json:
            _print_json(about)
        else:
            show_info(console, about)


@app.command()
def unlock(
    name: Annotated[str | None, typer.Argument(help="STAGE/NAME; without it, list every claim that is held.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Show who holds claims; with a name, end the process that holds it (a frozen one, say)."""
    with _reporting():
        from flows.inspect import claims, end_owner

        held = claims(_root())
        if not held:
            console.print("No claim is held. (Claims are freed by the system when their owner ends.)")
        for one in held:
            console.print(f"{one['run']}: process {one['pid']} on {one['host']}")
        if name is not None:
            if not yes:
                typer.confirm(f"End the process that computes {name}? Its last checkpoint stays.", abort=True)
            end_owner(_root(), name)
            console.print(f"{name}: its owner is gone, the claim is free")


@app.command()
def report(
    rows: Annotated[str, typer.Option(help="As for `roadmap`.")] = "roadmap",
    as_json: Json = False,
) -> None:
    """Write reports/roadmap again from the scores that are there; runs nothing."""
    with _reporting():
        from flows.roadmap import REPORT, write_report

        results = write_report(_root(), _rows(rows), None)
        if as_json:
            _print_json(results)
        else:
            from tasks.report.terminal import table

            console.print(table(results))
            console.print(f"Report:  {REPORT / 'report.html'}")


@app.command()
def export(
    design: DesignName,
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    format: Annotated[str, typer.Option(help="spatialllm, or llava: one encoder, for other programs.")] = "spatialllm",
) -> None:
    """Write a trained design as a transformers folder with its processor."""
    with _reporting():
        from tasks.export import export as write

        write(_root() / "runs" / _settings().scale / "instruct" / design, folder, format)
        console.print(f"{folder}: {design} as {format}")


@app.command()
def ask(
    image: Annotated[Path, typer.Argument(help="A JPEG or PNG file.")],
    question: Annotated[str, typer.Argument(help="About where things are, or how they are turned.")],
    design: Annotated[str | None, typer.Option(help="Which design answers; default: the best one there is.")] = None,
) -> None:
    """Ask the best model about an image."""
    with _reporting():
        from tasks.ask import answer

        chosen = design or _best_design()
        errors.print(f"[dim]{chosen}[/dim]")
        console.print(answer(_root(), chosen, image, question), markup=False)


@app.command()
def ui(
    mlflow_port: Annotated[int, typer.Option(help="Port of MLflow's UI.")] = 5000,
    prefect_port: Annotated[int, typer.Option(help="Port of Prefect's UI.")] = 4200,
) -> None:
    """MLflow's and Prefect's UIs on localhost, until Ctrl-C."""
    with _reporting():
        from flows.ui import serve

        serve(_root(), mlflow_port, prefect_port, console)


@contextlib.contextmanager
def _reporting() -> Iterator[None]:
    """Errors in what the user gave end with a message and code 2; a signal to end ends like Ctrl-C."""
    from data_registry.errors import InputError

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except InputError as error:
        errors.print(f"[red]error:[/red] {_plain(str(error))}", soft_wrap=True, highlight=False)
        raise typer.Exit(EXIT_INPUT) from None
    except KeyboardInterrupt:
        errors.print("stopped; run the same again to go on from here")
        raise typer.Exit(130) from None


def _root() -> Path:
    return Path.cwd()


def _settings() -> Any:
    from tasks.settings import load

    return load(_root())


def _chosen(names: list[str] | None, rows: list[int] | None, all: bool) -> list:
    from flows.design import choose, kept

    designs = choose([*(rows or []), *(names or [])])
    if all:
        from flows.sweep import read_config

        designs += list(read_config(_root()).space.designs())
    return list(dict.fromkeys(designs or kept(_settings().params)))


def _rows(text: str) -> list:
    from data_registry.errors import InputError
    from flows.design import ROADMAP, ROWS, choose

    if text == "roadmap":
        return choose(ROADMAP)
    if text == "all":
        return choose(ROWS)
    rows = [one.strip() for one in text.split(",") if one.strip()]
    if not rows or not all(one.isdigit() for one in rows):
        raise InputError(f"--rows {text!r}: give `roadmap`, `all`, or row numbers such as 1,3,8")
    return choose(rows)


def _best_design() -> str:
    from data_registry.errors import InputError

    scores = {}
    for path in (_root() / "runs" / _settings().scale / "score").glob("*/metrics.json"):
        if not path.parent.name.startswith("blind_"):
            scores[path.parent.name] = json.loads(path.read_text())["average"]
    if not scores:
        raise InputError("no design has been scored yet; run `make roadmap` first")
    return max(sorted(scores), key=scores.__getitem__)


def _summary(result: Any) -> None:
    from flows.show import clock

    counts = result.counts
    text = f"{counts['planned']} stage runs: {counts['executed']} executed, {counts['restored']} there already"
    failed = f", [red]{len(result.errors)} failed, {len(result.blame)} not run for that[/red]" if not result.ok else ""
    console.print(f"{text}{failed} ({clock(result.seconds)})")


def _exit(result: Any) -> None:
    if not result.ok:
        raise typer.Exit(EXIT_FAILED)


def _warn(text: str) -> None:
    errors.print(f"[yellow]warning:[/yellow] {_plain(text)}", soft_wrap=True, highlight=False)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    app()
