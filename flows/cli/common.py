"""What every command shares: the consoles, errors as one message with exit code 2, and how a result is shown."""

import contextlib
import io
import json
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from flows.designs.plan import Plan
    from flows.execution.result import Result
    from tasks.identity.settings import Settings

console = Console()
errors = Console(stderr=True)
EXIT_FAILED = 1
EXIT_INPUT = 2

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
DesignName = Annotated[
    str, typer.Argument(help="ENCODERS_LLM[_STAGE0]_STAGE1_STAGE2, e.g. clip_vicuna-7b_cc558k_mix665k")
]


@contextlib.contextmanager
def reporting() -> Iterator[None]:
    """Errors in what the user gave end with a message and code 2; a signal to end ends like Ctrl-C."""
    from data_registry.errors import InputError
    from tasks.identity.addresses import masked

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that is not UTF-8 must not end a flow
    try:
        yield
        _warn_of_designs_without_a_plan()
    except InputError as error:
        errors.print(f"[red]error:[/red] {plain(masked(error))}", soft_wrap=True, highlight=False)
        raise typer.Exit(EXIT_INPUT) from None
    except KeyboardInterrupt:
        errors.print("stopped; run the same again to go on from here")
        raise typer.Exit(130) from None
    except Exception as error:
        from tasks.stage.system_errors import system_error

        said = system_error(error, "spatialllm", Path.cwd())
        if said is None:
            sys.excepthook = _print_masked
            raise
        errors.print(f"[red]error:[/red] {plain(said)}", soft_wrap=True, highlight=False)
        raise typer.Exit(EXIT_INPUT) from None


def _print_masked(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """The traceback of a fault of this program, without passwords."""
    from tasks.identity.addresses import masked

    sys.stderr.write(masked("".join(traceback.format_exception(kind, error, trace))))


def _warn_of_designs_without_a_plan() -> None:
    from data_registry.errors import InputError
    from flows.execution.plan_file import not_planned

    with contextlib.suppress(InputError):  # the verb did not need params.yaml or plan.yaml
        names = not_planned(root())
        if names:
            warn(
                f"params.yaml: designs: plan.yaml lacks {', '.join(names)}, so `dvc repro` does not run "
                f"{'it' if len(names) == 1 else 'them'}; `spatialllm keep {names[0]}` adds what is listed, "
                "`spatialllm run` computes it, too"
            )


def root() -> Path:
    """The project that the current folder is in; InputError outside of one."""
    from tasks.identity.settings import project_root

    return project_root()


def load_extensions() -> None:
    """What the project's extensions add to data sets, encoders and so on; nothing outside of a project."""
    from data_registry import extensions
    from data_registry.errors import InputError
    from tasks.identity.settings import PARAMS_FILE, read_yaml

    try:
        folder = root()
    except InputError:
        return
    extensions.load(folder, read_yaml(folder / PARAMS_FILE).get("extensions"))


def settings() -> "Settings":
    """params.yaml and plan.yaml."""
    from tasks.identity.settings import load

    return load(root())


def summary(result: "Result") -> None:
    """How many stage runs there were, and what became of them."""
    from flows.text import clock

    counts = result.counts
    text = f"{counts['planned']} stage runs: {counts['executed']} executed, {counts['restored']} there already"
    failed = f", [red]{len(result.errors)} failed, {len(result.blame)} not run for that[/red]" if not result.ok else ""
    console.print(f"{text}{failed} ({clock(result.seconds)})")


def deliver_pending(plan: "Plan") -> None:
    """Bring to the trackers (MLflow) what they may not have."""
    from flows.tracking import delivery

    delivery.deliver_pending(root(), plan, warn)


def leave(result: "Result") -> None:
    """Exit with 1 if something failed."""
    if not result.ok:
        raise typer.Exit(EXIT_FAILED)


def warn(text: str) -> None:
    """A warning."""
    from tasks.identity.addresses import masked

    errors.print(f"[yellow]warning:[/yellow] {plain(masked(text))}", soft_wrap=True, highlight=False)


def plain(text: str) -> str:
    """Text in which brackets are brackets."""
    from rich.markup import escape

    return escape(text)


def print_json(value: Any) -> None:
    """For machines."""
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False))
