"""params.yaml holds what every stage needs, at every scale it has: all keys known, none missing, each of its type."""

import dataclasses
import importlib
import math
import shutil
import types
import typing
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest

from data_registry.errors import InputError
from data_registry.questions.geometry import Margins
from flows.designs.check import check
from flows.designs.design import ROWS
from flows.designs.plan import plan_of
from tasks.data import kind_of
from tasks.identity import settings
from tasks.identity.parse import parse
from tasks.identity.runtime import Runtime
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


def read(stage: str, name: str, values: dict, where: str) -> object:
    """A section as its stage reads it."""
    module = importlib.import_module(f"tasks.{stage}")
    if hasattr(module, "read_params"):
        return module.read_params(name, values, where)
    return parse(module.Params, values, where)


def test_the_runtime_section_is_known():
    stated = {key: value for key, value in PARAMS["runtime"].items() if value is not None}
    assert settings.Settings(ROOT, PARAMS, {}).runtime == stated


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
        assert read(stage, name, values, f"{stage}.{scale}.{name}")


@pytest.mark.parametrize("scale", ["tiny", "small", "paper"])
def test_what_questions_depend_on_is_here_and_not_left_to_defaults(scale):
    margins = {field.name for field in fields(Margins)}
    assert all(margins == set(section["margins"]) for section in sections("data", scale).values())
    assert margins == set(PARAMS["benchmark"][scale]["margins"])
    for name, values in sections("data", scale).items():
        stated = {field.name for field in fields(kind_of(name).made()[0])} - {"extra"}  # by default there are no more
        assert stated == set(values["recipe"]), name


def test_a_hub_model_needs_a_commit():
    values = {"repo": "facebook/vit-mae-large", "revision": "main"}
    with pytest.raises(InputError, match=r"revision 'main' of facebook/vit-mae-large is no commit; write the 40 hex"):
        parse(HubParams, values, "params.yaml: foundation.paper.mae")


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


def leaves(values: object, path: tuple = ()) -> Iterator[tuple[tuple, object]]:
    """Every value below a section with the keys that lead to it."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield from leaves(value, (*path, key))
    elif isinstance(values, list):
        for place, value in enumerate(values[:2]):  # more are alike: a vocabulary has sixty names
            yield from leaves(value, (*path, place))
    else:
        yield path, values


def changed(values: object, path: tuple, value: object) -> object:
    """The same section with another value there."""
    if not path:
        return value
    copy = list(values) if isinstance(values, list) else dict(values)
    copy[path[0]] = changed(values[path[0]], path[1:], value)
    return copy


def bounds_of(hint: object, path: tuple) -> list[object]:
    """What stands beside the type of the value that some keys of a dataclass lead to."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return [*args[1:], *bounds_of(args[0], path)]
    if origin in (typing.Union, types.UnionType):
        return [mark for each in args if each is not type(None) for mark in bounds_of(each, path)]
    if not path:
        return []
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint, include_extras=True)
        return bounds_of(hints[path[0]], path[1:]) if path[0] in hints else []
    if origin in (list, tuple):
        return bounds_of(args[0], path[1:])
    return bounds_of(args[1], path[1:]) if origin is dict else []


def readings() -> Iterator[tuple[str, type, dict]]:
    """Every section that a stage reads, at every scale, as (its name, what it is read as, its values)."""
    for stage in STAGES:
        for scale in PARAMS[stage]:
            for name, values in sections(stage, scale).items():
                if stage == "annotate":
                    values = changed(values, ("networks", "depth", "revision"), REVISION)
                yield f"{stage}.{scale}.{name}", type(read(stage, name, values, stage)), values
                if recipe := values.get("recipe"):
                    yield f"{stage}.{scale}.{name}.recipe", kind_of(name).made()[0], recipe


READINGS = list(readings())
WRONG = (0, -1, math.nan, math.inf, -math.inf, "x", True, None, [], {})


@pytest.mark.parametrize("where", [where for where, *_ in READINGS])
def test_no_key_takes_what_its_stage_cannot_use(where):
    """0, negative numbers, NaN, infinity and values of another kind: refused with file and key, or within the bounds
    that stand beside the key's type. A number without bounds would pass here, so every number has some."""
    read_as, values = next((read_as, values) for name, read_as, values in READINGS if name == where)
    for path, value in leaves(values):
        if path[0] == "recipe" or value is None:
            continue
        marks = bounds_of(read_as, path)
        assert not isinstance(value, int | float) or isinstance(value, bool) or marks, f"{where}: {path} has no bounds"
        for wrong in WRONG:
            try:
                parse(read_as, changed(values, path, wrong), f"params.yaml: {where}")
            except InputError as error:
                named = str(path[0]) in str(error) or str(path[-1]) in str(error) or wrong is None
                assert named, f"{where}: {path} is not named in: {error}"
            else:
                assert wrong is None or type(wrong) is type(value) or {type(wrong), type(value)} <= {int, float}, (
                    f"{where}: {path} takes {wrong!r}"
                )
                assert not isinstance(wrong, float) or math.isfinite(wrong), f"{where}: {path} takes {wrong!r}"
                assert wrong is None or all(mark.fault(wrong) is None for mark in marks)


