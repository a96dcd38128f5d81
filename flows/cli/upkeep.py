"""Commands that look after what is there: keep a trial, run again what failed, free the disk, end a hanging process."""

from typing import Annotated

import typer

from flows.cli.common import (
    DesignName,
    Json,
    console,
    deliver_pending,
    leave,
    load_extensions,
    print_json,
    reporting,
    root,
    summary,
)

app = typer.Typer()


@app.command()
def keep(design: DesignName, as_json: Json = False) -> None:
    """Bring a design (any trial of a sweep) into plan.yaml and its outputs back from DVC's cache; computes nothing."""
    with reporting():
        from flows.designs.design import parse
        from flows.execution.flow import keep_design

        load_extensions()
        states = keep_design(root(), parse(design))
        missing = [run for run, state in states.items() if state == "missing"]
        if as_json:
            print_json({"design": design, "states": states, "missing": missing})
            return
        restored = sum(state == "restored" for state in states.values())
        console.print(f"{design} is in plan.yaml: {len(states)} stage runs, {restored} restored from DVC's cache")
        if missing:
            console.print(f"{len(missing)} were never computed; `spatialllm run {design}` does: {', '.join(missing)}")


@app.command()
def retry(
    name: Annotated[
        str | None, typer.Argument(help="STAGE/NAME or a design; without it, all of plan.yaml that is not there.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run again what failed or is missing, and what waited for it; nothing finished is repeated."""
    with reporting():
        from data_registry.errors import InputError, nearest
        from flows.designs.plan import read_plan
        from flows.execution.display import Display, NoDisplay
        from flows.execution.flow import run_plan

        plan = read_plan(root())
        run = f"score/{name}" if name and "/" not in name else name
        if run is not None and run not in plan.runs():
            hint = nearest(run, plan.runs()) if plan.runs() else "it is empty"
            raise InputError(f"plan.yaml: no stage run {name!r}, {hint}")
        wanted = plan.only([run]) if run else plan
        display = NoDisplay() if as_json else Display(console, "retry")
        result = run_plan(root(), wanted, f"retry {name or 'all'}", display, again=run is None)
        deliver_pending(wanted)
        if as_json:
            errors = {failed: str(error) for failed, error in result.errors.items()}
            print_json({**result.counts, "states": result.states, "errors": errors, "blame": result.blame})
        else:
            summary(result)
        leave(result)


@app.command()
def gc(
    cache: Annotated[
        bool,
        typer.Option("--cache", help="Also what DVC's cache has beyond plan.yaml (a sweep's trials, other scales)."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    as_json: Json = False,
) -> None:
    """Free the disk of what no plan needs; shows sizes and asks first."""
    with reporting():
        from data_registry.errors import InputError
        from flows.store.gc import find_waste, remove
        from flows.text import size

        if as_json and not (yes or dry_run):
            raise InputError("gc --json cannot ask: give --yes or --dry-run")
        waste = find_waste(root(), cache)
        if not as_json:
            for folder, count in waste.folders.items():
                console.print(f"{size(count):>9}  {folder}", highlight=False, soft_wrap=True)
            if cache:
                where = f"{waste.objects} objects of {waste.cache}, which only a remote has then"
                console.print(f"{size(waste.object_bytes):>9}  {where}", highlight=False)
        nothing = not waste.folders and not waste.objects
        if not (nothing or dry_run):
            if not yes:
                total = size(sum(waste.folders.values()) + waste.object_bytes)
                typer.confirm(
                    f"Remove these ({total})? Trials come back with `spatialllm keep DESIGN`"
                    f"{' only if a remote has them' if cache else ''}",
                    abort=True,
                )
            remove(root(), waste, cache)
        if as_json:
            print_json({**waste.as_json(), "removed": not (nothing or dry_run)})
        elif nothing:
            console.print("Nothing: plan.yaml needs all that is there.")


@app.command()
def unlock(
    name: Annotated[
        str | None, typer.Argument(help="STAGE/NAME, or a lock; without it, list all that is held.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Show who holds claims; with a name, end the process that holds it (a frozen one, say)."""
    with reporting():
        from flows.execution.status import claims, end_process

        held = claims(root())
        if not held:
            console.print("No claim is held. (Claims are freed by the system when their holder ends.)")
        for claim in held:
            who = (
                f"process {claim['pid']} on {claim['host']}"
                if claim["pid"]
                else "a process that has not said who it is"
            )
            sign = f", last sign of life {claim['silent_s']} s ago" if claim["silent_s"] is not None else ""
            scale = f" ({claim['scale']})" if claim["scale"] else ", a lock"
            console.print(f"{claim['run']}{scale}: {who}{sign}", soft_wrap=True, highlight=False)
        if name is not None:
            if not yes and any(claim["run"] == name for claim in held):
                typer.confirm(f"End the process that computes {name}? Its last checkpoint stays.", abort=True)
            end_process(root(), name)
            console.print(f"{name}: its holder is gone, it is free", soft_wrap=True, highlight=False)
