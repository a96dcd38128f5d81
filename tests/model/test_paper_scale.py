"""Paper scale on paper: every row of Table 2 builds on the meta device, and parameters, memory and hours agree with
models of the real classes, with published counts and with published hours."""

import functools
from dataclasses import asdict

import pytest
import torch

from data_registry.errors import InputError
from data_registry.paper import TABLE_2
from model import paper_scale
from model.zoo import ARCHITECTURES, ENCODERS, LLMS

# Published: safetensors' parameter counts on the models' pages.
LLM_COUNTS = {"vicuna-7b": 6_738_415_616, "llama3-8b": 8_030_261_248, "qwen3-8b": 8_190_735_360}


@functools.cache
def on_meta(encoders: tuple[str, ...], llm: str, mixing: str = "channel"):
    from transformers import AutoConfig

    from model.configuration import SpatialLLMConfig
    from model.modeling import SpatialLLMForConditionalGeneration

    described = [{"name": e, "spec": asdict(ENCODERS[e]["paper"]), "vision": dict(ARCHITECTURES[e])} for e in encoders]
    config = SpatialLLMConfig(
        text_config=AutoConfig.for_model(**ARCHITECTURES[llm]),
        encoders=described,
        grid=paper_scale.grid_of(encoders),
        mixing=mixing,
    )
    with torch.device("meta"):
        return SpatialLLMForConditionalGeneration(config)


