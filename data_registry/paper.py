"""What the paper reports, as data: SpatialVQA's size, Table 1 (other models) and Table 2 (the ten designs).
Accuracies are in percent, as printed."""

from dataclasses import dataclass

# Worked out, not printed: with these class sizes Avg is the mean over questions in 15 of the 16 rows (within 0.06).
BENCHMARK = {"questions": 1323, "distance": 420, "orientation": 367, "relation": 536}
CLASSES = ("distance", "orientation", "relation")


@dataclass(frozen=True, slots=True)
class Accuracy:
    """SpatialVQA accuracy in percent: over all questions, and by class."""

    average: float
    distance: float
    orientation: float
    relation: float


@dataclass(frozen=True, slots=True)
class PaperRow:
    """A row of Table 2: the design in this project's names, what the row is about, and the accuracy the paper printed.

    Attributes:
        row: 1..10, in the table's order.
        label: what the row changes, as a bar of the roadmap would say it.
        stage0: "" or "<data>-<objective>", objective "clip" (contrastive) or "ntp" (next-token prediction).
        roadmap: one of the five bars of Fig. 6 (the table's non-gray rows).
    """

    row: int
    label: str
    encoders: tuple[str, ...]
    llm: str
    stage0: str
    stage1: tuple[str, ...]
    stage2: tuple[str, ...]
    accuracy: Accuracy
    roadmap: bool = False


_CLIP, _MIXED = ("clip",), ("clip", "dinov2")
_CC, _MIX, _FT = "cc558k", "mix665k", "3di-ft1m"

TABLE_2 = (
    PaperRow(1, "LLaVA baseline", _CLIP, "vicuna-7b", "", (_CC,), (_MIX,), Accuracy(47.7, 50.6, 46.4, 46.2), True),
    PaperRow(2, "+ MAE encoder", ("clip", "mae"), "vicuna-7b", "", (_CC,), (_MIX,), Accuracy(47.9, 52.2, 45.7, 46.1)),
    PaperRow(3, "+ DINOv2 encoder", _MIXED, "vicuna-7b", "", (_CC,), (_MIX,), Accuracy(48.0, 51.9, 46.9, 45.6), True),
    PaperRow(4, "+ larger LLM", _MIXED, "llama3-8b", "", (_CC,), (_MIX,), Accuracy(49.0, 56.3, 51.7, 41.5), True),
    PaperRow(
        5, "+ 3D-informed instruction tuning", _MIXED, "llama3-8b", "", (_CC,), (_MIX, _FT),
        Accuracy(59.7, 85.2, 52.1, 44.8), True,
    ),
    PaperRow(
        6, "conversations in alignment too", _MIXED, "llama3-8b", "", (_CC, _FT), (_MIX, _FT),
        Accuracy(57.5, 80.8, 46.9, 46.4),
    ),
    PaperRow(
        7, "OpenImages probing in alignment", _MIXED, "llama3-8b", "", (_CC, "3di-pb-oi1m"), (_MIX, _FT),
        Accuracy(60.0, 82.1, 46.9, 51.6),
    ),
    PaperRow(
        8, "+ 3D-informed alignment", _MIXED, "llama3-8b", "", (_CC, "3di-pb-in166k"), (_MIX, _FT),
        Accuracy(62.7, 86.3, 52.9, 51.0), True,  # Table 1 prints 50.8 as the last figure of the same model
    ),
    PaperRow(
        9, "encoder adapted, contrastive loss", _MIXED, "llama3-8b", "3di-pb-oi1m-clip",
        (_CC, "3di-pb-in166k"), (_MIX, _FT),
        Accuracy(60.3, 85.0, 50.5, 47.5),
    ),
    PaperRow(
        10, "encoder adapted, next-token loss", _MIXED, "llama3-8b", "3di-pb-oi1m-ntp",
        (_CC, "3di-pb-in166k"), (_MIX, _FT),
        Accuracy(62.6, 85.2, 52.9, 51.5),
    ),
)  # fmt: skip

TABLE_1 = {
    "GPT-4o": Accuracy(54.0, 59.4, 52.4, 50.8),
    "GPT-4o mini": Accuracy(45.4, 46.9, 39.3, 48.5),
    "Claude 3.5 Sonnet": Accuracy(49.3, 50.8, 44.5, 51.5),
    "LLaVA-NeXT-8B": Accuracy(50.6, 63.5, 49.2, 41.5),
    "Cambrian-8B": Accuracy(51.7, 59.8, 46.4, 48.9),
    "SpatialVLM-13B": Accuracy(52.2, 64.3, 48.5, 45.8),  # its own columns imply 52.4
}
