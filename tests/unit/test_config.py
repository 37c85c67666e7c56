"""Settings: one file, typed, and a run's settings hold only what the run uses."""

from functools import cache
from pathlib import Path

import pytest
import yaml

from ssc import matrix
from ssc.config import Settings, default_yaml
from ssc.errors import RunError, SettingsError
from ssc.runs import fingerprint, read_settings, run_settings

VARIANTS = [name for name, v in matrix.variants().items() if not (v.backbone or v.external or v.settings.annotated)]
TAUS = [f"joint_v3_icr_tau{tau}" for tau in (1, 2, 3, 5, 6)]
CONFIG = Path(__file__).parents[2] / "config/config.yaml"


def test_config_yaml_is_what_the_code_says():
    assert CONFIG.read_text("utf-8") == default_yaml(), "run: python -m ssc config > config/config.yaml"
    assert Settings.read(yaml.safe_load(CONFIG.read_text("utf-8"))) == Settings()


def _intensity(modality, changes):
    return {"modalities": {modality: {"intensity": changes}}}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sclae": "small"}, "unknown key 'sclae'; did you mean 'scale'?"),
        ({"losses": {"betta": 1}}, "unknown key 'losses.betta'; did you mean 'beta'?"),
        ({"tasks": {"heart": {"presets": {"phantom": {"small": {"slices": {"stepps": 1}}}}}}}, "did you mean 'steps'?"),
        (
            {"tasks": {"heart": {"presets": {"real": {"small": {"class_ratios": [1]}}}}}},
            "presets.real.small.class_ratios has 1 values",
        ),
        ({"tasks": {"hart": {"box": "paper"}}}, "no such task; there are abdomen, heart"),
        ({"tasks": {"heart": {"backbone": "unet"}}}, "only box, presets, modalities can be changed here"),
        ({"tasks": {"heart": {"box": "papier"}}}, "box = 'papier'"),
        ({"scale": "tiny"}, "scale = 'tiny'"),
        ({"losses": {"tau": 0}}, "losses.tau = 0"),
        ({"tasks": {"abdomen": _intensity("ct", {"clip": [275, -125]})}}, "the first must be less than the second"),
        ({"tasks": {"abdomen": _intensity("mri", {"clip": [0.5, 995]})}}, "percentiles lie between 0 and 100"),
        ({"tasks": {"abdomen": _intensity("ct", {"clipp": [0, 1]})}}, "did you mean 'clip'?"),
        (
            {"tasks": {"abdomen": {"presets": {"real": {"small": {"spacing_mm": [0, 4, 4]}}}}}},
            "small: spacing_mm.0 = 0",
        ),
        (
            {"tasks": {"heart": {"presets": {"real": {"small": {"slices": {"crop": [5, 128, 128]}}}}}}},
            "slices.crop has 5 slices, expected 3",
        ),
        ({"tasks": {"heart": {"presets": {"real": {"medum": {}}}}}}, "scale 'medum'; did you mean 'medium'?"),
    ],
)
def test_a_wrong_configuration_is_one_clear_line(values, message):
    defaults = yaml.safe_load(CONFIG.read_text("utf-8"))
    for key, value in values.items():
        defaults[key] = _merge(defaults[key], value) if isinstance(value, dict) else value
    with pytest.raises(SettingsError) as caught:
        Settings.read(defaults)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def _merge(old, new):
    return {**old, **{k: _merge(old[k], v) if isinstance(v, dict) and k in old else v for k, v in new.items()}}


def _changed(run_name, **losses):
    modality = None if matrix.variants()[run_name].joint else "ct"
    run = matrix.Run("phantom", "small", "abdomen", "draw0", 0, run_name, modality)
    return run_settings(Settings(losses=losses), run) != run_settings(Settings(), run)