def count(module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("row", TABLE_2, ids=lambda row: str(row.row))
def test_every_row_builds_at_paper_scale_with_the_parameters_it_should_have(row):
    model = on_meta(row.encoders, row.llm)
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert model.config.image_tokens == 576
    found = paper_scale.sizes(row.encoders, row.llm)
    assert {name: count(encoder) for name, encoder in model.encoders.items()} == found.encoders
    assert (count(model.connector), count(model.language_model)) == (found.connector, found.llm)
    assert count(model) == found.total
    assert count(model.get_input_embeddings()) == found.embedding


def test_models_beside_the_papers_build_too():
    model = on_meta(("clip", "siglip2"), "qwen3-8b", "interleave")
    assert model.config.image_tokens == 2 * 27 * 27
    found = paper_scale.sizes(("clip", "siglip2"), "qwen3-8b")
    assert {name: count(encoder) for name, encoder in model.encoders.items()} == found.encoders
    assert count(model.language_model) == found.llm


def test_parameters_are_the_published_ones():
    assert {name: paper_scale.llm_parameters(name) for name in LLM_COUNTS} == LLM_COUNTS
    assert set(LLM_COUNTS) == {name for name, scales in LLMS.items() if "paper" in scales}
    for name in ("clip", "dinov2", "mae"):  # ViT-L: 0.30 billion each
        assert 303e6 < paper_scale.encoder_parameters(name) < 305e6
    assert 427e6 < paper_scale.encoder_parameters("siglip2") < 429e6
    with pytest.raises(InputError, match=r"no 'vicuna'; did you mean vicuna-7b\?"):
        paper_scale.architecture("vicuna")


def test_adapters_of_the_published_rank_on_the_meta_device():
    from transformers import AutoConfig, AutoModelForCausalLM

    from model.training.adaptation import LLM_LINEARS, Lora, add_lora

    with torch.device("meta"):
        llm = AutoModelForCausalLM.from_config(AutoConfig.for_model(**ARCHITECTURES["vicuna-7b"]))
        adapters = add_lora(llm, Lora(128, 256, 0.05), LLM_LINEARS)
    assert sum(p.numel() for p in adapters) == paper_scale.lora_parameters(ARCHITECTURES["vicuna-7b"], 128)


def test_memory_is_that_of_the_zero_paper():
    """arXiv 1910.02054, Fig. 1: 7.5 billion parameters, all trained, on 64 GPUs (in GB of 10^9 bytes)."""
    n = 7_500_000_000
    found = [
        paper_scale.model_states_gib(n, n, stage, 64, gradient_bytes=2) * paper_scale.GIB / 1e9 for stage in range(4)
    ]
    assert found == pytest.approx([120, 31.4, 16.6, 1.9], abs=0.05)


@pytest.mark.parametrize("row", TABLE_2, ids=lambda row: str(row.row))
def test_memory_per_gpu_of_every_row(row):
    """Stage 1 fits a 40G card by ZeRO-2; a full stage 2 needs ZeRO-3 there, and is out of reach without ZeRO."""
    found = paper_scale.sizes(row.encoders, row.llm)
    tokens = 576 + paper_scale.DIALOGUE_TOKENS
    passing = {b: paper_scale.activations_gib(row.llm, b * tokens, b * paper_scale.DIALOGUE_TOKENS) for b in (4, 16)}

    def states(stage: str, zero: int) -> float:
        return paper_scale.model_states_gib(found.total, found.trained(stage), zero)

    assert states("align", 2) + passing[16] < paper_scale.CARDS_GIB["A100-40G"]
    by_zero = [states("instruct", zero) for zero in range(4)]
    assert by_zero == sorted(by_zero, reverse=True)
    assert by_zero[0] > paper_scale.CARDS_GIB["A100-80G"]
    assert by_zero[3] + passing[16] < paper_scale.CARDS_GIB["A100-80G"]
    assert by_zero[3] + passing[4] < paper_scale.CARDS_GIB["A100-40G"] < by_zero[1] + 2 * passing[16]
    lora = found.trained("instruct", paper_scale.lora_parameters(ARCHITECTURES[row.llm], 128))
    assert paper_scale.model_states_gib(found.total, lora, 2) < by_zero[2]


def test_hours_are_the_published_ones_for_the_baseline_and_follow_the_work_elsewhere():
    def hours(stage, encoders, llm, samples, tokens, **more):
        return paper_scale.gpu_seconds(stage, encoders, llm, samples, tokens, **more) / 3600 / paper_scale.GPUS

    assert hours("align", ("clip",), "vicuna-7b", 558_000, paper_scale.CAPTION_TOKENS) == pytest.approx(3.5)
    assert hours("instruct", ("clip",), "vicuna-7b", 665_000, paper_scale.DIALOGUE_TOKENS) == pytest.approx(10.0)
    for stage in ("align", "instruct"):
        assert 0.15 < paper_scale.utilisation(stage) < 0.6  # a share of the peak that such runs are known to reach
    # A second encoder adds its forward pass: some percent of a 7B model's step.
    one, two = (paper_scale.flops_per_sample("align", e, "vicuna-7b", 30) for e in (("clip",), ("clip", "dinov2")))
    assert 1.01 < two / one < 1.06
    larger = paper_scale.flops_per_sample("instruct", ("clip",), "llama3-8b", 300)
    assert 1.0 < larger / paper_scale.flops_per_sample("instruct", ("clip",), "vicuna-7b", 300) < 8.03 / 6.74
    assert paper_scale.flops_per_sample(
        "instruct", ("clip",), "vicuna-7b", 300, lora=True
    ) < paper_scale.flops_per_sample("instruct", ("clip",), "vicuna-7b", 300)


def test_the_plan_tells_the_same_hours(tmp_path):
    from flows.costs.cost import Costs
    from flows.designs.design import ROWS
    from flows.designs.plan import plan_of

    (tmp_path / "params.yaml").write_text("scale: paper\ninstruct: {paper: {fraction: 1.0, epochs: 1.0}}\n")
    plan = plan_of([ROWS[1]])
    costs = Costs(tmp_path, plan)
    runs = {run.partition("/")[0]: run for run in plan.training_runs()}
    assert costs.seconds(runs["align"]) / 3600 == pytest.approx(3.5)
    assert costs.seconds(runs["instruct"]) / 3600 == pytest.approx(10.0)
    assert costs.gpu_hours(runs.values()) == pytest.approx(8 * 13.5)
