"""What a figure shows is chosen by rule; diagrams follow the variants' flags."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from ssc import matrix
from ssc.errors import UserError
from ssc.results import diagrams
from ssc.results.figures import _body, best_slice, figure5, first_result, median_case, patients_differences

HEART = matrix.tasks()["heart"]


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def _scores(values, method="ours"):
    return pd.DataFrame(
        {"method": method, "modality": "ct", "grid": "native", "split": split, "case": case, "structure": name,
         "dice": dice}
        for (split, case), dices in values.items() for name, dice in zip("ab", dices, strict=True)
    )  # fmt: skip


def test_the_shown_case_is_the_lower_median_of_ours():
    """Means 50, 60, 70, 80: of four, the second; another method's scores do not count."""
    values = {("d0", "1"): (80, 80), ("d0", "2"): (40, 60), ("d1", "1"): (60, 60), ("d1", "3"): (70, 70)}
    scores = pd.concat([_scores(values), _scores({("d0", "9"): (65, 65)}, method="baseline")])
    shown = median_case(scores, "ct", "ours")
    assert (shown.split, shown.case, shown.dice) == ("d1", "1", 60)


def test_scans_that_show_no_structure_are_no_median():
    nothing = _scores({("d0", str(case)): (np.nan, np.nan) for case in range(5, 9)})
    shown = median_case(pd.concat([_scores({("d0", "1"): (80, 80), ("d0", "2"): (40, np.nan)}), nothing]), "ct", "ours")
    assert (shown.case, shown.dice) == ("2", 40)
    with pytest.raises(UserError, match="no ct case of ours shows a structure"):
        median_case(nothing, "ct", "ours")


def test_a_named_case_is_shown_from_the_first_split_that_tests_it():
    scores = _scores({("d0", "1"): (80, 80), ("d1", "2"): (40, 60), ("d2", "2"): (60, 70)})
    shown = first_result(scores, "ct", "2", "ours")
    assert (shown.split, shown.case, shown.dice) == ("d1", "2", 50)
    with pytest.raises(UserError, match="ct case 3: no test case of ours here"):
        first_result(scores, "ct", "3", "ours")


def test_the_shown_slice_has_most_structures_then_most_voxels():
    label = np.zeros((4, 6, 6), np.uint8)
    label[0, :, :] = 1  # the largest area, one structure
    label[1, 0, :2] = (1, 2)
    label[2, 0, :3] = (1, 2, 2)
    assert best_slice(label) == 2


def test_a_panel_is_cut_to_the_body_and_a_tenth_around_it():
    plane = np.zeros((100, 200))
    plane[30:51, 40:141] = 1  # rows 30 ... 50, columns 40 ... 140
    assert _body(plane) == pytest.approx((0.15, 0.75, 0.28, 0.52))
    plane[:, 199] = 1
    assert _body(plane)[1] == 1  # never beyond the plane


def _texts(figure):
    return [text.get_text() for axis in figure.axes for text in axis.texts]


def test_figure_3_has_an_encoder_a_modality_in_v1_alone(monkeypatch):
    drawn = _texts(diagrams.figure3(HEART))
    assert sum(text.startswith("encoder") for text in drawn) == 2 + 1 + 1
    assert sum("Φ" in text for text in drawn) == 1
    changed = dict(matrix.variants()) | {
        "joint_v2": matrix.variants()["joint_v2"].model_copy(update={"own_encoder": True})
    }
    monkeypatch.setattr(matrix, "variants", lambda: changed)
    assert sum(text.startswith("encoder") for text in _texts(diagrams.figure3(HEART))) == 2 + 2 + 1


def test_figure_1_shows_the_widths_of_the_built_network():
    rows = {"encoder widths": "24, 48, 96, 192", "encoder blocks": "2, 2, 6, 2", "decoder widths": "96, 48, 24"}
    rows |= {"decoder blocks": "2, 2, 2"}
    table3 = pd.DataFrame({"task": "heart", "row": rows.keys(), "ours": rows.values()})
    drawn = "\n".join(_texts(diagrams.figure1(table3, HEART)))
    assert "G3: 6 blocks,\n96 channels" in drawn and "decoder L3\n2 blocks\n24 channels" in drawn


def test_figure_5_draws_the_tables_means_over_tau():
    temperatures = {"tau1": 1.0, "joint_v3_icr": 4.0}
    table = pd.DataFrame(
        {"method": ["joint_v3", *temperatures], "metric": "dice", "modality": "overall", "grid": "native",
         "mean": [70.0, 71.0, 74.0], "low": [68.0, 69.0, 72.0], "high": [72.0, 73.0, 76.0], "interval": "t"}
    )  # fmt: skip
    scores = pd.concat([_scores({("d0", "1"): (71, 71)}, m) for m in ("joint_v3", *temperatures)])
    (axis,) = figure5(table, temperatures, scores, "joint_v3", "note").axes
    curve = next(line for line in axis.lines if list(line.get_xdata()) == [1.0, 4.0])
    assert list(curve.get_ydata()) == [71.0, 74.0]


def test_every_patient_is_a_dot_of_its_mean_difference_and_far_ones_have_names():
    table = matrix.tables()["study"].model_copy(update={"contrasts": (("ours_unet", "joint_plain_unet"),)})
    gains = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 2.5, "far": 40.0}
    rows = [
        {"method": method, "modality": m, "split": split, "seed": 0, "case": case, "patient": case, "structure": name,
         "grid": "native", "dice": 50 + (method == "ours_unet") * (gain + shift)}
        for method in table.contrasts[0] for m in ("ct", "mri") for case, gain in gains.items()
        for split, shift in (("repeat0_fold0", -0.5), ("repeat1_fold0", 0.5)) for name in ("liver", "spleen")
    ]  # fmt: skip
    lesion = [row for row in rows if row["case"] == "b" and row["structure"] == "liver"]  # one patient alone shows it
    rows += [
        row | {"structure": "lesion", "dice": row["dice"] - 1.5 * (row["method"] == "ours_unet")} for row in lesion
    ]
    gains["b"] -= 1.5 / 3
    figure = patients_differences(table, pd.DataFrame(rows), "made-up")
    for axis in figure.axes:
        dots = axis.lines[0].get_xdata()
        assert sorted(dots) == pytest.approx(sorted(gains.values()))
        assert axis.lines[1].get_xdata()[0] == pytest.approx(np.mean(list(gains.values())))
        assert [text.get_text() for text in axis.texts] == ["far"]