@pytest.mark.parametrize(
    ("loss", "users"),
    [
        ("alpha", set(VARIANTS) - {"backbone", "joint_plain", "joint_plain_tuned"}),
        ("beta", {"joint_v1_cr", "joint_v2_cr", "joint_v3_mcr", "ours", "ours_shuffled"}),
        ("gamma", {"joint_v1_cr", "joint_v2_cr", "joint_v3_icr", "ours", "ours_shuffled", *TAUS}),
        ("tau", {"joint_v1_cr", "joint_v2_cr", "joint_v3_icr", "ours", "ours_shuffled"}),
    ],
)
def test_a_loss_weight_reaches_exactly_the_runs_that_use_it(loss, users):
    candidates = {variant.name for name in VARIANTS for variant in matrix.at_rates(matrix.variants()[name])}
    assert {name for name in VARIANTS if _changed(name, **{loss: 2.5})} - candidates == users - candidates


def test_table_6_is_fifty_trainings():
    runs = matrix.table_runs("table6", "phantom", "small", [0])
    assert len(runs) == len({run.key for run in runs}) == 50


def test_tables_of_the_heart_share_fourteen_trainings_and_a_rivals():
    runs = {
        t: {run.key for run in matrix.table_runs(t, "phantom", "small", [0])} for t in ("table1", "table4", "table5")
    }
    assert len(runs["table5"]) == 10 and {key.split("/")[-1] for key in runs["table1"] - runs["table5"]} == {"ummkd"}
    assert len(runs["table4"] - runs["table5"]) == 4


def test_a_row_may_have_its_own_temperature():
    def tau(variant):
        return run_settings(Settings(), matrix.Run("real", "small", "abdomen", "draw0", 0, variant, None)).objective.tau

    assert [tau(name) for name in matrix.tables()["tau"].trained[1:]] == [1, 2, 3, 4, 5, 6]


def test_at_paper_scale_backbones_with_a_checkpoint_start_from_imagenet_and_others_at_random():
    """As a table's runs, so that no table is refused for a method that no checkpoint fits."""
    runs = [run for table in ("table2", "controls") for run in matrix.table_runs(table, "real", "paper", [0])]
    starts = {run.variant: run_settings(Settings(data="real", scale="paper"), run).init for run in runs}
    assert {name for name, init in starts.items() if init == "random"} == {"ummkd", "unet"}
    assert run_settings(Settings(init="random"), runs[0]).init == "random"


@pytest.mark.parametrize("fault", [{"method": "basline"}, {"tables": ["tabel6"]}, {"tables": ["controls"]}])
def test_a_claim_on_what_is_not_there_is_refused(monkeypatch, fault):
    """Not left out in silence, nor found out after all trainings."""
    whole = matrix._matrix()
    monkeypatch.setattr(matrix, "_matrix", lambda: whole | {"claims": [whole["claims"][0] | fault]})
    with pytest.raises(SettingsError, match="claim 'The module and its auxiliary loss"):
        matrix.claims.__wrapped__("abdomen")


def test_a_run_is_found_again_by_its_folder():
    for run in matrix.table_runs("table6", "real", "smoke", [3]):
        assert matrix.Run.from_key(str(run.folder)) == run


PLACE = "phantom/small/abdomen/draw0"


@pytest.mark.parametrize(
    "key",
    ["ours", "a/b/c/d/seed0/ours", f"{PLACE}/seed0/baseline", f"{PLACE}/seed00/ours", f"{PLACE}/seed0/ours-"],
)
def test_what_is_no_run_is_refused(key):
    with pytest.raises(RunError, match="not a run"):
        matrix.Run.from_key(key)


