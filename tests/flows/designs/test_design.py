"""Names of designs: they say everything, in one spelling, and a wrong part is refused with the nearest right one."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from data_registry.errors import InputError
from flows.designs.design import (
    BLIND_REFERENCE,
    ROADMAP,
    ROWS,
    Design,
    choose,
    listed_designs,
    parse,
    read_value,
    spell_value,
)

ROOT = Path(__file__).resolve().parents[3]


def grid() -> list[Design]:
    """The paper's 144 designs."""
    encoders = [("clip",), ("clip", "dinov2"), ("clip", "mae")]
    llms = ("vicuna-7b", "llama3-8b")
    stage0 = ["", "3di-pb-oi1m-clip", "3di-pb-oi1m-ntp"]
    stage1 = [("cc558k", *more) for more in [(), ("3di-pb-oi1m",), ("3di-pb-in166k",), ("3di-ft1m",)]]
    stage2 = [("mix665k",), ("mix665k", "3di-ft1m")]
    return [Design(*parts) for parts in itertools.product(encoders, llms, stage0, stage1, stage2)]


def test_every_design_of_the_grid_is_its_name():
    names = [design.name for design in grid()]
    assert len(set(names)) == 144
    assert [parse(name) for name in names] == grid()


@pytest.mark.parametrize(
    "name",
    [
        "clip+dinov2_llama3-8b_cc558k+3di-pb-in166k_mix665k+3di-ft1m",
        "clip+dinov2_llama3-8b_3di-pb-oi1m-ntp_cc558k_mix665k",
        "blind_llama3-8b_mix665k+3di-ft1m",
        "clip_vicuna-7b_cc558k_mix665k_frac=1of9_lr=15e-5",
    ],
)
def test_a_name_is_read_and_written_back(name):
    assert parse(name).name == name


def test_rows_are_those_of_table_2():
    assert ROADMAP == (1, 3, 4, 5, 8)
    assert ROWS[8] == parse("clip+dinov2_llama3-8b_cc558k+3di-pb-in166k_mix665k+3di-ft1m")
    assert ROWS[10].stage0 == "3di-pb-oi1m-ntp"
    assert ROWS[8].row == 8
    assert parse("mae_vicuna-7b_cc558k_mix665k").row is None


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("clip+dinov_llama3-8b_cc558k_mix665k", "'dinov', did you mean dinov2?"),
        ("clip_lama3-8b_cc558k_mix665k", "did you mean llama3-8b?"),
        ("clip_llama3-8b_cc558_mix665k", "did you mean cc558k?"),
        ("clip_llama3-8b_3di-pb-oi1m-ntpp_cc558k_mix665k", "'ntpp', did you mean ntp?"),
        ("dinov2+clip_llama3-8b_cc558k_mix665k", "write clip+dinov2"),
        ("clip+clip_llama3-8b_cc558k_mix665k", "write clip instead"),
        ("mae_llama3-8b_3di-pb-oi1m-clip_cc558k_mix665k", "stage 0 adapts clip"),
        ("clip_llama3-8b", "2 fields"),
        ("clip_llama3-8b_cc558k_mix665k_lr=0.1", "dotless"),
        ("clip_llama3-8b_cc558k_mix665k_3di-ft1m=1of2", "that its stage 2 does not read"),
        ("clip_llama3-8b_cc558k_mix665k_mix665k=2", "above 0 and below 1"),
        ("clip_llama3-8b_cc558k_mix665k_lr=1e-3_lr=2e-3", "a setting is given twice"),
        ("clip_llama3-8b_cc558k_mix665k_lr=10e-4", "write lr=1e-3 instead of lr=10e-4"),
        ("clip_llama3-8b_cc558k_mix665k_frac=3of9", "write frac=1of3 instead of frac=3of9"),
        ("clip_llama3-8b_cc558k_mix665k_turns=08", "write turns=8 instead of turns=08"),
        ("clip_llama3-8b_3di-pb-oi1m-ntpp_cc558k_mix665k_lr=1e-3", "'ntpp', did you mean ntp?"),
        ("clip_llama3-8b_3di-pb-oi1-ntp_cc558k_mix665k_lr=1e-3", "did you mean 3di-pb-oi1m?"),
        ("clip_llama3-8b_cc558k_lr=1e-3_mix665k", "'mix665k' stands behind the settings"),
        ("clip_llama3-8b_cc558k_mix665k_muon_", "6 fields"),
        ("clip_llama3-8b_cc558k_mix665k__lr=1e-3", "'_lr=1e-3' is not KEY=VALUE"),
        ("clip_llama3-8b_cc558k_mix665k_a;b=1", "'a;b=1' is not KEY=VALUE"),
        ("clip_llama3-8b_cc558k_mix665k_muon_lr=1e-3_muon_lr=2e-3", "a setting is given twice"),
        ("", "1 fields"),
        ("lr=1e-3", "0 fields"),
    ],
)
def test_a_wrong_name_is_refused_with_the_remedy(name, says):
    with pytest.raises(InputError, match=r".") as refused:
        parse(name)
    assert says in str(refused.value)


