"""params.yaml holds what every stage needs, at every scale it has: all keys known, none missing, each of its type."""

import importlib
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest

from data_registry.errors import InputError
from data_registry.questions.geometry import Margins
from tasks.data import kind_of
from tasks.identity import settings
from tasks.pretraining.hub import HubParams
from tasks.stage.harness import StageRun
from tasks.stages import STAGES
from tasks.training import machine

ROOT = Path(__file__).parents[3]
REVISION = "0" * 40
PARAMS = settings.read_yaml(ROOT / settings.PARAMS_FILE)


def sections(stage: str, scale: str) -> dict[str, dict]:
    """{name: parameters}, with `common` and `each` joined as the harness does."""
    section = PARAMS[stage][scale]
    if "each" not in section:
        return {stage: section}
    return {name: {**section["common"], **own} for name, own in section["each"].items()}


def kind(stage: str, name: str, values: dict) -> type:
    module = importlib.import_module(f"tasks.{stage}")
    return module.params_kind(name, values) if stage == "foundation" else module.Params


def test_the_runtime_section_is_known():
    assert settings.Settings(ROOT, PARAMS, {}).runtime == PARAMS["runtime"]


@pytest.mark.parametrize("scale", ["tiny", "small", "paper"])
@pytest.mark.parametrize("stage", STAGES)
def test_every_section_parses(stage, scale):
    if stage in ("pose", "annotate") and scale == "small":
        assert scale not in PARAMS[stage], "they need DINOv2, which has no small version"
        return
    for name, values in sections(stage, scale).items():
        if stage == "annotate":
            networks = values["networks"].items()  # a revision may be left open; the stage refuses to guess
            values = {
                **values,
                "networks": {k: {**one, "revision": one["revision"] or REVISION} for k, one in networks},
            }
        assert settings.parse(kind(stage, name, values), values, f"{stage}.{scale}.{name}")


@pytest.mark.parametrize("scale", ["tiny", "small", "paper"])
def test_what_questions_depend_on_is_here_and_not_left_to_defaults(scale):
    margins = {field.name for field in fields(Margins)}
    assert all(margins == set(section["margins"]) for section in sections("data", scale).values())
    assert margins == set(PARAMS["benchmark"][scale]["margins"])
    for name, values in sections("data", scale).items():
        stated = {field.name for field in fields(kind_of(name).made()[0])} - {"further"}  # by default there are no more
        assert stated == set(values["recipe"]), name


def test_a_hub_model_needs_a_commit():
    values = {"repo": "facebook/vit-mae-large", "revision": "main"}
    with pytest.raises(InputError, match=r"revision 'main' of facebook/vit-mae-large is no commit; write the 40 hex"):
        settings.parse(HubParams, values, "params.yaml: foundation.paper.mae")


def test_paper_scale_trains_by_the_published_recipe():
    """LLaVA v1.5: batch 256 and 1e-3 for the connector, batch 128 and 2e-5 for the whole."""
    align, instruct = PARAMS["align"]["paper"], PARAMS["instruct"]["paper"]
    assert (align["global_batch"], align["lr"], align["zero_stage"]) == (256, 1e-3, 2)
    assert (instruct["global_batch"], instruct["lr"], instruct["zero_stage"]) == (128, 2e-5, 3)


@pytest.mark.parametrize(("scale", "said", "expected"), [
    ("tiny", None, False), ("paper", None, True), ("tiny", True, True), ("paper", False, False),
])  # fmt: skip
def test_activations_are_recomputed_at_paper_scale_unless_said_otherwise(tmp_path, scale, said, expected):
    run = StageRun(scale, "instruct", "x", {}, {}, 0, tmp_path, tmp_path, runtime={"gradient_checkpointing": said})
    assert machine.machine_of(run).gradient_checkpointing == expected


@pytest.mark.parametrize(("scale", "device", "gib", "said", "expected"), [
    ("tiny", "cpu", 0, None, 8), ("small", "cpu", 0, None, 8), ("paper", "cuda", 79, None, 8),
    ("small", "cuda", 79, 4, 4), ("small", "cuda", 15, None, 32), ("small", "cuda", 79, None, 96),
])  # fmt: skip
def test_a_gpu_gets_as_many_rows_of_the_small_scale_as_it_holds(
    tmp_path, monkeypatch, scale, device, gib, said, expected
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: device == "cuda")
    card = SimpleNamespace(total_memory=gib * 2**30)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: card)
    runtime = {"device": device, "batch_per_device": said}
    run = StageRun(scale, "instruct", "x", {}, {}, 0, tmp_path, tmp_path, runtime=runtime)
    assert machine.machine_of(run).per_device_batch == expected


def test_the_published_lora_variant_is_offered_where_models_are_large_and_absent_at_tiny_scale():
    """LLaVA v1.5's finetune_lora.sh; a key at tiny scale would change the identity of what is there."""
    for scale in ("small", "paper"):
        section = PARAMS["instruct"][scale]
        assert (section["lora"], section["lora_alpha"], section["lora_lr"]) == (0, 256, 2e-4)
    assert not any(key.startswith("lora") for key in PARAMS["instruct"]["tiny"])


def test_every_model_of_a_scale_says_where_its_weights_come_from():
    from model.zoo import ENCODERS, LLMS

    for scale in ("tiny", "small", "paper"):
        known = {name for table in (ENCODERS, LLMS) for name, scales in table.items() if scale in scales}
        assert set(PARAMS["foundation"][scale]["each"]) == known, scale
