"""Pictures of a study are drawn from its trials."""

import warnings

import numpy as np
import optuna
import pytest
from PIL import Image

from flows.designs.space import Space
from flows.search.report import plots
from flows.search.report.plots import _in_order, draw
from flows.search.trials import DESIGN, HOURS, front, importances_of, trials_of


@pytest.fixture
def study():
    """Twelve designs whose accuracy is decided by their encoders above all."""
    space = Space(stage0=["none"], stage1=["cc558k"])
    made = optuna.create_study(direction="maximize")
    for number, design in enumerate(space.designs()):
        made.enqueue_trial(space.params_of(design))
        trial = made.ask()
        assert space.suggest(trial) == design
        trial.set_user_attr(DESIGN, design.name)
        trial.set_user_attr(HOURS, 10.0 + number)
        made.tell(trial, 0.4 + 0.3 * ("dinov2" in design.encoders) + 0.01 * ("llama" in design.llm))
    return space, made


def test_every_picture_is_drawn(study, tmp_path):
    space, made = study
    with warnings.catch_warnings(action="error"):  # none on the terminal of whoever sweeps
        importances = importances_of(made)
        files = draw(tmp_path, trials_of(made), space, importances)
    assert max(importances, key=importances.__getitem__) == "encoders"
    assert {file.stem for file in files} == {"history", "slices", "pareto", "importances", "interaction"}
    for file in files:
        with Image.open(file) as picture:
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        # Axes and their words are black or grey: what is painted has a colour.
        assert ((pixels.max(axis=-1) - pixels.min(axis=-1)) > 60).sum() > 500, file.name


def test_pictures_leave_matplotlib_as_it_was(study, tmp_path):
    """Optuna's set the style of the whole process."""
    import matplotlib.pyplot as plt

    space, made = study
    before = dict(plt.rcParams)
    draw(tmp_path, trials_of(made), space, importances_of(made))
    assert dict(plt.rcParams) == before
    assert plt.get_fignums() == []


def test_a_picture_shows_each_trial_where_it_is(study):
    import matplotlib.pyplot as plt

    space, made = study
    trials = sorted(trials_of(made), key=lambda trial: trial.number)
    with plots._as_it_was():
        history, slices = plots._history(trials, space), plots._slices(trials, space)
    shown = [tuple(map(float, point)) for point in history.axes[0].collections[0].get_offsets()]
    assert shown == [pytest.approx((trial.number, 100 * trial.value)) for trial in trials]
    labels = [[label.get_text() for label in axes.get_xticklabels()] for axes in slices.axes[:2]]
    assert labels == [space.choices()["encoders"], space.choices()["llm"]], "in the order of the space, as in names"
    plt.close("all")


def test_one_trial_has_pictures(study, tmp_path):
    space, made = study
    with warnings.catch_warnings(action="error"):
        files = draw(tmp_path, trials_of(made)[:1], space, {})
    assert {file.stem for file in files} == {"history", "slices", "pareto"}


def test_choices_stand_in_the_order_of_the_space():
    order = ["clip", "clip+mae", "clip+dinov2"]
    assert _in_order(["clip+dinov2", "gone", "clip", "clip+dinov2"], order) == ["clip", "clip+dinov2", "gone"]


def test_too_few_trials_have_no_importances(tmp_path):
    made = optuna.create_study(direction="maximize")
    assert importances_of(made) == {}
    assert draw(tmp_path, [], Space(), {}) == []


def test_the_front_of_the_study(study):
    _, made = study
    found = front(trials_of(made))
    assert [one.hours for one in found] == sorted(one.hours for one in found)
    assert [one.value for one in found] == sorted({one.value for one in found})
