"""Image and question to model inputs, as the Auto classes know it: AutoProcessor and AutoImageProcessor load these.
They write the same tokens and pixels as training and scoring do, because they use the same code."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoProcessor, BatchFeature
from transformers.image_processing_utils import BaseImageProcessor
from transformers.processing_utils import ProcessorMixin

from data_registry.errors import InputError
from model.backbones.images import to_pixels
from model.configuration import SpatialLLMConfig
from model.conversations.samples import IMAGE, SampleEncoder
from model.conversations.templates import build_template

if TYPE_CHECKING:
    from model.modeling import SpatialLLMForConditionalGeneration

Images = Image.Image | Sequence[Image.Image]


class SpatialLLMImageProcessor(BaseImageProcessor):
    """Images to (n, 3, size, size) uint8: padded to a square, never cropped; each encoder normalises for itself.

    Args:
        size: side in pixels, that of the encoder that sees most.
    """

    model_input_names = ["pixel_values"]  # noqa: RUF012

    def __init__(self, size: int = 336, **kwargs: Any):
        super().__init__(**kwargs)
        self.size = size

    def __call__(self, images: Images, **kwargs: Any) -> BatchFeature:
        return self.preprocess(images, **kwargs)

    def preprocess(self, images: Images, **kwargs: Any) -> BatchFeature:
        """`pixel_values` of one or several images."""
        several = [images] if isinstance(images, Image.Image) else list(images)
        pixels = np.stack([to_pixels(image, self.size) for image in several])
        return BatchFeature({"pixel_values": torch.from_numpy(pixels)})


class SpatialLLMProcessor(ProcessorMixin):
    """Questions and their images to inputs of `generate`, padded on the left.

    Args:
        image_processor, tokenizer: what it is made of.
        template, system: the conversation template (`model/conversations/templates.py`).
        image_token_id: the placeholder of an image feature.
        image_tokens: how many an image has; 0 for a blind model.
    """

    def __init__(
        self,
        image_processor: SpatialLLMImageProcessor,
        tokenizer,
        template: str = "vicuna_v1",
        system: str = "",
        image_token_id: int = 32000,
        image_tokens: int = 576,
        chat_template: str | None = None,
    ):
        super().__init__(image_processor, tokenizer, chat_template=chat_template)
        self.template, self.system = template, system
        self.image_token_id, self.image_tokens = image_token_id, image_tokens
        built = build_template(template, tokenizer, system)
        self._encoder = SampleEncoder(built, tokenizer, image_token_id, image_tokens, 1 << 20, True)

    @classmethod
    def of(cls, model: "SpatialLLMForConditionalGeneration", tokenizer) -> "SpatialLLMProcessor":
        """The processor of a model."""
        config = model.config
        size = max((encoder.spec.image_size for encoder in model.encoders.values()), default=0)
        return cls(
            SpatialLLMImageProcessor(size),
            tokenizer,
            config.template,
            config.system,
            config.image_token_id,
            config.image_tokens,
        )

    def __call__(self, images: Images | None = None, text: str | Sequence[str] | None = None, **kwargs: Any):
        """Inputs of a batch of questions.

        Args:
            images: one image for each question, or none at all.
            text: a question or several; a leading <image> mark is understood and not needed.

        Returns:
            input_ids and attention_mask (n, L); with images also pixel_values (n, 3, s, s) uint8.

        Raises:
            InputError: no question, or a number of images that is not that of the questions.
        """
        questions = [text] if isinstance(text, str) else list(text or ())
        several = [images] if isinstance(images, Image.Image) else None if images is None else list(images)
        if not questions:
            raise InputError("processor: no text; give it a question, or a list of them")
        if several is not None and len(several) != len(questions):
            raise InputError(f"processor: {len(several)} images for {len(questions)} questions; each needs its own")
        encode = self._encoder
        rows = [
            encode.prefix(several is not None) + encode.question(question.removeprefix(IMAGE).strip())
            for question in questions
        ]
        length = max(map(len, rows))
        ids = torch.full((len(rows), length), self.tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for r, row in enumerate(rows):
            ids[r, length - len(row) :], mask[r, length - len(row) :] = torch.tensor(row), 1
        pixels = {} if several is None else self.image_processor(several)
        return BatchFeature({"input_ids": ids, "attention_mask": mask, **pixels})


AutoImageProcessor.register(SpatialLLMConfig, image_processor_classes={"pil": SpatialLLMImageProcessor}, exist_ok=True)
AutoProcessor.register(SpatialLLMConfig, SpatialLLMProcessor, exist_ok=True)
