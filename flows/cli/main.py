"""The command line. Every verb is a thin wrapper; what it needs is imported when it runs, so that --help is instant.
An error in what the user gave is one message and exit code 2."""

import contextlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from flows.cli import data, upkeep
from flows.cli.choices import best_design, designs_of, rows_of
from flows.cli.common import (
    DesignName,
    Json,
    console,
    deliver_pending,
    errors,
    leave,
    load_extensions,
    print_json,
    reporting,
    root,
    settings,
    summary,
    warn,
)

app = typer.Typer(
    name="spatialllm",
    help="Which multimodal model understands 3D space best: plan, run and search designs, and see what they answer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data.app)
app.add_typer(upkeep.app)


@app.command()
def plan(
    design: Annotated[list[str] | None, typer.Option(help="A design by name; may be given several times.")] = None,
    row: Annotated[list[int] | None, typer.Option(help="A row of the paper's Table 2, 1 to 10.")] = None,
    all: Annotated[bool, typer.Option("--all", help="The whole space (sweep.space of params.yaml).")] = False,
    slots: Annotated[
        int | None, typer.Option(min=1, help="Stage runs at the same time; default: runtime.slots.")
    ] = None,
    price: Annotated[
        float | None,
        typer.Option(min=0, help="Dollars per GPU hour (core hour at tiny scale); default: runtime.dollars_per_hour."),
    ] = None,
    as_json: Json = False,
) -> None:
    """What a set of designs would run and cost. Writes nothing."""
    with reporting():
        from flows.execution.estimate import estimate, show

        made = estimate(root(), designs_of(design, row, all), slots, price)
        if as_json:
            print_json(made.as_json())
        else:
            show(console, made)


@app.command()
def run(design: DesignName) -> None:
    """Run one design: what it shares with others that are there is not run again."""
    with reporting():
        from flows.designs.design import parse
        from flows.designs.plan import plan_of
        from flows.execution.display import Display
        from flows.execution.flow import run_plan

        load_extensions()
        chosen = parse(design)
        wanted = plan_of([chosen])
        result = run_plan(root(), wanted, chosen.name, Display(console, "run"))
        deliver_pending(wanted)
        summary(result)
        if result.ok:
            score = root() / "runs" / settings().scale / "score" / chosen.name / "metrics.json"
            metrics = json.loads(score.read_text())
            names = ("average", "distance", "orientation", "relation")
            console.print("  ".join(f"{name} {100 * metrics[name]:.1f} %" for name in names if name in metrics))
        leave(result)


@app.command()
def roadmap(
    rows: Annotated[
        str, typer.Option(help="`roadmap` (the paper's five), `all` (its ten), or numbers such as 1,3,8.")
    ] = "roadmap",
) -> None:
    """The paper's roadmap: run what is missing, print the table, write the report."""
    with reporting():
        from flows.execution.display import Display
        from flows.roadmap import REPORT, run_roadmap

        made = run_roadmap(root(), rows_of(rows), Display(console, "roadmap"), warn)
        summary(made.result)
        if made.report is not None:
            from tasks.report.terminal import table

            console.print(table(made.report))
            console.print(f"Report:  {REPORT / 'report.html'}")
            console.print("MLflow:  `make ui` (or `spatialllm ui`), then http://127.0.0.1:5000")
        leave(made.result)


class _NamesSamplers(TyperCommand):
    """Help that names the samplers there are, those of the project's own folders too."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from data_registry.errors import InputError
        from flows.search.samplers.registry import sampler_help

        with contextlib.suppress(InputError):  # help is shown outside a project, too
            settings()
        for param in self.params:
            if isinstance(param, TyperOption) and param.name == "sampler":
                param.help = f"{sampler_help()}; default: sweep.sampler."
        super().format_help(ctx, formatter)


@app.command(cls=_NamesSamplers)
def sweep(
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Distinct designs to evaluate in all; default: 20, with --halving the whole space."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Designs in work at the same time.")] = 2,
    sampler: Annotated[str | None, typer.Option(help="Who proposes designs; default: sweep.sampler.")] = None,
    halving: Annotated[
        bool, typer.Option("--halving", help="Rungs of stage 2 data (sweep.halving): all on a little, the best on all.")
    ] = False,
    study: Annotated[str, typer.Option(help="Name of the study; the same name goes on with it.")] = "sweep",
    as_json: Json = False,
) -> None:
    """Let Optuna choose designs; no design is evaluated twice, and what designs share is computed once."""
    with reporting():
        from flows.execution.display import Display, NoDisplay
        from flows.sweep import run_sweep

        display = NoDisplay() if as_json else Display(console, f"sweep {study}")
        evaluated, result = run_sweep(root(), study, trials, workers, sampler, display, warn, halving)
        if as_json:
            from flows.search import trials as studied

            print_json(studied.rows_of(evaluated))
            for error in result.errors.values():
                warn(str(error))
        else:
            from flows.cli.tables import trials_table

            summary(result)
            console.print(trials_table(evaluated))
        leave(result)


@app.command()
def status(
    watch: Annotated[bool, typer.Option("--watch", help="Show what runs for as long as anything does.")] = False,
    as_json: Json = False,
) -> None:
    """The stage runs of plan.yaml: what is there, what runs and how far it is, what is missing."""
    with reporting():
        from flows.cli import tables
        from flows.execution.status import status_of, watched

        if watch:
            tables.watch(errors, watched(root()))
        rows = status_of(root())
        if as_json:
            print_json(rows)
        else:
            console.print(tables.status_table(rows))


@app.command()
def info(
    name: Annotated[str, typer.Argument(help="STAGE/NAME as in `spatialllm status`, or a design.")],
    as_json: Json = False,
) -> None:
    """Everything about a stage run: what it is, its inputs, who uses it, how to reproduce it."""
    with reporting():
        from flows.cli.tables import info_table
        from flows.execution.status import info_of

        about = info_of(root(), name)
        if as_json:
            print_json(about)
        else:
            console.print(info_table(about))


@app.command()
def report(
    rows: Annotated[str, typer.Option(help="As for `roadmap`.")] = "roadmap",
    as_json: Json = False,
) -> None:
    """Write reports/roadmap again from the scores that are there; runs nothing."""
    with reporting():
        from flows.roadmap import REPORT, write_report

        results = write_report(root(), rows_of(rows), None)
        if as_json:
            print_json(results)
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
    with reporting():
        from tasks.use.export import export as write

        write(root() / "runs" / settings().scale / "instruct" / design, folder, format)
        console.print(f"{folder}: {design} as {format}", markup=False, soft_wrap=True)


@app.command()
def ask(
    image: Annotated[Path, typer.Argument(help="A JPEG or PNG file.")],
    question: Annotated[str, typer.Argument(help="About where things are, or how they are turned.")],
    design: Annotated[str | None, typer.Option(help="Which design answers; default: the best one there is.")] = None,
) -> None:
    """Ask the best model about an image."""
    with reporting():
        from tasks.use.ask import answer

        chosen = design or best_design()
        errors.print(f"[dim]{chosen}[/dim]")
        console.print(answer(root(), chosen, image, question), markup=False)


@app.command()
def ui(
    mlflow_port: Annotated[int, typer.Option(help="Port of MLflow's UI.")] = 5000,
    prefect_port: Annotated[int, typer.Option(help="Port of Prefect's UI.")] = 4200,
) -> None:
    """MLflow's and Prefect's UIs on localhost, until Ctrl-C."""
    with reporting():
        from flows.servers.ui import serve

        try:
            serve(root(), mlflow_port, prefect_port, console)
        except KeyboardInterrupt:  # the way to end it, no failure
            console.print("stopped")


if __name__ == "__main__":
    app()
