"""A user's own scans: every layout gives the same cases, a proposal trains as it stands, what is wrong is one line."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk
import yaml
from archives import image_array, label_array, write_nifti

from ssc import cli, proposal, tasks
from ssc.data import sources
from ssc.data.sources import layouts
from ssc.data.verify import manifest
from ssc.errors import DataError, MissingDataError, SettingsError
from ssc.tasks import Intensity, Modality, natural, read_task

IDS = [f"Pat-{number:02d} b" for number in range(1, 10)]
NAMES = {"background": 0, "cavity": 1, "wall": 2}
INTENSITY = Intensity(clip=(0.5, 99.5), unit="percentile_of_nonzero", z_score="box")


def _scan(case):
    seed = sum(map(ord, case))
    return image_array(seed), label_array((1, 2))


def _nnunet(folder, ids=IDS, names=NAMES, **changes):
    for case in ids:
        image, label = _scan(case)
        write_nifti(folder / f"imagesTr/{case}_0000.nii.gz", image)
        write_nifti(folder / f"labelsTr/{case}.nii.gz", label)
    content = {"channel_names": {"0": "MRI"}, "labels": names, "numTraining": len(ids), "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(content | changes), "utf-8")
    return folder


def _msd(folder, ids=IDS):
    rows = [{"image": f"./imagesTr/{case}.nii.gz", "label": f"./labelsTr/{case}.nii.gz"} for case in ids]
    for case, row in zip(ids, rows, strict=True):
        image, label = _scan(case)
        write_nifti(folder / row["image"], image)
        write_nifti(folder / row["label"], label)
    labels = {str(value): name for name, value in NAMES.items()}
    content = {"modality": {"0": "MRI"}, "labels": labels, "training": rows, "test": []}
    (folder / "dataset.json").write_text(json.dumps(content), "utf-8")
    (folder / "imagesTr/._x.nii.gz").write_bytes(b"resource fork")
    return folder


def _pairs(folder, ids=IDS):
    for case in ids:
        image, label = _scan(case)
        write_nifti(folder / f"images/{case}.nii.gz", image)
        write_nifti(folder / f"labels/{case}.nii.gz", label)
    (folder / "images/.hidden.nii.gz").write_bytes(b"not a scan")
    return folder


LAYOUTS = {"nnunet": _nnunet, "msd": _msd, "pairs": _pairs}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where task files go."""
    where = tmp_path / "tasks"
    where.mkdir()
    monkeypatch.setattr(proposal, "FOLDER", where)
    return where


def _propose(tmp_path, layout="nnunet", **options):
    wishes = {}
    for modality in ("bssfp", "lge"):
        top = tmp_path / modality
        if not top.exists():
            LAYOUTS[layout](top)
        wishes[modality] = proposal.Wish(str(top))
    return proposal.propose("hearts", wishes, **{"backbones": ["unet"], **options})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_cases(tmp_path, layout):
    LAYOUTS[layout](tmp_path)
    patterns = {"images": "images/{case}.nii.gz", "labels": "labels/{case}.nii.gz"} if layout == "pairs" else {}
    own = Modality(kind="mr", layout=layout, folder=str(tmp_path), intensity=INTENSITY, **patterns)
    source = layouts.of_modality("hearts_lge", own)
    assert source.cases(tmp_path) == IDS
    scan = source.read(tmp_path, "Pat-03 b", [(1, 1), (2, 2)])
    image, label = _scan("Pat-03 b")
    assert np.array_equal(sitk.GetArrayFromImage(scan.image).T, image)
    assert np.array_equal(sitk.GetArrayFromImage(scan.label).T, label)


def test_nnunets_list_of_files_is_followed(tmp_path, monkeypatch):
    """`dataset` of dataset.json: files that lie anywhere, also beside the folder."""
    write_nifti(tmp_path / "far/a.nii.gz", image_array(1))
    write_nifti(tmp_path / "far/b.nii.gz", label_array((1, 2)))
    top = tmp_path / "Dataset001"
    top.mkdir()
    _nnunet(top, ids=[], dataset={"first": {"images": ["../far/a.nii.gz"], "label": "../far/b.nii.gz"}})
    own = Modality(kind="mr", layout="nnunet", folder=str(top), intensity=INTENSITY)
    monkeypatch.setitem(sources.ARCHIVES, "own", layouts.of_modality("own", own))
    found = manifest("own", top, [(1, 1), (2, 2)])["cases"]
    assert list(found) == ["first"] and list(found["first"]["files"]) == ["../far/a.nii.gz", "../far/b.nii.gz"]


