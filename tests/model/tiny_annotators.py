"""Every annotator's network with tiny random weights, of transformers' real classes, as folders that can be loaded."""

from pathlib import Path

import torch

NAMES = ("car", "dog", "chair", "red bus")


def save_all(folder: Path) -> dict[str, Path]:
    """One folder per network: weights, config and tokenizer."""
    made = {}
    for name, make in MAKERS.items():
        torch.manual_seed(0)
        network, tokenizer = make()
        made[name] = folder / name
        network.eval().save_pretrained(made[name])
        if tokenizer is not None:
            tokenizer.save_pretrained(made[name])
    return made


def _bert_tokenizer():
    """Word pieces with BERT's ids for [CLS], [SEP], full stop and question mark, which Grounding DINO counts on."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", *[f"[unused{k}]" for k in range(99)], "[UNK]", "[CLS]", "[SEP]"]
    words += [f"[gap{k}]" for k in range(len(words), 1012)] + ["."]
    words += [f"[gap{k}]" for k in range(len(words), 1029)] + ["?", "car", "dog", "chair", "red", "bus", "##s"]
    made = Tokenizer(models.WordPiece({w: k for k, w in enumerate(words)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 101), ("[SEP]", 102)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def _word_tokenizer(length: int):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<unk>", "this", "is", "a", "photo", "of", ".", "car", "dog", "chair", "red", "bus"]
    made = Tokenizer(models.WordLevel({w: k for k, w in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", unk_token="<unk>", model_max_length=length)


_SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}


def _siglip():
    from transformers import SiglipConfig, SiglipModel

    text = _SMALL | {"vocab_size": 20, "max_position_embeddings": 16, "projection_size": 32}
    vision = _SMALL | {"image_size": 32, "patch_size": 8}
    return SiglipModel(SiglipConfig(text_config=text, vision_config=vision)), _word_tokenizer(16)


def _grounding_dino():
    from transformers import BertConfig, GroundingDinoConfig, GroundingDinoForObjectDetection, SwinConfig

    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            image_size=64, patch_size=4, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[2, 2, 2, 2], window_size=4,
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=BertConfig(**_SMALL, vocab_size=1100, max_position_embeddings=64),
        d_model=64, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, num_queries=12, max_text_len=32, disable_custom_kernels=True,
    )  # fmt: skip
    return GroundingDinoForObjectDetection(config), _bert_tokenizer()


def _owlv2():
    from transformers import Owlv2Config, Owlv2ForObjectDetection

    text = _SMALL | {"vocab_size": 20, "max_position_embeddings": 8}
    vision = _SMALL | {"image_size": 64, "patch_size": 16}
    return Owlv2ForObjectDetection(Owlv2Config(text_config=text, vision_config=vision, projection_dim=32)), (
        _word_tokenizer(8)
    )


def _sam():
    from transformers import SamConfig, SamModel

    vision = {
        "hidden_size": 32, "output_channels": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64,
        "patch_size": 8, "mlp_dim": 48, "window_size": 4, "global_attn_indexes": [1], "num_pos_feats": 8,
    }  # fmt: skip
    prompt = {"hidden_size": 16, "image_size": 64, "patch_size": 8, "image_embedding_size": 8, "mask_input_channels": 4}
    decoder = {"hidden_size": 16, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
    return SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)), None


def _sam2():
    from transformers import Sam2Config, Sam2HieraDetConfig, Sam2Model, Sam2VisionConfig

    backbone = Sam2HieraDetConfig(
        hidden_size=8, num_attention_heads=1, image_size=[64, 64], blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64], num_attention_heads_per_stage=[1, 2, 2, 2],
        window_size_per_stage=[4, 4, 2, 2], global_attention_blocks=[3],
        window_positional_embedding_background_size=[4, 4],
    )  # fmt: skip
    vision = Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=[64, 32, 16, 8], fpn_hidden_size=16,
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
    )  # fmt: skip
    config = Sam2Config(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": 16, "image_size": 64, "patch_size": 16, "mask_input_channels": 4},
        mask_decoder_config={"hidden_size": 16, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16},
    )
    return Sam2Model(config), None


def _depth_pro():
    from transformers import DepthProConfig, DepthProForDepthEstimation

    vision = {
        "model_type": "dinov2", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2,
        "image_size": 32, "patch_size": 8, "use_swiglu_ffn": False,
    }  # fmt: skip
    config = DepthProConfig(
        fusion_hidden_size=16, patch_size=32, intermediate_hook_ids=[1, 0], intermediate_feature_dims=[16, 8],
        scaled_images_ratios=[0.5, 1.0], scaled_images_overlap_ratios=[0.0, 0.25], scaled_images_feature_dims=[32, 16],
        merge_padding_value=1, use_fov_model=True, num_fov_head_layers=1, image_model_config=vision,
        patch_model_config=vision, fov_model_config=vision,
    )  # fmt: skip
    network = DepthProForDepthEstimation(config)
    torch.nn.init.constant_(network.fov_model.head.layers[-1].bias, 60)  # degrees
    return network, None


def _depth_anything():
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    config = DepthAnythingConfig(
        backbone_config=Dinov2Config(
            hidden_size=32, num_hidden_layers=4, num_attention_heads=2, mlp_ratio=2, image_size=56, patch_size=14,
            out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False,
        ),
        reassemble_hidden_size=32, reassemble_factors=[4, 2, 1, 0.5], neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=8, head_hidden_size=8, patch_size=14, depth_estimation_type="metric", max_depth=20,
    )  # fmt: skip
    return DepthAnythingForDepthEstimation(config), None


MAKERS = {
    "siglip": _siglip, "grounding-dino": _grounding_dino, "owlv2": _owlv2, "sam": _sam, "sam2": _sam2,
    "depth_pro": _depth_pro, "depth_anything": _depth_anything,
}  # fmt: skip
