"""Questions in the words that people use, by kind of reasoning; none of them is a phrasing of the benchmark.

With {} for things that are asked about, in the order of the reasoning; where an answer has words of its own, a form
is (question, answer if so, answer if not).
"""

NEARER = (
    "Which one stands closer to me",
    "What is the closest to my eyes",
    "Closer to me, which one",
    "Which do I have at the smaller distance",
    "Who of the pair is nearer",
    "For the viewer, which one is closer",
    "Which is closest to you",
)
FARTHER = (
    "Which one stands farther from me",
    "What is the farthest from my eyes",
    "Farther away from me, which one",
    "Which do I have at the larger distance",
    "Who of the pair is less close",
    "For the viewer, which one is farther away",
    "Which is farthest from you",
)
NEARER_THING = (
    "Which one stands closer to {}",
    "Closer to {}, which one",
    "What has the smaller distance to {}",
    "Who is the nearest neighbour of {}",
    "Who of the pair is less far off {}",
    "Seen from {}, what is nearer",
)
FARTHER_THING = (
    "Which one stands farther from {}",
    "Farther from {}, which one",
    "What has the larger distance to {}",
    "Who is the farthest neighbour of {}",
    "Who of the pair is less close by {}",
    "Seen from {}, what is farther off",
)
ALIKE = (
    ("How do {} and {} face", "one way", "different ways"),
    ("Same or different, where {} and {} point", "alike", "different"),
    ("Do the fronts of {} and {} look in one direction", "in one direction", "in two directions"),
    ("Would {} and {} go in one direction", "yes", "no"),
)
AIMED = (
    "Which one does {} look at",
    "What is {} facing",
    "Going forward, what does {} meet",
    "What stands before the front of {}",
    "At which one does {} point",
)
SHOWN = (
    "What side does {} show me",
    "Looking at {}, what do I see",
    "What does {} turn to my eyes",
    "What of {} is towards the viewer",
)
HAND = (
    "Sitting in {}, where do I have {}",
    "For {}, where is {}",
    "Who faces as {} does has {} where",
    "Where does {} have {}",
    "Seen from {}, where is {}",
)
SIDES = ("in front", "on the right", "behind", "on the left")
ON_HAND = (
    "Sitting in {}, which one do I have {side}",
    "For {}, what is {side}",
    "Who faces as {} does has what {side}",
    "Which one does {} have {side}",
    "Seen from {}, what is {side}",
)
TOWARDS = (
    "Which way does {} look, to me or off",
    "Does the front of {} point to me or away",
    "Going forward, would {} come to me or leave",
    "Does {} look to the viewer or off",
)
SIDEWAYS = (
    "Left or right, where does {} look as I see it",
    "In my view, where does the front of {} point",
    "Going forward, where in my view does {} move",
    "As I see it, where is {} turned",
)
