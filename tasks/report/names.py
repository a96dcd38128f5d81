"""What reports call a design, its parts and its data: names as the paper prints them.
Those of encoders and LLMs are in model/zoo.py, those of data sets on their cards."""

from typing import Any

from data_registry.cards import datasets
from data_registry.paper import TABLE_2
from model import zoo

LABELS = {row.row: row.label for row in TABLE_2}
_LOSSES = {"clip": "CLIP loss", "ntp": "next-token loss"}


def printed(name: str) -> str:
    """The title of an encoder, an LLM or a data set; another name as it is."""
    return zoo.title(name) or (datasets.card(name).title if name in datasets.names() else name)


def kind(design: dict[str, Any]) -> str:
    """ "informed" for a design that saw 3D-informed data at any stage, else "plain": the paper's orange and blue."""
    stage0 = str(design.get("stage0") or "").rpartition("-")[0]
    data = {stage0, *design.get("stage1", []), *design.get("stage2", [])} & set(datasets.names())
    return "informed" if any(datasets.card(name).spatial_3d for name in data) else "plain"


def parts(design: dict[str, Any]) -> dict[str, str]:
    """A design's parts in the paper's spelling: encoders, llm, stage0, stage1, stage2; "–" for none."""

    def spell(value: Any) -> str:
        if not value:
            return "–"
        names = [value] if isinstance(value, str) else list(value)
        return " + ".join(printed(name) for name in names)

    spelled = {key: spell(design.get(key)) for key in ("encoders", "llm", "stage0", "stage1", "stage2")}
    if stage0 := design.get("stage0"):
        data, _, objective = str(stage0).rpartition("-")
        spelled["stage0"] = f"{printed(data)}, {_LOSSES.get(objective, objective)}"
    return spelled


def label(row: dict[str, Any]) -> str:
    """What a reader calls the design: its row's label, or its encoders and LLM."""
    if row["row"] in LABELS:
        return LABELS[row["row"]]
    spelled = parts(row["design"])
    return f"{spelled['encoders']} · {spelled['llm']}"
