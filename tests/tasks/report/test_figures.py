"""Figures follow the page's colours, and are pictures of their own for MLflow."""

import re

import numpy as np
from PIL import Image

from tasks.report import figures


def test_a_figure_in_the_page_has_the_style_sheets_colours(report):
    for form in figures.svgs(report[0])["roadmap"]:
        colours = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", form))
        assert {"var(--plain)", "var(--informed)", "var(--ink)"} <= colours
        assert not any(colour.startswith("#") for colour in colours)


def test_figures_for_mlflow_are_pictures(report, tmp_path):
    for path in figures.save(report[0], tmp_path):
        pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
        for colour in ([0, 114, 178], [224, 138, 0]):
            assert (np.abs(pixels - colour).max(axis=2) < 12).sum() > 500
