"""Configuration of the LMM: its encoders, connector and LLM, and how conversations are written for it.
Saved as config.json beside the weights; registered with transformers' AutoConfig."""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from model.connector import tokens_per_image


@strict
class SpatialLLMConfig(PreTrainedConfig):
    """Everything that rebuilds the model without weights.

    Attributes:
        text_config: the LLM's own transformers configuration.
        encoders: one description per encoder (`VisionEncoder.describe`); none for a blind design.
        mixing: how features of several encoders become one sequence (`model/connector.py`).
        connector: kind of connector.
        grid: side of the common grid; an image is grid * grid tokens, times the encoders where they are interleaved.
        image_token_id: placeholder in input_ids; it may lie beyond the LLM's vocabulary, since it is never embedded.
        template, system: conversation template and system text (`model/conversations/templates.py`).
    """

    model_type = "spatialllm"
    sub_configs_defaults = {"text_config": SubConfigSpec(config_class=AutoConfig, model_type="llama")}  # noqa: RUF012

    text_config: dict | PreTrainedConfig | None = None
    encoders: list[dict[str, Any]] | None = None
    mixing: str = "channel"
    connector: str = "mlp2x_gelu"
    grid: int = 24
    image_token_id: int = 32000
    template: str = "vicuna_v1"
    system: str = ""
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        self.encoders = self.encoders or []
        self.tie_word_embeddings = bool(self.text_config.tie_word_embeddings)

    @property
    def image_tokens(self) -> int:
        """Number of tokens of one image."""
        return tokens_per_image(self.mixing, self.grid, len(self.encoders))


AutoConfig.register(SpatialLLMConfig.model_type, SpatialLLMConfig, exist_ok=True)
