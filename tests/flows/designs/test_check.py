"""Wrong parameters are found before anything runs, as the stage itself would find them when its turn comes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from data_registry.errors import InputError
from flows.designs.check import check, reader_of
from flows.designs.design import choose, parse
from flows.designs.plan import plan_of
from flows.designs.space import Space
from flows.execution.plan_file import add_to_plan
from tasks.identity import settings
from tasks.identity.settings import SCALES, Settings

REPO = Path(__file__).resolve().parents[3]


@pytest.fixture
def root(tmp_path):
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_text((REPO / name).read_text())
    return tmp_path


def change(root: Path, old: str, new: str) -> None:
    before = (root / "params.yaml").read_text()
    assert old in before
    (root / "params.yaml").write_text(before.replace(old, new))


@pytest.mark.parametrize("scale", SCALES)
def test_every_stage_run_of_the_space_is_read_as_its_stage_reads_it(scale, monkeypatch):
    params = {**settings.read_yaml(REPO / "params.yaml"), "scale": scale}
    designs = Space().designs() if scale != "small" else choose([1, 8], scale)
    plan = plan_of(designs).entries
    asked = []

    def reader(stage: str, command: str) -> Callable[[str, dict, str], object]:
        read = reader_of(stage, command)
        return lambda name, section, where: asked.append((where, dict(section))) or read(name, section, where)

    with monkeypatch.context() as patch:
        patch.setattr("flows.designs.check.reader_of", reader)
        check(Settings(REPO, params, plan))
    assert {where for where, _ in asked} == {f"params.yaml: {stage}.{scale}" for stage in plan if plan[stage]}
    assert len(asked) == sum(map(len, plan.values()))


@pytest.mark.parametrize(("old", "new", "said"), [
    ("turns_alike: true", "turns_alik: true", "instruct.tiny.turns_alik: unknown key, did you mean turns_alike"),
    ("start: words", "start: 3", "align.tiny.start: 3 is unknown, known: random, words"),
    ("bootstrap: 2000", "bootstrap: many", "score.tiny.bootstrap: expected a whole number, found 'many'"),
])  # fmt: skip
def test_a_wrong_key_is_named_and_nothing_is_written(root, old, new, said):
    change(root, old, new)
    with pytest.raises(InputError, match=f"params.yaml: {said}"):
        add_to_plan(root, plan_of(choose([1])))
    assert not (root / "plan.yaml").exists()


def test_what_a_design_sets_is_read_too(root):
    with pytest.raises(InputError, match=r"instruct\.tiny\.lr: expected a number, found 'fast'"):
        add_to_plan(root, plan_of([parse("clip_vicuna-7b_cc558k_mix665k_lr=fast")]))


def test_a_program_of_the_users_own_knows_its_parameters_itself(root):
    change(root, "turns_alike: true", "mine: true")
    pipeline = (root / "dvc.yaml").read_text()
    for own in ("python train.py ${key}", "[python prepare.py, python train.py]"):
        (root / "dvc.yaml").write_text(pipeline.replace("python -m tasks.instruct ${key}", own))
        add_to_plan(root, plan_of(choose([1])))
        assert (root / "plan.yaml").exists()
