"""Tags: which names of a vocabulary are in a picture, by SigLIP's independent probabilities.
The paper's relatives use RAM++, which transformers does not have; SigLIP is trained for the same yes or no per name."""

from collections.abc import Sequence

import numpy as np
import torch

from model.annotators.pictures import HALF, batch, exactly, load

PROMPT = "This is a photo of a {}."  # as SigLIP's model cards have it
_TOKENS = 64  # SigLIP was trained on texts padded to this length


class Tagger:
    """SigLIP with the embeddings of a vocabulary.

    Args:
        network: `SiglipModel`.
        tokenizer: its own.
        vocabulary: names, as a person says them.
    """

    def __init__(self, network: torch.nn.Module, tokenizer, vocabulary: Sequence[str]):
        self.network, self.vocabulary = network, list(vocabulary)
        self.size = network.config.vision_config.image_size
        length = min(_TOKENS, network.config.text_config.max_position_embeddings)
        texts = tokenizer(
            [PROMPT.format(name) for name in self.vocabulary],
            padding="max_length", max_length=length, truncation=True, return_tensors="pt",
        )  # fmt: skip
        with torch.no_grad():
            device = network.device
            self.texts = _unit(network.text_model(texts["input_ids"].to(device)).pooler_output)

    @classmethod
    def load(cls, where: str, options: dict, vocabulary: Sequence[str], device: str) -> "Tagger":
        """From a folder or hub repository (`model.backbones.hub.resolve`)."""
        from transformers import AutoTokenizer, SiglipModel

        _, network = load({"siglip": SiglipModel}, "tagger", where, options)
        return cls(network.to(device), AutoTokenizer.from_pretrained(where, **options), vocabulary)

    @torch.no_grad()
    def __call__(self, pictures: Sequence[np.ndarray], least: float, most: int) -> list[list[str]]:
        """For each picture the names whose probability is at least `least`, the likeliest first and at most `most`."""
        pixels, _ = batch(pictures, exactly(self.size), HALF)
        images = _unit(self.network.vision_model(pixels.to(self.network.device)).pooler_output)
        logits = images @ self.texts.T * self.network.logit_scale.exp() + self.network.logit_bias
        probability = logits.sigmoid().cpu().numpy()
        order = np.argsort(-probability, axis=1, kind="stable")[:, :most]
        return [
            [self.vocabulary[k] for k in best if row[k] >= least]
            for row, best in zip(probability, order, strict=True)
        ]  # fmt: skip


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True)
