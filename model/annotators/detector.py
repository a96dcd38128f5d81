"""Boxes of named things: Grounding DINO or OWLv2, open-vocabulary detectors that are asked for each picture's tags.
Every box is given one of the tags that were asked for, by the model's own scores and not by parsing its words."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from data_registry.errors import InputError
from model.annotators.pictures import IMAGENET, OPENAI_CLIP, batch, load, longest, shortest

_GREY = 0.5  # OWLv2's padding, in pixels of 0..1


class Box(NamedTuple):
    """One box: its tag, the score of the box and of the tag (0..1), and x1, y1, x2, y2 in pixels."""

    name: str
    score: float
    text_score: float
    box: np.ndarray


class Detector:
    """An open-vocabulary detector.

    Args:
        kind: "grounding-dino" or "owlv2".
        network, tokenizer: transformers' own.
        size: shorter side in pixels for Grounding DINO, side of the square for OWLv2.
    """

    def __init__(self, kind: str, network: torch.nn.Module, tokenizer, size: int | None = None):
        self.kind, self.network, self.tokenizer = kind, network, tokenizer
        self.size = size or (800 if kind == "grounding-dino" else network.config.vision_config.image_size)

    @classmethod
    def load(cls, where: str, options: dict, device: str, size: int | None = None) -> "Detector":
        """From a folder or hub repository (`model.backbones.hub.resolve`)."""
        from transformers import AutoTokenizer, GroundingDinoForObjectDetection, Owlv2ForObjectDetection

        classes = {"grounding-dino": GroundingDinoForObjectDetection, "owlv2": Owlv2ForObjectDetection}
        kind, network = load(classes, "detector", where, options)
        return cls(kind, network.to(device), AutoTokenizer.from_pretrained(where, **options), size)

    @torch.no_grad()
    def __call__(
        self, pictures: Sequence[np.ndarray], tags: Sequence[Sequence[str]], least: float, least_text: float
    ) -> list[list[Box]]:
        """Boxes of each picture with a score of at least `least` whose best tag has at least `least_text`."""
        asked = [k for k, names in enumerate(tags) if names]
        detected: list[list[Box]] = [[] for _ in pictures]
        if not asked:
            return detected
        ask = self._grounding_dino if self.kind == "grounding-dino" else self._owlv2
        for k, (scores, texts, boxes) in zip(asked, ask([pictures[k] for k in asked], [tags[k] for k in asked])):
            best = texts.argmax(1)
            limits = np.array(pictures[k].shape[1::-1] * 2, float)
            for i in np.flatnonzero((scores >= least) & (texts.max(1) >= least_text)):
                corners = np.clip(boxes[i], 0, limits)
                detected[k].append(Box(tags[k][best[i]], float(scores[i]), float(texts[i, best[i]]), corners))
        return detected

    def _grounding_dino(self, pictures, tags):
        """(scores (q,), scores of tags (q, t), boxes (q, 4) in pixels) of each picture."""
        device = self.network.device
        pixels, sizes = batch(pictures, shortest(self.size, self.size * 1333 / 800), IMAGENET)
        mask = torch.zeros(len(pixels), *pixels.shape[2:], dtype=torch.long)
        for row, (height, width) in zip(mask, sizes):
            row[:height, :width] = 1
        prompts, spans = zip(*map(_prompt, tags), strict=True)
        texts = self.tokenizer(
            list(prompts), padding=True, return_tensors="pt", return_offsets_mapping=True, return_token_type_ids=True
        )
        offsets = texts.pop("offset_mapping")
        if texts["input_ids"].shape[1] > self.network.config.max_text_len:
            raise InputError(
                f"annotate: {texts['input_ids'].shape[1]} tokens of tags for one picture, the detector takes "
                f"{self.network.config.max_text_len}; lower params.yaml: annotate.*.tags.most"
            )
        output = self.network(
            pixel_values=pixels.to(device), pixel_mask=mask.to(device), **{k: v.to(device) for k, v in texts.items()}
        )
        probability = output.logits.sigmoid().cpu().numpy()
        for row, boxes, picture, marks, place in zip(
            probability, output.pred_boxes.cpu().numpy(), pictures, offsets, spans, strict=True
        ):
            # a tag's score is that of its best token, as the box's is that of its best token of all
            columns = [
                [i for i, (a, b) in enumerate(marks.tolist()) if a < b and start <= a and b <= end]
                for start, end in place
            ]  # fmt: skip
            by_tag = np.stack([row[:, c].max(1) for c in columns], 1)
            yield row.max(1), by_tag, _corners(boxes) * np.array(picture.shape[1::-1] * 2)

    def _owlv2(self, pictures, tags):
        device = self.network.device
        mean, std = (np.array(v) for v in OPENAI_CLIP)
        grey = float(((_GREY - mean) / std).mean())
        pixels, _ = batch(pictures, longest(self.size), OPENAI_CLIP, grey, self.size)
        most = max(map(len, tags))
        texts = self.tokenizer(
            [f"a photo of a {name}" for names in tags for name in [*names, *[""] * (most - len(names))]],
            padding="max_length", max_length=self.network.config.text_config.max_position_embeddings, truncation=True,
            return_tensors="pt",
        )  # fmt: skip
        ids, attention = texts["input_ids"].to(device), texts["attention_mask"].to(device)
        output = self.network(pixel_values=pixels.to(device), input_ids=ids, attention_mask=attention)
        probability = output.logits.sigmoid().cpu().numpy()
        for row, boxes, picture, names in zip(
            probability, output.pred_boxes.cpu().numpy(), pictures, tags, strict=True
        ):
            by_tag = row[:, : len(names)]
            yield by_tag.max(1), by_tag, _corners(boxes) * max(picture.shape[:2])  # shares of the padded square


def _prompt(names: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """ "car. red dog." and where each name stands in it."""
    text, spans = "", []
    for name in names:
        start = len(text)
        text += f"{name.lower()}. "
        spans.append((start, start + len(name)))
    return text.strip(), spans


def _corners(boxes: np.ndarray) -> np.ndarray:
    """x1, y1, x2, y2 of centre x, y, width, height."""
    middle, size = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([middle - size / 2, middle + size / 2], 1)
