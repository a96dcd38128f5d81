"""Where the real samples lie on machines that have them: their licences keep them out of the project."""

from pathlib import Path

_PLACES = [folder / "shared/samples" for folder in Path(__file__).resolve().parents]
SAMPLES = next((place for place in _PLACES if place.is_dir()), _PLACES[0])