@pytest.mark.parametrize(
    ("stage", "key", "value", "says"),
    [
        ("instruct", "global_batch", 0, r"params\.yaml: instruct\.tiny\.global_batch: 0: must be 1 or more"),
        ("instruct", "turns", 0, r"params\.yaml: instruct\.tiny\.turns: 0: must be 1 or more"),
        ("align", "epochs", 0, r"params\.yaml: align\.tiny\.epochs: 0\.0: must be above 0"),
        ("align", "lr", -1e-3, r"params\.yaml: align\.tiny\.lr: -0\.001: must be above 0"),
        ("adapt", "dropout", 1, r"params\.yaml: adapt\.tiny\.dropout: 1\.0: must be at least 0 and below 1"),
        ("score", "bootstrap", 0, r"params\.yaml: score\.tiny\.bootstrap: 0: must be 1 or more"),
        ("instruct", "lr", math.nan, r"params\.yaml: instruct\.tiny\.lr: nan: must be"),
        ("instruct", "optimizer", "adamv", r"params\.yaml: instruct\.tiny\.optimizer: 'adamv' is unknown"),
    ],
)
def test_a_number_out_of_range_is_refused_before_anything_runs(tmp_path, stage, key, value, says):
    """`spatialllm plan`, `run`, `sweep` and `roadmap` all check the plan first."""
    params = changed(PARAMS, (stage, "tiny", key), value)
    plan = plan_of([ROWS[10]]).entries
    shutil.copyfile(ROOT / "dvc.yaml", tmp_path / "dvc.yaml")
    with pytest.raises(InputError, match=says):
        check(settings.Settings(tmp_path, params, plan))


RUNTIMES = [
    ({"slots": 0}, r"runtime\.slots: 0: must be 1 or more"),
    ({"gpus": -1}, r"runtime\.gpus: -1: must be 0 or more"),
    ({"threads": "two"}, r"runtime\.threads: expected a whole number, found 'two'"),
    ({"lease_s": 0}, r"runtime\.lease_s: 0\.0: must be 1 or more"),
    ({"max_failed": 2}, r"runtime\.max_failed: 2\.0: must be from 0 to 1"),
    ({"dollars_per_hour": math.nan}, r"runtime\.dollars_per_hour: nan: must be"),
    ({"checkpoint_steps": 0}, r"runtime\.checkpoint_steps: 0: must be 1 or more"),
    ({"keep_stopped": 1}, r"runtime\.keep_stopped: expected true or false, found 1"),
    ({"shard_cache": {"budget_gb": "50 GB"}}, r"runtime\.shard_cache\.budget_gb: expected a number, found '50 GB'"),
    ({"shard_cache": {"fodler": "x"}}, r"runtime\.shard_cache\.fodler: unknown key, did you mean folder"),
    ({"data": "elsewhere"}, r"runtime\.data: expected keys with values, found 'elsewhere'"),
    ({"data": {"cc558k": "elsewhere"}}, r"runtime\.data\.cc558k: expected keys with values, found 'elsewhere'"),
    ({"data": {"cc558k": {"pictures": 5}}}, r"runtime\.data\.cc558k\.pictures: expected text, found 5"),
    ({"data": {"cc558k": {"pictres": "x"}}}, r"runtime\.data\.cc558k\.pictres: unknown key, did you mean pictures"),
    ({"scenes": {"train": ["x"]}}, r"runtime\.scenes\.train\[0\]: expected keys with values, found 'x'"),
    ({"scenes": {"train": {"signed": "no"}}}, r"runtime\.scenes\.train\.signed: expected true or false, found 'no'"),
    ({"annotate": {"openimages": []}}, r"runtime\.annotate\.openimages: expected keys with values, found \[\]"),
]


@pytest.mark.parametrize(("section", "says"), RUNTIMES)
def test_a_wrong_runtime_is_one_message(section, says):
    with pytest.raises(InputError, match=rf"^params\.yaml: {says}"):
        settings.Settings(ROOT, {"runtime": section}, {}).runtime  # noqa: B018


def test_null_is_the_default_of_every_runtime_key():
    """`feature_budget_gb: null` ended a training in float(None)."""
    section = {field.name: None for field in fields(Runtime)}
    assert settings.Settings(ROOT, {"runtime": section}, {}).runtime == {}
    assert settings.Settings(ROOT, {"runtime": {"shard_cache": {"budget_gb": None}}}, {}).runtime["shard_cache"] == {}


@pytest.mark.parametrize("value", [-1, 0.5, True, "x", None, math.nan, 2**63])
def test_the_seed_of_all_training_is_a_whole_number(value):
    params = changed(PARAMS, ("seed",), value)
    with pytest.raises(InputError, match=r"^params\.yaml: seed: "):
        settings.Settings(ROOT, params, {"align": {"x": {}}}).seed("align", "x")


@pytest.mark.parametrize("value", [-1, 0, 0.5, True, "x", None])
def test_a_version_is_a_whole_number(value):
    params = changed(PARAMS, ("versions", "align"), value)
    with pytest.raises(InputError, match=r"^params\.yaml: versions\.align: "):
        settings.Settings(ROOT, params, {}).version("align")