@pytest.mark.parametrize("name", ["../../elsewhere", "/tmp/x", "a/b", ".x"])
def test_no_case_is_named_out_of_its_folder(tmp_path, name):
    _nnunet(tmp_path, ids=[], dataset={name: {"images": ["a.nii.gz"], "label": "b.nii.gz"}})
    with pytest.raises(DataError, match="is no name of a case"):
        layouts.read_nnunet(tmp_path)


def test_amos_is_split_by_number(tmp_path):
    rows = {
        "training": [f"imagesTr/amos_{n:04d}.nii.gz" for n in (1, 410, 507)],
        "validation": [f"imagesVa/amos_{n:04d}.nii.gz" for n in (8, 409, 590)],
    }
    content = {part: [{"image": i, "label": i.replace("images", "labels")} for i in row] for part, row in rows.items()}
    content |= {"modality": {"0": "CT"}, "labels": {"0": "background", "6": "liver"}}
    (tmp_path / "dataset.json").write_text(json.dumps(content), "utf-8")
    found = {kind: sorted(layouts.read_amos(tmp_path, kind).pairs) for kind in ("ct", "mr")}
    assert found["ct"] == ["amos_0001", "amos_0008", "amos_0409", "amos_0410"]
    assert found["mr"] == ["amos_0507", "amos_0590"]


