"""The large multimodal model: frozen encoders, connector, LLM, on transformers' own classes.
LLaVA's architecture (`haotian-liu/LLaVA:llava/model/llava_arch.py`) with several encoders mixed on a common grid."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from data_registry.errors import InputError
from model.backbones.encoders import VisionEncoder, rebuild_encoder
from model.configuration import SpatialLLMConfig
from model.connector import NormedMLPConnector, build_connector, connect
from model.layers import attention, rotary  # noqa: F401 - importing it puts it in its place
from model.layers.norms import use_autocast_norms


class SpatialLLMForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """Answers questions about an image.

    Modules: `encoders` (by name, may be empty), `connector` (None without encoders), `language_model`.
    """

    config_class = SpatialLLMConfig
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True
    _no_split_modules = ["LlamaDecoderLayer"]  # noqa: RUF012
    # With ZeRO, whose collectives wait for every gradient on every rank, a batch without images gives the connector a
    # gradient of zero. Elsewhere it gives none, and the optimizer leaves the connector alone.
    every_parameter_takes_part = False

    def __init__(self, config: SpatialLLMConfig):
        super().__init__(config)
        self.encoders = nn.ModuleDict({encoder["name"]: rebuild_encoder(encoder) for encoder in config.encoders})
        self.language_model = AutoModelForCausalLM.from_config(
            config.text_config, attn_implementation=attention.IMPLEMENTATION
        )
        use_autocast_norms(self.language_model)
        self.connector = None
        if self.encoders:
            widths = [encoder.width for encoder in self.encoders.values()]
            self.connector = build_connector(config.connector, widths, config.text_config.hidden_size, config.mixing)
        self.post_init()

    @classmethod
    def assemble(
        cls,
        encoders: Sequence[VisionEncoder],
        language_model: PreTrainedModel,
        image_token_id: int,
        template: str,
        system: str = "",
        mixing: str = "channel",
        connector: str = "mlp2x_gelu",
        seed: int = 0,
    ) -> "SpatialLLMForConditionalGeneration":
        """A model of pretrained parts and a new connector; the common grid is the finest of the encoders'."""
        language_model.config.name_or_path = ""  # the folder it came from is no part of what is made of it
        config = SpatialLLMConfig(
            text_config=language_model.config,
            encoders=[encoder.describe() for encoder in encoders],
            mixing=mixing,
            connector=connector,
            grid=max((encoder.grid for encoder in encoders), default=0),
            image_token_id=image_token_id,
            template=template,
            system=system,
        )
        model = cls._bare(config)
        language_model.set_attn_implementation(attention.IMPLEMENTATION)
        use_autocast_norms(language_model)
        model.encoders = nn.ModuleDict({encoder.name: encoder for encoder in encoders})
        model.language_model = language_model
        if encoders:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                widths = [encoder.width for encoder in encoders]
                model.connector = build_connector(connector, widths, config.text_config.hidden_size, mixing)
            words = language_model.get_input_embeddings().weight
            for module in model.connector.modules():
                if isinstance(module, NormedMLPConnector):
                    module.match(words)
        return model

    @classmethod
    def _bare(cls, config: SpatialLLMConfig) -> "SpatialLLMForConditionalGeneration":
        """Everything but the parts: they are put in whole, so that no random weights are drawn for them."""
        with torch.device("meta"):
            return cls(config)

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        return self.language_model.get_output_embeddings()

    def get_decoder(self) -> nn.Module:
        return self.language_model.get_decoder()

    def encode_images(self, pixel_values: torch.Tensor) -> list[torch.Tensor]:
        """Raw features of each encoder, without gradients unless an encoder is being adapted.

        Args:
            pixel_values: (n, 3, s, s), uint8 or 0..1.

        Returns:
            One (n, g * g, width) per encoder: what the feature cache keeps.
        """
        adapted = any(p.requires_grad for p in self.encoders.parameters())
        with torch.set_grad_enabled(adapted and torch.is_grad_enabled()):
            features = [encoder(pixel_values) for encoder in self.encoders.values()]
        # Frozen features are rounded as the cache rounds them, so that a run is the same with and without it.
        return features if adapted else [feature.half() for feature in features]

    def connect(self, image_features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Image tokens (n, config.image_tokens, hidden) in the LLM's space from raw features of each encoder."""
        if len(image_features) != len(self.encoders):
            raise InputError(f"features of {len(image_features)} encoders for a model with {list(self.encoders)}")
        dtype = _working_dtype(next(self.connector.parameters()))
        features = [feature.to(dtype) for feature in image_features]
        return connect(self.connector, features, self.config.mixing, self.config.grid)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        image_features: Sequence[torch.Tensor] | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values=None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        label_positions: torch.Tensor | None = None,
        label_weights: torch.Tensor | None = None,
        prefix_length: int | None = None,
        turns: int | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs,
    ) -> CausalLMOutputWithPast:
        """Loss or logits of a batch.

        Args:
            input_ids: (n, L) with config.image_tokens placeholders for each image.
            pixel_values: (images, 3, s, s) of the images in reading order, or
            image_features: the raw features of each encoder for them, as `encode_images` gives.
            attention_mask: (n, L), 0 where padded; not needed where padding comes after all else.
            labels: (k,) target ids with `label_positions` (k,), flat indices of the states that predict them; or
                (n, L) with -100 where ignored, as usual. The LM head runs on the needed states only.
            label_weights: (k,) of each target in the loss; all 1 by default.
            prefix_length, turns: the layout of isolated turns (`model/layers/attention.py`).
            num_items_in_batch: what the summed loss is divided by (default: the sum of its own targets' weights).

        Returns:
            With labels the loss and no logits; otherwise logits (n, kept, vocabulary).
        """
        if labels is not None:
            self._spare_cache(kwargs)
        outputs = self._decode(
            input_ids,
            pixel_values,
            image_features,
            attention_mask,
            inputs_embeds,
            prefix_length,
            turns,
            position_ids=position_ids,
            past_key_values=past_key_values,
            **kwargs,
        )
        hidden = outputs.last_hidden_state
        loss = logits = None
        if labels is not None:
            loss = self._loss(hidden, labels, label_positions, label_weights, num_items_in_batch)
        else:
            kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
            logits = self.get_output_embeddings()(hidden[:, kept])
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=outputs.past_key_values)

    def prepare_inputs_for_generation(self, *args, is_first_iteration: bool = False, **kwargs):
        """Images go in with the prompt only; afterwards they are in the KV cache."""
        inputs = super().prepare_inputs_for_generation(*args, is_first_iteration=is_first_iteration, **kwargs)
        if not is_first_iteration and kwargs.get("use_cache", True):
            inputs.pop("pixel_values", None)
            inputs.pop("image_features", None)
        return inputs

    def hidden_states(
        self,
        input_ids: torch.Tensor,
        pixel_values: torch.Tensor | None = None,
        image_features: Sequence[torch.Tensor] | None = None,
        attention_mask: torch.Tensor | None = None,
        prefix_length: int | None = None,
        turns: int | None = None,
        **kwargs,
    ) -> torch.Tensor:
        """Last hidden states (n, L, hidden), for a head that runs on a few of them; arguments as in `forward`."""
        self._spare_cache(kwargs)
        return self._decode(
            input_ids, pixel_values, image_features, attention_mask, None, prefix_length, turns, **kwargs
        ).last_hidden_state

    def _spare_cache(self, kwargs: dict[str, Any]) -> None:
        """No KV cache where nobody goes on from it: a Llama copies all keys and values into one, in training too.

        A CPU's products read those copies, and its results are kept.
        """
        if self.device.type != "cpu":
            kwargs.setdefault("use_cache", False)

    def _decode(
        self, input_ids, pixel_values, image_features, attention_mask, inputs_embeds, prefix_length, turns, **kwargs
    ):
        if inputs_embeds is None:
            inputs_embeds = self._embed(input_ids, pixel_values, image_features)
        if turns is not None:
            kwargs |= {"prefix_length": prefix_length, "turns": turns}
            # The layout says all; a 4D mask keeps transformers from building one of L² (it passes 4D ones through).
            attention_mask = inputs_embeds.new_zeros(1, 1, 1, 1)
        return self.get_decoder()(inputs_embeds=inputs_embeds, attention_mask=attention_mask, **kwargs)

    def _embed(self, input_ids, pixel_values, image_features) -> torch.Tensor:
        holes = input_ids == self.config.image_token_id
        embeds = self.get_input_embeddings()(input_ids.masked_fill(holes, 0))
        if pixel_values is not None:
            image_features = self.encode_images(pixel_values)
        if image_features is not None:
            tokens = self.connect(image_features)
            if tokens.shape[0] * tokens.shape[1] != int(holes.sum()):
                raise InputError(
                    f"{int(holes.sum())} image placeholders in the text for {len(tokens)} images of "
                    f"{self.config.image_tokens} tokens each"
                )
            embeds = embeds.masked_scatter(holes[..., None], tokens.to(embeds.dtype))
        elif bool(holes.any()) and len(self.encoders):
            raise InputError("the text has image placeholders but no pixel_values and no image_features were given")
        elif self.every_parameter_takes_part and self.training and self.connector is not None:
            nothing = [embeds.new_zeros(1, 1, encoder.width) for encoder in self.encoders.values()]
            embeds = embeds + 0 * self.connect(nothing).float().sum().to(embeds.dtype)
        # Under autocast the residual stream would stay fp32 and every norm would copy it: half the traffic in bf16.
        return embeds.to(_working_dtype(embeds))

    def _loss(self, hidden, labels, label_positions, label_weights, num_items_in_batch) -> torch.Tensor:
        if label_positions is None:
            flat = torch.full_like(labels, -100)
            flat[:, :-1] = labels[:, 1:]
            label_positions = (flat.flatten() != -100).nonzero().flatten()
            labels = flat.flatten()[label_positions]
        states = hidden.flatten(0, 1).index_select(0, label_positions)
        logits = self.get_output_embeddings()(states).float()
        if label_weights is None:
            total, count = nn.functional.cross_entropy(logits, labels, reduction="sum"), len(labels)
        else:
            losses = nn.functional.cross_entropy(logits, labels, reduction="none")
            total, count = (losses * label_weights).sum(), label_weights.sum()
        return total / (count if num_items_in_batch is None else num_items_in_batch)


def _working_dtype(tensor: torch.Tensor) -> torch.dtype:
    device = tensor.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tensor.dtype


AutoModelForCausalLM.register(SpatialLLMConfig, SpatialLLMForConditionalGeneration, exist_ok=True)