@pytest.mark.parametrize(
    ("table", "change", "said"),
    [
        ("table6", {"reference": "joint_v9"}, "the table trains no 'joint_v9'; did you mean 'joint_v"),
        ("table6", {"reference": "unet"}, "the table trains no 'unet'"),
        ("study", {"contrasts": [["ours_unet_tuned", "ummkd"]]}, "the table trains no 'ummkd'"),
        ("controls", {"methods": ["baseline", "ours_shufled", "ours"]}, "'ours_shufled' is no variant; did you mean"),
    ],
)
def test_a_misspelt_method_of_a_table_is_an_error_before_anything_trains(table, change, said, monkeypatch):
    whole = matrix._matrix()
    changed = {**whole["tables"], table: {**whole["tables"][table], **change}}
    monkeypatch.setattr(matrix, "_matrix", lambda: {**whole, "tables": changed})
    with pytest.raises(SettingsError, match=rf"tables.{table}: .*{said}"):
        matrix.tables.__wrapped__()


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("\nvariants:\n", "\nvariants:\n  mine: { label: Mine\n", r"matrix.yaml, line \d+: no YAML \("),
        ("\nvariants:\n", "\nvariants:\n  mine:\n", "variants.mine: expected keys and values, found None"),
        ("\nvariants:\n", "\nvariants:\n  a: { like: b }\n  b: { like: a }\n", "b is like itself, by way of b, a"),
        ("\nvariants:\n", "\nvarients:\n", "unknown section 'varients'; did you mean 'variants'"),
        ("\nrates:\n", "\nrate:\n", "unknown section 'rate'; did you mean 'rates'"),
        ("\nclaims:\n", "\nclaims: {}\nrest:\n", "section 'claims': expected a list"),
    ],
)
def test_a_slip_in_the_matrix_is_one_line(tmp_path, monkeypatch, before, after, said):
    text = (matrix.ROOT / matrix.MATRIX).read_text("utf-8")
    (tmp_path / "config").mkdir()
    (tmp_path / matrix.MATRIX).write_text(text.replace(before, after), "utf-8")
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    monkeypatch.setattr(matrix, "_matrix", cache(matrix._matrix.__wrapped__))
    with pytest.raises(SettingsError, match=said) as caught:
        matrix.variants.__wrapped__()
    assert "\n" not in str(caught.value)


def _few_shot_baseline(annotated, monkeypatch):
    row = matrix.variants()["baseline"]
    few = row.model_copy(update={"settings": row.settings.model_copy(update={"annotated": annotated})})
    rows = {**matrix.variants(), "baseline": few}
    monkeypatch.setattr(matrix, "variants", lambda: rows)


@pytest.mark.parametrize(
    ("annotated", "said"),
    [
        ({"pet": 3}, "annotated.pet: "),
        ({"mri": 300}, r"annotated.mri: 300 of 14 training cases \(table table1, fixed\)"),
    ],
)
def test_few_shot_asks_for_no_case_that_is_not_there(annotated, said, monkeypatch):
    _few_shot_baseline(annotated, monkeypatch)
    with pytest.raises(SettingsError, match=said):
        matrix.check()


def test_few_shot_of_one_modality_leaves_the_other_whole(monkeypatch):
    _few_shot_baseline({"mri": 3}, monkeypatch)
    counts = {
        run.modality: len(run.cases[run.modality]["train"])
        for run in matrix.runs_of("baseline", "abdomen", "draw0", "real", "small", 0)
    }
    assert counts == {"ct": 21, "mri": 3}


def test_a_tasks_own_table_is_named_with_its_file(monkeypatch):
    own = matrix.tasks()["abdomen"].model_copy(update={"tables": {"mine": {"title": "", "methods": []}}})
    rows = {**matrix.tasks(), "abdomen": own}
    monkeypatch.setattr(matrix, "tasks", lambda: rows)
    with pytest.raises(SettingsError, match=r"config/tasks/abdomen.yaml: tables.mine: "):
        matrix.tables.__wrapped__()


def test_a_backbone_for_another_rank_is_told():
    row = matrix.variants()["ummkd"].model_copy(update={"backbone": {2: "ummkd_2d"}})
    with pytest.raises(SettingsError, match=r"variants\.ummkd: no backbone for rank 3, which abdomen has"):
        row.backbone_row(matrix.tasks()["abdomen"])


def test_settings_that_are_cut_short_are_told(tmp_path):
    (tmp_path / "settings.json").write_text('{"format": 3, "key": ', "utf-8")
    with pytest.raises(RunError, match=r"settings\.json: damaged"):
        read_settings(tmp_path)


def test_a_fingerprint_is_never_of_nothing():
    with pytest.raises(FileNotFoundError, match="config/tasks: no Python file"):
        fingerprint("config/tasks")


def test_like_takes_the_flags_of_a_row_that_is_itself_like_another(monkeypatch):
    whole = matrix._matrix()
    rows = {**whole["variants"], "again": {"like": "joint_v3_icr_tau2", "label": "again"}}
    monkeypatch.setattr(matrix, "_matrix", lambda: {**whole, "variants": rows})
    again = matrix.variants.__wrapped__()["again"]
    assert again.settings.losses.tau == 2 and again.icr and again.label == "again"