def test_values_of_settings():
    assert read_value("1of4") == 0.25
    assert read_value("15e-5") == 1.5e-4
    assert read_value("3") == 3
    assert read_value("cosine") == "cosine"
    for value in (1e-4, 1.5e-3, 0.25, 2.0, 7, "cosine"):
        assert "." not in spell_value(value)
        assert read_value(spell_value(value)) == value
    design = parse("clip_vicuna-7b_cc558k_mix665k_frac=1of4_lr=1e-4")
    assert design.overrides == {"lr": 1e-4}
    assert design.frac == 0.25


def test_a_wrong_design_in_params_names_file_and_key():
    with pytest.raises(InputError, match=r"params.yaml: designs: .*'dinov3', did you mean dinov2\?"):
        listed_designs({"designs": [1, "dinov3_llama3-8b_cc558k_mix665k"]})
    with pytest.raises(InputError, match=r"params.yaml: designs: row 11: Table 2 has the rows 1 to 10"):
        listed_designs({"designs": [11]})
    for wrong in (5, "clip_vicuna-7b_cc558k_mix665k", [None], {"row": 1}):
        with pytest.raises(InputError, match=r"params.yaml: designs: expected a list of rows and names of designs"):
            listed_designs({"designs": wrong})


def test_rows_are_made_of_what_a_scale_has():
    rows = [*ROADMAP, "blind"]
    assert choose(rows, "tiny") == choose(rows, "paper") == [*(ROWS[row] for row in ROADMAP), BLIND_REFERENCE]
    assert [design.name for design in choose(rows, "small")] == [
        "efficientnet-lite0_smollm2-135m_cc558k_mix665k",  # rows 1, 3 and 4
        "efficientnet-lite0_smollm2-135m_cc558k_mix665k+3di-ft1m",
        "efficientnet-lite0_smollm2-135m_cc558k+3di-pb-in166k_mix665k+3di-ft1m",
        "blind_smollm2-135m_mix665k+3di-ft1m",
    ]
    assert all(not design.stage0 for design in choose(ROWS, "small")), "it adapts CLIP"
    assert listed_designs({"designs": [1, "blind"], "scale": "small"}) == choose([1, "blind"], "small")


def test_choosing_by_row_and_name_keeps_order_and_drops_repeats():
    assert choose([8, 1, ROWS[8].name]) == [ROWS[8], ROWS[1]]
    with pytest.raises(InputError, match="row 11"):
        choose([11])


@pytest.mark.parametrize("design", [ROWS[1], ROWS[10], BLIND_REFERENCE], ids=["plain", "stage 0", "blind"])
@pytest.mark.parametrize(
    "settings",
    [
        (("muon_lr", "2e-2"),),
        (("lr", "1e-3"), ("weight_decay", "1e-1")),
        (("frac", "1of9"), ("muon_lr", "2e-2"), ("a_b_c", "3")),
        (("mix665k_ratio", "1of2"), ("clip_norm", "1")),  # like a data set and an encoder
        (("x_frac", "1of2"),),
    ],
    ids=str,
)
def test_a_key_with_underscores_is_a_setting_like_any_other(design, settings):
    varied = replace(design, settings=settings)
    assert varied.name == "_".join([design.name, *(f"{key}={value}" for key, value in settings)])
    assert parse(varied.name) == varied
    own = [(key, value) for key, value in settings if key != "frac"]
    assert varied.overrides == {key: read_value(value) for key, value in own}


def test_every_name_there_is_stays_as_it_is():
    plans = [ROOT / "plan.yaml", *(ROOT / "reports").glob("*/plan.yaml")]
    names = {name for path in plans for name in yaml.safe_load(path.read_text())["plan"]["score"]}
    assert len(names) > 144
    for name in names:
        assert parse(name).name == name
