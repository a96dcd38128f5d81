"""A stage from outside the tree: one file with its entry of STAGES, its paragraph of dvc.yaml and its parameters.
Plan, status, the flow and `dvc repro` then know it."""

import json
import sys

import pytest
import yaml

from data_registry.errors import InputError
from flows.designs.design import choose
from flows.designs.plan import plan_of
from flows.execution.devices import CPU, GPU, Devices
from flows.execution.estimate import estimate
from tasks.identity import settings
from tasks.stages import STAGES

DESIGN = "clip_vicuna-7b_cc558k_mix665k"
AUDIT = '''
"""Stage `audit`: how often a design's score is above a threshold, which a user's own project wants to know."""

import json
from dataclasses import dataclass

from data_registry.ranges import Share
from tasks.stage.harness import StageRun, main
from tasks.stages import STAGES, StageSpec


@dataclass(frozen=True)
class Params:
    seed: int
    threshold: Share


def entries(design, runs):
    return {design.name: {"parts": {"design": design.name}, "score": runs["score"]}}


STAGES["audit"] = StageSpec(
    "whether a design's accuracy is above a threshold", 2, gpu=True, slots=("score",), entries=entries, params=Params
)


def compute(run: StageRun):
    accuracy = json.loads((run.inputs["score"] / "metrics.json").read_text())["average"]
    with open("executed.log", "a") as log:
        log.write(f"audit/{run.name}\\n")
    return {"above": accuracy > run.parse(Params).threshold}


if __name__ == "__main__":
    main("audit", compute)
'''
IN_DVC = """
  audit:
    foreach: ${plan.audit}
    do:
      cmd: python mine/audit.py ${key}
      params:
        - 'audit.${scale}'
        - versions.audit
        - plan.yaml:
            - 'plan.audit.${key}.parts'
      deps:
        - runs/${scale}/${item.score}
      outs:
        - runs/${scale}/audit/${key}
"""


@pytest.fixture
def audited(served):
    """The small project with a folder `mine` that adds the stage."""
    (served.root / "mine").mkdir()
    (served.root / "mine" / "audit.py").write_text(AUDIT)
    with (served.root / "dvc.yaml").open("a") as file:
        file.write(IN_DVC)
    params = served.params() | {"extensions": ["mine"], "audit": {"tiny": {"seed": 1, "threshold": 0.2}}}
    params["versions"]["audit"] = 1
    served.set_params(params | {"designs": [1]})
    for module in [name for name in sys.modules if name.startswith("extension_audit")]:
        del sys.modules[module]  # of another test's folder
    (served.root / "plan.yaml").unlink()
    yield served
    STAGES.pop("audit", None)


def test_plan_flow_status_and_dvc_know_it(audited):
    settings.load(audited.root)
    run = f"audit/{DESIGN}"
    plan = plan_of(choose([1]))
    assert plan.runs()[-1] == run
    assert plan.needs(run) == [f"score/{DESIGN}"]
    assert estimate(audited.root, choose([1])).seconds[run] == 2
    assert Devices(audited.root, {"gpus": 1, "gpus_per_run": 1}).kind(run) == GPU
    assert Devices(audited.root, {}).kind(run) == CPU

    audited.spatialllm("run", DESIGN)
    assert json.loads((audited.out(run) / "metrics.json").read_text()) == {"above": True}
    assert audited.executed.count(run) == 1
    states = {row["run"]: row["state"] for row in json.loads(audited.spatialllm("status", "--json"))}
    assert states[run] == "there"
    assert "up to date" in audited.run(sys.executable, "-m", "dvc", "repro")
    assert yaml.safe_load((audited.root / "plan.yaml").read_text())["plan"]["audit"][DESIGN]["score"]


def test_its_parameters_are_checked_before_anything_runs(audited):
    params = audited.params()
    params["audit"]["tiny"]["threshold"] = 2
    audited.set_params(params)
    settings.load(audited.root)
    with pytest.raises(InputError, match=r"params\.yaml: audit\.tiny\.threshold: 2\.0: must be from 0 to 1"):
        estimate(audited.root, choose([1]))
    assert "audit.tiny.threshold" in audited.spatialllm("run", DESIGN, code=2)
    assert audited.executed == []
