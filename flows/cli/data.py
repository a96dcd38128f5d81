"""`spatialllm data`: the data sets' cards, their files brought here, and whether they are as they should be.
Thin wrappers around data_registry; what a verb needs is imported when it runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.common import (
    EXIT_FAILED,
    Json,
    console,
    deliver_pending,
    errors,
    leave,
    load_extensions,
    plain,
    print_json,
    reporting,
    root,
    settings,
    summary,
    warn,
)

if TYPE_CHECKING:
    from data_registry.cards.card import Card
    from data_registry.storage.fetch_record import FileStatus

app = typer.Typer(
    name="data",
    help="The data sets: what each is, where it comes from, and whether its files here are whole.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="A data set, as `spatialllm data list` names it.")]
Folder = Annotated[
    Path | None,
    typer.Option("--folder", envvar="SPATIALLLM_DATA", help="Holds a folder for each data set; default: data."),
]
Only = Annotated[str, typer.Option(help="Pattern of the files meant, e.g. 'train_0*'.")]
_WAYS = {"s3": "fetch (S3)", "hub": "fetch (hub)", "folder": "bring it", "made": "made here"}
_COLORS = {"good": "green", "recorded": "cyan", "unchecked": "yellow", "missing": "dim", "wrong": "red"}


@app.command("list")
def list_(folder: Folder = None, as_json: Json = False) -> None:
    """Every data set: what it is for, how it comes here, and how much of it is here."""
    with reporting():
        from rich.table import Table

        from data_registry.cards import datasets

        folder = _data(folder)
        rows = []
        load_extensions()
        for card in map(datasets.card, datasets.names()):
            paths = [*(file.path for file in card.files), *(pictures.path for pictures in card.pictures)]
            here = sum((folder / card.name / path).exists() for path in paths)
            rows.append((card, here, len(paths)))
        if as_json:
            print_json(
                [
                    {"name": card.name, "title": card.title, "how": card.obtain.how, "here": here, "of": of}
                    for card, here, of in rows
                ]
            )
            return
        table = Table(box=None, padding=(0, 2, 0, 0), expand=True)
        widths = {"name": max(len(card.name) for card, _, _ in rows), "how": 11, "here": 7}
        for heading, width in widths.items():
            table.add_column(heading, width=width)
        table.add_column("in the paper", no_wrap=True, ratio=1)
        for card, here, of in rows:
            table.add_row(card.name, _WAYS[card.obtain.how], f"{here} of {of}" if of else "", card.paper)
        console.print(table)


@app.command()
def info(name: Name, folder: Folder = None, as_json: Json = False) -> None:
    """The card of a data set, and what of it is here. Reads no file's content."""
    with reporting():
        from dataclasses import asdict

        from data_registry.cards import datasets

        folder = _data(folder)
        load_extensions()
        card = datasets.card(name)
        if as_json:
            print_json(asdict(card))
            return
        console.print(f"[bold]{plain(card.title)}[/bold] ({card.name}): {plain(' '.join(card.role.split()))}")
        for label, text in _facts(card):
            console.print(f"[dim]{label:>10}[/dim]  {plain(' '.join(str(text).split()))}", highlight=False)
        for file in card.files:
            size = "size unknown" if file.size is None else _bytes(file.size)
            digest = "SHA-256 unknown" if file.sha256 is None else f"SHA-256 {file.sha256[:12]}…"
            here = "here" if (folder / name / file.path).is_file() else "not here"
            console.print(f"      file  {plain(file.path)}  [dim]{size}, {digest}, {here}[/dim]", highlight=False)
        for pictures in card.pictures:
            here = "here" if (folder / name / pictures.path).is_dir() else "not here"
            files = "number of files unknown" if pictures.files is None else f"{pictures.files:,} files"
            console.print(f"  pictures  {plain(pictures.path)}  [dim]{files}, {here}[/dim]", highlight=False)


@app.command()
def fetch(
    name: Name,
    folder: Folder = None,
    only: Only = "*",
    workers: Annotated[int, typer.Option(min=1, max=64, help="Transfers at the same time.")] = 8,
    as_json: Json = False,
) -> None:
    """Bring what is missing, cut off or altered; go on where a transfer broke."""
    with reporting():
        from data_registry.cards import datasets
        from data_registry.storage import fetch as fetching

        folder = _data(folder)
        load_extensions()
        card = datasets.card(name)
        with _progress(f"fetch {name}", shown=card.obtain.how == "s3") as progress:  # the hub's library shows its own
            files = fetching.fetch(card, folder / name, only, workers, progress, warn)
        print_json(_rows(files)) if as_json else _show(card, folder, files)


