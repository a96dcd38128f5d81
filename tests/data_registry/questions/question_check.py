"""Checks of whole turns and benchmark questions against the second solver."""

from data_registry.benchmark.spatialvqa import Question
from data_registry.questions.phrasing import wordings
from data_registry.scene import Scene
from tests.data_registry.questions.question_reader import choices, lettered, readings
from tests.data_registry.questions.question_solver import Solver


def check_turn(scene: Scene, type_: str, human: str, gpt: str) -> bool:
    """Assert that a two-option turn is right; returns whether its options had letters."""
    solver = Solver(scene)
    question, options = lettered(human) or (human, None)
    slots = next(readings(wordings()[type_].training, question), None)
    assert slots is not None, f"no phrasing of {type_} reads {question!r}"
    offered = options or choices(type_, slots)
    right = solver.answer(type_, slots, offered)
    if options:
        assert gpt == "AB"[options.index(right)], (scene.image, human, gpt)
    else:
        said = {s["answer"].lower() for s in readings(wordings()[type_].answers, gpt) if "answer" in s}
        assert right.lower() in said, (scene.image, human, gpt, right)
    return bool(options)


def check_question(scene: Scene, q: Question) -> None:
    """Assert that a benchmark question is right, names what it says, and carries its objects' boxes."""
    solver = Solver(scene)
    slots = next(readings(wordings()[q.type].benchmark, q.question))
    assert q.options[q.answer] == solver.answer(q.type, slots, q.options), q
    assert [solver.find(name).id for name in q.names] == list(q.objects)
    for name, box in zip(q.names, q.boxes, strict=True):
        assert max(abs(a - b) for a, b in zip(solver.find(name).bbox, box, strict=True)) < 1e-3