def test_ids_sort_as_people_do():
    assert sorted(["b10", "b2", "a", "0010", "0009"], key=natural) == ["0009", "0010", "a", "b2", "b10"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_proposal_is_a_task_that_holds_together(tmp_path, layout):
    path = _propose(tmp_path, layout)
    task = read_task(path)
    assert list(task.modalities) == ["bssfp", "lge"] and task.source("lge") == "hearts_lge"
    names = ["structure_1", "structure_2"] if layout == "pairs" else ["cavity", "wall"]
    assert [structure.name for structure in task.structures] == names
    assert task.draws == tuple(f"fold{fold}" for fold in range(5))
    tested = [case for split in task.splits.values() for case in split["lge"]["test"]]
    assert sorted(tested, key=natural) == IDS
    assert set(task.presets) == {"real"} and set(task.presets["real"]) == {"smoke", "small"}
    assert task.orientation.endswith("S")  # slices of 5 mm, 2 mm in the plane
    assert task.backbone == "unet" and task.tables["hearts"]["methods"] == ["joint_plain", "joint_v2", "ours"]
    with pytest.raises(SettingsError, match="is there already"):
        _propose(tmp_path, layout)


def test_several_backbones_stand_in_one_table(tmp_path):
    task = read_task(_propose(tmp_path, backbones=["swin_unet", "unet"]))
    methods = ["joint_plain", "joint_v2", "ours", "joint_plain_unet", "joint_v2_unet", "ours_unet"]
    assert task.backbone == "swin_unet" and task.tables["hearts"]["methods"] == methods


def test_ids_of_one_folder_are_picked_by_glob_and_by_csv(tmp_path):
    top = _nnunet(tmp_path / "both", [f"{kind}_{n}" for kind in ("t1", "t2") for n in range(8)])
    with (tmp_path / "meta.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("case", "sequence"), *((f"t2_{n}", "second: 12:30=T2") for n in range(8))])
    picked = ["t1=t1_*", f"t2=@{tmp_path / 'meta.csv'}:sequence=second: 12:30=T2"]
    wishes = proposal.wishes_of([f"{name}={top}" for name in ("t1", "t2")], picked)
    task = read_task(proposal.propose("hearts", wishes, ["unet"]))
    for modality in ("t1", "t2"):
        cases = [case for split in task.splits.values() for case in split[modality]["test"]]
        assert sorted(cases) == [f"{modality}_{n}" for n in range(8)]


@pytest.mark.parametrize("form", ["splits_final", "datalist"])
def test_given_folds_are_kept(tmp_path, form):
    parts = [IDS[:3], IDS[3:6], IDS[6:]]
    if form == "splits_final":
        content = [{"train": [case for case in IDS if case not in part], "val": part} for part in parts]
    else:
        content = {"training": [{"image": f"i/{c}.nii.gz", "fold": f} for f, part in enumerate(parts) for c in part]}
    (tmp_path / "splits.json").write_text(json.dumps(content), "utf-8")
    task = read_task(_propose(tmp_path, splits=tmp_path / "splits.json"))
    assert [list(split["lge"]["test"]) for split in task.splits.values()] == parts
    assert all(len(split["lge"]["validation"]) == 2 for split in task.splits.values())


def test_a_test_list_is_no_part_of_training(tmp_path):
    content = [{"train": IDS[2:7], "val": IDS[7:]}]
    (tmp_path / "splits.json").write_text(json.dumps(content), "utf-8")
    task = read_task(_propose(tmp_path, splits=tmp_path / "splits.json", test=IDS[:2]))
    parts = task.splits["fold0"]["bssfp"]
    assert [list(parts[part]) for part in ("train", "validation", "test")] == [IDS[2:7], IDS[7:], IDS[:2]]


FAULTS = {
    "no dataset.json": (lambda top: (top / "dataset.json").unlink(), MissingDataError, "there is no dataset.json"),
    "unnamed value": (
        lambda top: write_nifti(top / f"labelsTr/{IDS[0]}.nii.gz", label_array((1, 2, 7))),
        DataError,
        "label has value 7, expected 0–2",
    ),
    "no label": (lambda top: (top / f"labelsTr/{IDS[0]}.nii.gz").unlink(), DataError, "found no Pat-01 b.nii.gz"),
    "none": (
        lambda top: [file.unlink() for part in ("imagesTr", "labelsTr") for file in (top / part).iterdir()],
        MissingDataError,
        "no cases in",
    ),
    "a structure that no map holds": (
        lambda top: [_nnunet(top.with_name(m), names=NAMES | {"valve": 3}) for m in ("bssfp", "lge")],
        DataError,
        r"no label map of .* holds valve \(3\)",
    ),
    "no JSON": (lambda top: (top / "dataset.json").write_text("{", "utf-8"), DataError, "no JSON"),
    "two channels": (
        lambda top: _nnunet(top, channel_names={"0": "CT", "1": "MRI"}), DataError, "2 channels, expected one a scan"),
    "other names": (
        lambda top: _nnunet(top, names={"background": 0, "ventricle": 1, "muscle": 2}),
        DataError,
        "no structure is named in every modality",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_one_line_and_nothing_is_written(tmp_path, folder, fault):
    spoil, kind, said = FAULTS[fault]
    for modality in ("bssfp", "lge"):
        _nnunet(tmp_path / modality)
    spoil(tmp_path / "lge")
    with pytest.raises(kind, match=said) as caught:
        _propose(tmp_path)
    assert "\n" not in str(caught.value) and not list(folder.iterdir())


def test_msd_given_as_nnunet_is_told(tmp_path, folder):
    wishes = {m: proposal.Wish(str(_msd(tmp_path / m))) for m in ("bssfp", "lge")}
    with pytest.raises(DataError, match="It looks like MSD's: give layout msd"):
        proposal.propose("hearts", wishes, ["unet"], layout="nnunet")
    assert not list(folder.iterdir())


def test_a_patient_on_two_sides_is_refused(tmp_path, folder):
    content = [{"train": IDS[:6], "val": IDS[6:]}]
    (tmp_path / "splits.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(SettingsError, match=r"split fold0: patient twin is in \w+ \(Pat-0"):
        _propose(
            tmp_path,
            splits=tmp_path / "splits.json",
            patients={case: case for case in IDS} | {IDS[0]: "twin", IDS[8]: "twin"},
        )
    assert not list(folder.iterdir())


def test_a_case_in_two_parts_is_refused_where_the_task_is_read(tmp_path):
    path = _propose(tmp_path)
    content = yaml.safe_load(path.read_text("utf-8"))
    split = content["splits"]["fold0"]["lge"]
    split["train"].append(split["test"][0])
    path.write_text(yaml.safe_dump(content), "utf-8")
    with pytest.raises(SettingsError, match=f"split fold0, lge: {split['test'][0]} is in two parts"):
        read_task(path)


def test_the_command_says_what_comes_next(tmp_path, capsys, folder):
    for modality in ("bssfp", "lge"):
        _nnunet(tmp_path / modality)
    scans = [f"{modality}={tmp_path / modality}" for modality in ("bssfp", "lge")]
    assert cli.main(["task", "hearts", *scans, "--structures", "cavity"]) == 0
    assert "results/tables/hearts.csv" in capsys.readouterr().out
    assert [s.name for s in tasks.read_task(folder / "hearts.yaml").structures] == ["cavity"]
    for wrong, said in (
        (["task", "Hearts", *scans], "names are small letters"),
        (["task", "é1", *scans], "names are small letters"),
        (["task", "other", *scans, scans[0]], "bssfp: given MODALITY=FOLDER twice"),
        (["task", "other", scans[0]], "at least two modalities"),
        (["task", "other", *scans, "--backbone", "unett"], "did you mean 'unet'?"),
        (["task", "other", *scans, "--structures", "cavty"], "did you mean 'cavity'?"),
        (["task", "table6", *scans], "a table, or another file of results, has this name"),
        (["task", "table3", *scans], "'table3': a table, or another file of results"),
        (["task", "claims_heart", *scans], "'claims_heart': a table, or another file of results"),
        (["task", "method", *scans], "'method': a table, or another file of results"),
        (["task", "other", scans[0], scans[1].replace("lge", "overall", 1)], "'overall': a word of tables or of YAML"),
        (["task", "other", scans[0], scans[1].replace("lge", "on", 1)], "'on': a word of tables or of YAML"),
    ):
        assert cli.main(wrong) == 1
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cases", "lgee=Pat*"], "did you mean 'lge'?"),
        (["--cases", "lge=Pat-77"], "has no case Pat-77"),
        (["--cases", "lge=@{}/meta.csv:kind=b"], "no row has b in its column kind"),
        (["--cases", "lge=@{}/meta.csv:sort=a"], "expected the columns case and sort, found case, kind"),
        (["--patients", "{}/meta.csv"], "expected the columns case and patient"),
        (["--patients", "{}/patients.csv"], "--patients: 1 is no case"),
        (["--cases", "lge=@{}/meta.csv"], "expected @FILE.csv:COLUMN=VALUE"),
        (["--patients", "{}/twice.csv"], "case Pat-01 b stands there twice"),
        (["--folds", "1"], "expected at least two and one"),
        (["--folds", "5", "--splits", "{}/meta.csv"], "leave them out with --splits"),
        (["--folds", "8"], "expected at least 10 for 8 folds"),
        (["--test", "Pat-01 b"], "it needs --splits"),
        (["--splits", "{}/meta.csv"], "expected nnU-Net's splits_final.json, or a datalist"),
        (["--structures", "cavity=2"], "--structures has cavity=2, dataset.json 1"),
        (["--structures", "cavity=x"], "expected NAME or NAME=VALUE"),
        (["--layout", "pairs", "--images", "{{case}}/{{case}}.nii.gz", "--labels", "l/{{case}}.nii.gz"], "{case} once"),
    ],
)
def test_what_was_typed_wrongly_is_one_line(tmp_path, folder, capsys, arguments, said):
    for modality in ("bssfp", "lge"):
        _nnunet(tmp_path / modality)
    (tmp_path / "meta.csv").write_text("\ufeffcase,kind\nPat-01 b,a\n", "utf-8")
    (tmp_path / "patients.csv").write_text("case,patient\n1,anna\n", "utf-8")
    (tmp_path / "twice.csv").write_text("case,patient\nPat-01 b,anna\nPat-01 b,berta\n", "utf-8")
    scans = [f"{modality}={tmp_path / modality}" for modality in ("bssfp", "lge")]
    assert cli.main(["task", "hearts", *scans, *(word.format(tmp_path) for word in arguments)]) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not list(folder.iterdir())


@pytest.mark.parametrize(
    "content",
    [[], {"channel_names": [], "labels": {}}, {"channel_names": {"0": "MRI"}, "labels": [1]},
     {"channel_names": {"0": "MRI"}, "labels": NAMES, "dataset": {"a": {"images": []}}},
     {"modality": "MRI", "training": ["a"]}, {"modality": {"0": "MRI"}, "training": [{"image": 1, "label": 2}]}],
)  # fmt: skip
def test_a_dataset_json_of_another_form_is_one_line(tmp_path, content):
    (tmp_path / "dataset.json").write_text(json.dumps(content), "utf-8")
    for read in (layouts.read_nnunet, layouts.read_msd):
        with pytest.raises(DataError) as caught:
            read(tmp_path)
        assert "\n" not in str(caught.value)


def test_what_nnunet_ignores_is_refused(tmp_path, folder):
    for modality in ("bssfp", "lge"):
        _nnunet(tmp_path / modality, names=NAMES | {"ignore": 3})
    with pytest.raises(DataError, match="a label 'ignore'"):
        _propose(tmp_path)


def test_some_structures_of_plain_pairs_are_enough(tmp_path):
    task = read_task(_propose(tmp_path, "pairs", structures=["cavity=1"]))
    assert [s.name for s in task.structures] == ["cavity"]
    assert task.modalities["lge"].label_values == ((0, 2),)


def test_no_task_takes_the_name_of_other_scans(tmp_path):
    wishes = {m: proposal.Wish(str(_nnunet(tmp_path / m))) for m in ("ct", "mri")}
    with pytest.raises(SettingsError, match="'mmwhs_ct': other scans have this name"):
        proposal.propose("mmwhs", wishes, ["unet"])
