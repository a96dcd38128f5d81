"""No answer can be had without looking: letters, names, orders and wordings are balanced by construction."""

import random
import re
from collections import Counter, defaultdict

import pytest

from data_registry.benchmark.lookup import NameLookup, majority
from data_registry.benchmark.spatialvqa import Quotas, build
from data_registry.conversations import pairs
from data_registry.questions.balance import Placed, couples
from data_registry.questions.dialogue import DialogueRecipe, conversations
from data_registry.questions.facts import Claim
from data_registry.questions.geometry import Margins
from data_registry.questions.types import STANDARD
from tests.data_registry.questions.question_reader import lettered
from tests.data_registry.questions.question_worlds import COLORS, random_scenes

MARGINS = Margins()


@pytest.fixture(scope="module")
def scenes():
    return random_scenes(1200, seed=11)


@pytest.fixture(scope="module")
def turns(scenes):
    """(question, options, letter, type) of every lettered turn of a 3DI-Ft."""
    found = []
    for record in conversations(scenes, "3di-ft1m", 0, DialogueRecipe(turns=(4, 12)), MARGINS, Counter()):
        for type_, (human, gpt) in zip(record["types"], pairs(record), strict=True):
            if parts := lettered(human):
                found.append((*parts, gpt, type_))
    return found


@pytest.fixture(scope="module")
def questions(scenes):
    return build(scenes[:700], Quotas(120, 101, 140), 3, MARGINS, 0, Counter())


def claim(answer: int, *key: str) -> Claim:
    return Claim("t", ("t", *key), answer, (), (0, 1))


def test_couples_have_one_key_and_opposite_answers():
    placed = [Placed(k, claim(k % 3 == 0, "car" if k % 2 else "bus")) for k in range(60)]
    found = couples(placed, random.Random(0))
    assert len(found) == 20, "ten of each key have the rarer answer"
    for first, second in found:
        assert first.claim.key == second.claim.key
        assert (first.claim.answer, second.claim.answer) == (0, 1)
    used = [p.scene for couple in found for p in couple]
    assert len(used) == len(set(used))


def test_a_biased_key_without_a_partner_is_left_out():
    assert couples([Placed(k, claim(0, "airplane", "dog")) for k in range(9)], random.Random(0)) == []


def test_letters_of_the_conversations_are_even(turns):
    letters = Counter((type_, letter) for _, _, letter, type_ in turns)
    for type_ in STANDARD:
        a, b = letters[type_, "A"], letters[type_, "B"]
        assert abs(a - b) < 4 * (a + b) ** 0.5, (type_, a, b)  # four standard deviations of fair coins
    total = Counter(letter for _, _, letter, _ in turns)
    assert abs(total["A"] - total["B"]) < 4 * total.total() ** 0.5


def test_names_tell_nothing_that_holds_in_other_conversations(turns):
    names = {name for _, options, _, type_ in turns for name in options} | {"car"}
    lookup = NameLookup({name.removeprefix("the ") for name in names})
    half = len(turns) // 2

    def as_turn(turn):
        question, options, letter, type_ = turn
        lines = "\n".join(f"{k}. {o}" for k, o in zip("AB", options, strict=True))
        return f"{question}\n{lines}", letter, type_

    lookup.fit(map(as_turn, turns[:half]))
    right = sum(
        lookup.answer(type_, question, options) == "AB".index(letter)
        for question, options, letter, type_ in turns[half:]
    )
    assert abs(right / half - 0.5) < 0.03


def test_the_benchmark_is_balanced_by_type_letter_and_names(questions):
    by_type, by_case = defaultdict(Counter), defaultdict(Counter)
    for q in questions:
        by_type[q.type][q.answer] += 1
        # Everything that can be read without the image, in the order in which it is read, but for colours.
        by_case[q.type, colorless(q.question), tuple(map(colorless, q.options))][q.answer] += 1
    assert set(by_type) == set(STANDARD)
    for counts in (by_type, by_case):
        uneven = [case for case, n in counts.items() if n[0] != n[1]]
        assert len(uneven) <= 1, f"only the last question of an odd quota has no partner: {uneven}"


def colorless(text: str) -> str:
    """The text without the colours that tell two objects of a category apart."""
    return re.sub(rf"\bthe (?:{'|'.join(COLORS)}) ", "the ", text)


def test_majority_and_lookup_know_no_more_than_chance(questions, turns):
    lookup = NameLookup({name for q in questions for name in q.names})
    learnt = lookup.fit((f"{question}\nA. {a}\nB. {b}", letter, type_) for question, (a, b), letter, type_ in turns)
    assert learnt == len(turns)
    blind = sum(lookup.answer(q.type, q.question, q.options) == q.answer for q in questions) / len(questions)
    most = sum(a == q.answer for a, q in zip(majority(questions), questions, strict=True)) / len(questions)
    assert abs(most - 0.5) < 0.01
    assert blind < 0.5 + 4 * 0.5 / len(questions) ** 0.5
