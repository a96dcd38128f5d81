"""What stands in plan.yaml runs as a command and names folders: only harmless names are read, and written."""

import pytest
import yaml

from data_registry.errors import InputError
from flows.designs.plan import Plan, plan_of, read_plan, write_plan
from tasks.identity import settings
from tests.flows.designs.test_design import grid

BAD = [
    "x; touch PWNED",
    "$(touch PWNED)",
    "`id`",
    "a b",
    "a\nb",
    "../x",
    "a/b",
    "a.b",
    "-x",
    "",
    "a'b",
    "ä",
    "x&",
    5,
    None,
]


def written(root, plan) -> None:
    (root / "params.yaml").write_text("scale: tiny\n")
    (root / "plan.yaml").write_text(yaml.safe_dump({"plan": plan}))


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("read", [read_plan, settings.load, settings.read_entries])
def test_a_key_that_a_shell_or_a_path_would_take_otherwise_is_refused(tmp_path, name, read):
    written(tmp_path, {"instruct": {name: {"parts": {}}}})
    with pytest.raises(InputError, match=r"plan\.yaml: plan\.instruct: .* is no name of a stage run: let"):
        read(tmp_path)


def test_so_is_a_stage(tmp_path):
    written(tmp_path, {"in struct": {}})
    with pytest.raises(InputError, match=r"plan\.yaml: plan: 'in struct' is no name"):
        read_plan(tmp_path)


@pytest.mark.parametrize("slot", ["../../etc/passwd", "/etc/passwd", "align/../x", "align/a b", "align/$(id)", "a//b"])
@pytest.mark.parametrize("form", [lambda slot: slot, lambda slot: ["data/cc558k", slot]], ids=["one", "list"])
def test_so_is_a_slot_that_is_no_stage_run(tmp_path, slot, form):
    written(tmp_path, {"instruct": {"x": {"parts": {}, "align": form(slot)}}})
    with pytest.raises(InputError, match=r"plan\.yaml: plan\.instruct\.x\.align: .* is no stage run STAGE/NAME"):
        read_plan(tmp_path)


def test_what_could_not_be_read_is_not_written(tmp_path):
    plan = Plan()
    plan.add("annotate/x; touch PWNED", {"parts": {}})
    with pytest.raises(InputError, match="is no name"):
        write_plan(tmp_path, plan)
    assert not (tmp_path / "plan.yaml").exists()


def test_every_plan_of_the_study_is_read(tmp_path):
    plan = plan_of(grid())
    write_plan(tmp_path, plan)
    assert read_plan(tmp_path).entries == plan.entries
