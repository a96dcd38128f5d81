"""Contact sheets for people: an HTML page of pictures with 3D boxes and fronts, and what is asked or said about them.
One file with the pictures inside, so that it can be sent and opened anywhere."""

import base64
import html
import io
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from data_registry import conversations
from data_registry.benchmark import spatialvqa
from data_registry.benchmark.spatialvqa import Question
from data_registry.readers import omni3d
from data_registry.scene import Scene
from data_registry.storage.shards import Images
from data_registry.viewing import show

LEGEND = "Red: the front of a box; green: where it faces; grey: a region that was left out of the annotation."
_LEAST = 320  # pixels that a drawn picture is wide; photographs are as they are (`show.readable`)
_WIDE = 640  # from here on a picture has a row of the page for itself
_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 1.5rem; color: #222; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 1.2rem; }
figure { margin: 0; } figure img { width: 100%; image-rendering: pixelated; } figcaption p { margin: .3rem 0; }
figure.wide { grid-column: 1 / -1; } figure.wide img { width: auto; max-width: 100%; image-rendering: auto; }
.right { font-weight: 600; } .key { color: #777; font-size: 12px; word-break: break-all; }
"""


class Entry(NamedTuple):
    """One picture of a sheet: the drawing, its key, and lines of HTML about it."""

    picture: Image.Image
    key: str
    lines: list[str]


def page(title: str, note: str, entries: Iterable[Entry]) -> str:
    """The sheet as one HTML document."""
    figures = []
    for entry in entries:
        data = io.BytesIO()
        entry.picture.convert("RGB").save(data, "JPEG", quality=88)
        source = f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
        lines = "".join(f"<p>{line}</p>" for line in entry.lines)
        key = html.escape(entry.key)
        wide = ' class="wide"' if entry.picture.width >= _WIDE else ""
        figures.append(
            f'<figure{wide}><img src="{source}" alt="{key}">'
            f'<figcaption><p class="key">{key}</p>{lines}</figcaption></figure>'
        )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1><p>{html.escape(note)}</p>"
        f"<main>{''.join(figures)}</main></html>\n"
    )


def of_scenes(folder: Path, images: Images, count: int) -> list[Entry]:
    """The first scenes of a folder with annotations.json."""
    return [
        Entry(_drawn(scene, images), scene.image, _objects(scene))
        for scene in islice(omni3d.read(folder / "annotations.json"), count)
    ]


def of_benchmark(questions: Iterable[Question], scenes: Iterable[Scene], images: Images, count: int) -> list[Entry]:
    """The first images of a benchmark with all their questions; the right option is set in bold."""
    asked: dict[str, list[Question]] = {}
    for q in questions:
        asked.setdefault(q.image, []).append(q)
    wanted = dict(islice(asked.items(), count))
    entries = {}
    for scene in scenes:
        if scene.image in wanted:
            lines = [line for q in wanted[scene.image] for line in _question(q)]
            entries[scene.image] = Entry(_drawn(scene, images), scene.image, lines)
    return [entries[key] for key in wanted if key in entries]


def of_conversations(path: Path, scenes: Path, images: Images, count: int) -> list[Entry]:
    """The first conversations with an image of a data set, beside the scenes that they are about."""
    records = [r for r in islice(conversations.read(path), 20 * count) if r["image"] is not None][:count]
    wanted = {r["image"] for r in records}
    drawn = {}
    if (scenes / "annotations.json").exists():
        drawn = {s.image: _drawn(s, images) for s in _among(scenes, wanted)}
    entries = []
    for record in records:
        key = record["image"]
        lines = []
        for human, gpt in conversations.pairs(record):
            lines.append(html.escape(human).replace("\n", "<br>"))
            lines.append(f'<span class="right">{html.escape(gpt)}</span>')
        entries.append(Entry(drawn.get(key) or _plain(images[key]), key, lines))
    return entries


def write_benchmark(path: Path, folder: Path, scenes: Path, images: Images, count: int) -> None:
    """Write the contact sheet of a benchmark's folder."""
    questions = spatialvqa.read(folder / "questions.parquet")
    entries = of_benchmark(questions, omni3d.read(scenes / "annotations.json"), images, count)
    note = f"{len(entries)} of {len({q.image for q in questions})} pictures. {LEGEND}"
    path.write_text(page("SpatialVQA", note, entries), encoding="utf-8")


def _among(folder: Path, wanted: set[str]) -> Iterable[Scene]:
    left = len(wanted)
    for scene in omni3d.read(folder / "annotations.json"):
        if scene.image in wanted:
            yield scene
            left -= 1
            if not left:
                return


def _objects(scene: Scene) -> list[str]:
    lines = []
    for obj in scene.objects:
        color = f"{obj.color} " if obj.color else ""
        place = "" if obj.center is None else f", {np.linalg.norm(obj.center):.1f} m away"
        lines.append(html.escape(f"{color}{obj.name}{place}{'' if obj.front is None else ', with a front'}"))
    return lines


def _question(q: Question) -> list[str]:
    options = [
        f'<span class="right">{letter}. {html.escape(text)}</span>'
        if k == q.answer
        else f"{letter}. {html.escape(text)}"
        for k, (letter, text) in enumerate(zip(conversations.LETTERS, q.options, strict=False))
    ]
    return [f"{html.escape(q.question)} <small>({q.type})</small><br>{' &nbsp; '.join(options)}"]


def _plain(rgb: np.ndarray) -> Image.Image:
    return show.resized(rgb, show.readable(rgb.shape[1], _LEAST))


def _drawn(scene: Scene, images: Images) -> Image.Image:
    rgb = images[scene.image]
    return show.picture(scene, rgb, show.readable(rgb.shape[1], _LEAST))
