"""The questions that are shown do not depend on the answers."""

from data_registry.paper import CLASSES


def test_examples_do_not_depend_on_answers(study):
    from tasks.report.data import read_questions
    from tasks.report.examples import choose

    questions = read_questions(study[0], "tiny")
    chosen = choose(questions, 12)
    assert chosen["class"].value_counts().to_dict() == dict.fromkeys(CLASSES, 4)
    assert chosen["image"].is_unique
    assert all(chosen[chosen["class"] == name]["type"].nunique() == 3 for name in CLASSES)
    shuffled = questions.sample(frac=1, random_state=3).drop(columns="answer")
    assert list(choose(shuffled, 12).index) == list(chosen.index)
