"""What a roadmap shows where little of it could be computed."""

from flows import roadmap
from flows.designs.design import BLIND_REFERENCE, ROWS
from flows.execution.result import COMPUTED, Result


def test_where_only_the_blind_reference_is_scored_the_failures_are_told(project, monkeypatch):
    scores = {design.name: f"score/{design.name}" for design in (ROWS[3], BLIND_REFERENCE)}
    failed, blind = scores.values()
    error = RuntimeError("told to fail")
    ended = Result([failed, blind], {failed: "failed", blind: COMPUTED}, {failed: error})
    recorded = []
    monkeypatch.setattr(roadmap, "run_plan", lambda *arguments: ended)
    monkeypatch.setattr(roadmap, "record", lambda root, designs, *more: recorded.extend(designs))
    made = roadmap.run_roadmap(project.root, [ROWS[3]], None, print)
    assert made.report is None
    assert made.result.errors == {failed: error}
    assert recorded == [BLIND_REFERENCE]