@app.command()
def verify(name: Name, folder: Folder = None, only: Only = "*", as_json: Json = False) -> None:
    """Hash every file and compare it with its card, or with the record of its download; ends with 1 if one is wrong."""
    with reporting():
        from data_registry.cards import datasets
        from data_registry.storage import fetch as fetching

        folder = _data(folder)
        load_extensions()
        card = datasets.card(name)
        with _progress(f"verify {name}") as progress:
            files = fetching.verify(card, folder / name, only, progress)
        print_json(_rows(files)) if as_json else _show(card, folder, files)
        if not all(file.usable for file in files):
            raise typer.Exit(EXIT_FAILED)


@app.command()
def annotate(
    name: Annotated[str, typer.Argument(help="Pictures, as annotate.SCALE.each of params.yaml names them.")],
) -> None:
    """Make scenes of in-the-wild pictures: networks see tags, boxes, masks, depth and poses; geometry does the rest."""
    with reporting():
        from flows.designs.plan import annotation_of
        from flows.execution.display import Display
        from flows.execution.flow import run_plan

        wanted = annotation_of(name)
        result = run_plan(root(), wanted, f"annotate {name}", Display(console, "annotate"))
        deliver_pending(wanted)
        summary(result)
        if result.ok:
            annotations = root() / "runs" / settings().scale / "annotate" / name / "annotations.json"
            console.print(str(annotations), highlight=False, soft_wrap=True)
        leave(result)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="train or test (scenes), spatialvqa, or a data set, e.g. 3di-ft1m.")],
    out: Annotated[Path | None, typer.Option(help="The HTML file; default: reports/sheets/NAME.html.")] = None,
    count: Annotated[int, typer.Option(min=1, max=1000, help="Pictures on the sheet.")] = 24,
) -> None:
    """A contact sheet: pictures with 3D boxes and fronts, and the questions made from them."""
    with reporting():
        from data_registry.viewing import sheet
        from flows.cli.sheets import entries

        pictures, note = entries(root(), name, count)
        path = out or root() / "reports" / "sheets" / f"{name}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(sheet.page(name, note, pictures), encoding="utf-8")
        console.print(str(path), highlight=False, soft_wrap=True)


def _data(folder: Path | None) -> Path:
    """The folder of the data sets; a project's own cards are known from here on."""
    if folder is None:
        return settings().root / "data"
    from data_registry.errors import InputError

    try:
        root()
    except InputError:  # such a folder may be filled outside of a project, too
        return folder
    settings()
    return folder


def _facts(card: "Card") -> Iterator[tuple[str, str]]:
    obtain = card.obtain
    yield "paper", card.paper
    yield "source", card.source
    yield "licence", card.license
    yield "format", card.format
    way = {
        "s3": f"S3 bucket {obtain.bucket}, {obtain.credentials}",
        "hub": f"hub {obtain.repo} at {obtain.revision or 'a revision that is not pinned yet'}",
        "folder": obtain.put,
        "made": obtain.put,
    }
    yield "obtain", way[obtain.how]
    if obtain.accept:
        yield "accept at", obtain.accept
    for split, text in card.splits.items():
        yield "split", f"{split}: {text}"
    if card.counts:
        counts = card.counts.items()
        yield "counts", ", ".join(f"{key} {n:,}" if isinstance(n, int) else f"{key} {n}" for key, n in counts)
    for scale, made in card.made.items():
        yield "made", f"{scale}: {made['samples']}, from {made['from']}"
    if card.notes:
        yield "note", card.notes


@contextmanager
def _progress(title: str, shown: bool = True) -> "Iterator[Callable[[int, int], None]]":
    """Bytes done and to come on the terminal, with the time that is left; a function (done, total)."""
    if not shown:
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=errors, transient=True) as display:
        task = display.add_task(title, total=None)
        yield lambda done, total: display.update(task, completed=done, total=total)


def _show(card: "Card", folder: Path, files: list["FileStatus"]) -> None:
    if not files:
        console.print(f"{card.name}: has no files of its own: {plain(card.obtain.put)}", soft_wrap=True)
    for file in files:
        where = plain(str(folder / card.name / file.path))
        detail = f"  [dim]{plain(file.detail)}[/dim]" if file.detail else ""
        color = _COLORS[file.state]
        console.print(f"[{color}]{file.state:>9}[/{color}]  {where}{detail}", highlight=False, soft_wrap=True)


def _rows(files: list["FileStatus"]) -> list[dict[str, str]]:
    return [{"path": file.path, "state": file.state, "detail": file.detail} for file in files]


def _bytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
