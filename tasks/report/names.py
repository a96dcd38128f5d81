"""The names of encoders and LLMs (model/zoo.py) and of data sets (their cards) as reports print them."""

from data_registry.cards import datasets
from model import zoo


def printed(name: str) -> str:
    """The title of an encoder, an LLM or a data set; another name as it is."""
    return zoo.title(name) or (datasets.card(name).title if name in datasets.names() else name)
