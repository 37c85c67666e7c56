"""What the results browser is given; the page itself is tried in Chromium (tests/browser)."""

import base64
import gzip
import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from ssc import matrix
from ssc.cli import main
from ssc.errors import DataError, UserError
from ssc.results import browser, viewer
from ssc.results.front import front
from ssc.tasks import ROOT, tasks

KEPT = ROOT / "docs/results/real_small"


def _volume(text: str) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))


def _image(array: np.ndarray, spacing=(2.0, 3.0, 4.0), origin=(5.0, -6.0, 7.0)) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    return image


def test_a_label_map_moves_onto_the_case_by_its_place_in_the_patient():
    fine = np.zeros((8, 8, 8), np.uint8)
    fine[2:4, 4:6, 6:8] = 3  # z, y, x
    fine_image = _image(fine, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    coarse = _image(np.zeros((4, 4, 4), np.float32), (2.0, 2.0, 2.0), (0.5, 0.5, 0.5))
    moved = _volume(viewer.label_text(fine_image, coarse))
    found = np.argwhere(np.asanyarray(moved.dataobj))  # x, y, z
    assert found.tolist() == [[3, 2, 1]] and np.asanyarray(moved.dataobj)[3, 2, 1] == 3
    # NIfTI counts to the patient's right and front as negative
    assert nib.affines.apply_affine(moved.affine, [3, 2, 1]).tolist() == [-6.5, -4.5, 2.5]


def test_a_scan_becomes_grey_values_in_its_own_place():
    array = np.linspace(-1000, 1000, 1000, dtype=np.float32).reshape(10, 10, 10)
    packed = _volume(viewer.image_text(_image(array)))
    grey = np.asanyarray(packed.dataobj).T
    assert grey.dtype == np.uint8 and grey.min() == 0 and grey.max() == 255
    assert np.abs(grey / 255 * 2000 - 1000 - array).max() < 10
    assert packed.header.get_zooms() == (2.0, 3.0, 4.0)


def test_no_text_can_end_a_script():
    text = "</script><script>alert(1)</script>"
    assert "<" not in viewer.as_json({"a": text}) and json.loads(viewer.as_json({"a": text}))["a"] == text


def test_numbers_of_the_page_are_those_of_the_tables_and_scores():
    found = browser.Found.below(KEPT)
    assert {path.stem for path in found.tables} == {"table2", "table6", "table7", "controls"}
    data = browser._data(found, {}, KEPT)
    assert data["tables"][0]["labels"]["ours"] == "Ours (w/ CR)"
    scores = pd.DataFrame(data["scores"]["rows"], columns=data["scores"]["columns"])
    runs = [i for i, run in enumerate(data["runs"]) if run["method"] == "ours" and run["split"].startswith("draw")]
    livers = scores[scores["run"].isin(runs) & (scores["structure"] == "liver") & (scores["grid"] == "native")]
    table = pd.read_csv(KEPT / "tables/table6.csv").query("method == 'ours' and metric == 'dice' and grid == 'native'")
    cell = table.query("modality == 'ct' and structure == 'liver'").iloc[0]
    assert livers.query("modality == 'ct'")["dice"].mean() == pytest.approx(cell["mean"], abs=1e-3)
    json.dumps(data, allow_nan=False)


@pytest.mark.parametrize(("scans", "shown"), [("none", False), ("cases", True)])
def test_real_scans_are_on_the_page_only_where_the_configuration_says_so(tmp_path, scans, shown):
    run = matrix.Run("real", "small", "abdomen", "draw0", 0, "ours", None)
    case = run.cases["ct"]["test"][0]
    folder = tmp_path / run.cases_folder("ct").relative_to("results") / "files"
    folder.mkdir(parents=True)
    for kind in ("image", "label"):
        sitk.WriteImage(_image(np.ones((4, 4, 4), np.uint8)), str(folder / f"{case}_{kind}.nii.gz"))
    ((name, text),) = browser._volumes([run], scans, tmp_path)
    volumes = json.loads(text.removeprefix(f"loaded({json.dumps(name)}, ").removesuffix(");\n"))
    assert name == f"real/small/abdomen/ct/{case}" and (volumes["scan"] is not None) == shown
    assert volumes["truth"] and not volumes["maps"]
    warnings = " ".join(browser._warnings([run], [name]))
    terms = {m: row.terms for m, row in tasks()["abdomen"].modalities.items()}
    assert (
        terms["ct"] in warnings and terms["mri"] not in warnings
    )  # of what is there: a truth is a part of its archive
    assert not any(text in " ".join(browser._warnings([run], [])) for text in terms.values())


def test_what_decides_the_page_is_listed(tmp_path):
    run = matrix.Run("phantom", "smoke", "abdomen", "draw0", 0, "ours", None)
    scores = tmp_path / run.predictions("test").relative_to("results") / "scores.csv"
    made = [scores, scores.parent / "label_maps/ct_0002.nii.gz", tmp_path / "learned" / f"{run.key}.npz",
            tmp_path / run.folder.relative_to("results") / "history.csv",
            tmp_path / run.cases_folder("ct").relative_to("results") / "files/0002_label.nii.gz"]  # fmt: skip
    for path in made:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    listed = set(browser.Found.below(tmp_path).files(tmp_path))
    assert {*made, viewer.PAGE / "browser.js", ROOT / "config/tasks/abdomen.yaml"} <= listed


def test_a_library_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(viewer.LIBRARIES, "niivue", ("no_such_package", "", None, None))
    with pytest.raises(UserError, match="the viewer needs no_such_package, which is not installed: pip install"):
        viewer.library("niivue")


def test_the_reports_first_page_holds_table_and_figure(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "figures").mkdir()
    (tmp_path / "tables/table6.csv").write_bytes((KEPT / "tables/table6.csv").read_bytes())
    (tmp_path / "figures/means_table6.png").write_bytes(b"picture")
    page = front(["table6"], tmp_path)
    assert "Real scans: btcv, chaos" in page and "75.7 [58.2, 93.2]" in page
    assert f"data:image/png;base64,{base64.b64encode(b'picture').decode()}" in page


class TestView:
    @pytest.fixture(autouse=True)
    def _no_library(self, monkeypatch):
        monkeypatch.setattr(viewer, "library", lambda name: "")

    @pytest.fixture
    def files(self, tmp_path):
        labels = np.zeros((6, 6, 6), np.uint8)
        labels[1:3], labels[3:5] = 1, 6
        grey = np.random.default_rng(0).normal(size=labels.shape).astype(np.float32)
        for name, array in (("labels", labels), ("scan", grey), ("truth", labels)):
            sitk.WriteImage(_image(array), str(tmp_path / f"{name}.nii.gz"))
        return tmp_path

    def _layers(self, page):
        text = page.split("const shown = ")[1].split(";</script>")[0]
        shown = json.loads(text)
        volumes = {layer["name"]: np.asanyarray(_volume(layer["data"]).dataobj).T for layer in shown["layers"]}
        return shown["structures"], volumes

    def test_the_truth_has_the_values_of_its_archive(self, files):
        command = ["view", str(files / "labels.nii.gz"), "--scan", str(files / "scan.nii.gz"), "--truth",
                   str(files / "truth.nii.gz"), "--task", "abdomen", "--modality", "ct",
                   "--save", str(files / "page.html")]  # fmt: skip
        assert main(command) == 0
        structures, layers = self._layers((files / "page.html").read_text("utf-8"))
        assert [s["label"] for s in structures] == ["Liver", "Spleen", "R-kdy", "L-kdy", "label 5", "label 6"]
        assert np.unique(layers["prediction"]).tolist() == [0, 1, 6]
        assert (layers["truth"][1:3] == 2).all() and (layers["truth"][3:5] == 1).all()  # BTCV: 1 spleen, 6 liver

    def test_a_label_map_of_another_scan_is_refused(self, files, capsys):
        sitk.WriteImage(_image(np.ones((5, 6, 6), np.uint8)), str(files / "labels.nii.gz"))
        command = ["view", str(files / "labels.nii.gz"), "--scan", str(files / "scan.nii.gz"), "--save",
                   str(files / "page.html")]  # fmt: skip
        assert main(command) == 1 and "size" in capsys.readouterr().err
        assert not (files / "page.html").exists()

    @pytest.mark.parametrize("value", [1.5, -1.0])
    def test_what_is_no_label_is_refused(self, files, capsys, value):
        sitk.WriteImage(_image(np.full((6, 6, 6), value, np.float32)), str(files / "labels.nii.gz"))
        command = ["view", str(files / "labels.nii.gz"), "--scan", str(files / "scan.nii.gz"), "--save",
                   str(files / "page.html")]  # fmt: skip
        assert main(command) == 1 and f"label has value {value:g}, expected" in capsys.readouterr().err

    def test_nothing_labelled_is_said(self):
        empty = _image(np.zeros((4, 4, 4), np.uint8))
        with pytest.raises(DataError, match="the highest label is 0"):
            viewer.view_page("x", empty, {"prediction": empty}, [])
