"""The design space is one table: what a new encoder or LLM touches is counted, and a new entry works everywhere."""

import subprocess
from pathlib import Path

import pytest

from flows.designs.design import parse
from flows.designs.plan import plan_of
from model import zoo
from model.backbones.encoders import load_encoder
from model.backbones.llms import llm_spec, load_llm
from tests.model.tiny_models import make_encoder, make_llm, make_tokenizer

ROOT = Path(__file__).parents[2]
WRITTEN = ("data_registry", "flows", "model", "tasks", "dvc.yaml", "params.yaml")


def files_that_name(name: str) -> set[str]:
    """Source files of the study in which a model's name stands."""
    found = set()
    for part in WRITTEN:
        for path in [ROOT / part] if (ROOT / part).is_file() else (ROOT / part).rglob("*"):
            if path.suffix in (".py", ".yaml", ".j2") and f'"{name}"' in path.read_text() + path.read_text().replace(
                f"{name}:", f'"{name}"'
            ):
                found.add(path.relative_to(ROOT).as_posix())
    return found


@pytest.mark.parametrize("name", ["siglip2", "qwen3-8b"])
def test_an_encoder_or_llm_touches_two_files(name):
    assert files_that_name(name) == {"model/zoo.py", "params.yaml"}


def test_a_new_encoder_and_llm_are_entries_of_the_table(tmp_path, monkeypatch):
    """Nothing but the table is changed: names parse, plans form, weights load."""
    encoder, tokenizer = make_encoder("dinov2"), make_tokenizer()
    monkeypatch.setitem(zoo.ENCODERS, "dinov4", {"tiny": encoder.spec})
    monkeypatch.setitem(zoo.LLMS, "llama5", {"tiny": zoo.LLMSpec("chat")})
    design = parse("clip+dinov4_llama5_cc558k_mix665k")
    plan = plan_of([design])
    assert {"foundation/dinov4", "foundation/llama5", "probe/dinov4"} <= set(plan.runs())
    encoder.tower.save_pretrained(tmp_path / "dinov4")
    make_llm(len(tokenizer)).save_pretrained(tmp_path / "llama5")
    tokenizer.save_pretrained(tmp_path / "llama5")
    assert load_encoder("dinov4", "tiny", tmp_path / "dinov4").grid == encoder.grid
    assert load_llm(tmp_path / "llama5")[0].config.vocab_size == len(tokenizer)
    assert llm_spec("llama5", "tiny").template == "chat"


def test_names_load_without_torch():
    """`spatialllm --help` and plans read names; they must not wait for torch."""
    code = "import sys, flows.designs.design; sys.exit('torch' in sys.modules)"
    import sys

    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
