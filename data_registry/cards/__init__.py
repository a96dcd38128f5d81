"""The data sets' cards: one YAML file each, here for the study's own and in an extension's `cards` for a user's.

`card.py`: what a card may say, and how it is checked. `datasets.py`: which cards there are, by name.
"""
