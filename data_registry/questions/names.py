"""How an object is called in a question, so that a reader of the picture cannot mean another one.
A category name serves when nothing else in the image has it; else the colour is added; else there is no name."""

from collections import Counter

from data_registry.scene import Scene

# Colours that one person calls this and another calls that: none of them tells two objects of a category apart.
CONFUSABLE = frozenset(
    frozenset(pair)
    for pair in (
        ("gray", "white"),
        ("gray", "black"),
        ("gray", "silver"),
        ("silver", "white"),
        ("blue", "cyan"),
        ("blue", "purple"),
        ("cyan", "green"),
        ("green", "yellow"),
        ("yellow", "orange"),
        ("orange", "red"),
        ("orange", "brown"),
        ("brown", "red"),
        ("red", "pink"),
        ("pink", "purple"),
        ("beige", "white"),
        ("beige", "brown"),
    )
)


def references(scene: Scene) -> list[str | None]:
    """For each object the words that single it out in the image ("car", "red car"), or None where there are none.

    Objects the reader dropped count too: a half-hidden second car makes "the car" ambiguous, and since its colour is
    not known, a colour does not help either.
    """
    here = Counter(o.name for o in scene.objects)
    dropped = set(scene.others)
    found: list[str | None] = []
    for obj in scene.objects:
        if obj.name in dropped:
            found.append(None)
        elif here[obj.name] == 1:
            found.append(obj.name)
        else:
            rivals = [o.color for o in scene.objects if o.name == obj.name and o is not obj]
            found.append(f"{obj.color} {obj.name}" if _distinct(obj.color, rivals) else None)
    return found


def _distinct(color: str | None, rivals: list[str | None]) -> bool:
    if color is None or None in rivals:
        return False
    return all(rival != color and frozenset((color, rival)) not in CONFUSABLE for rival in rivals)
