"""The results browser, used as a reader would."""

import io
import shutil
import time

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from conftest import EVIL, KEPT, blocks
from PIL import Image

from ssc.results import viewer
from ssc.tasks import tasks

SLOW = 60_000  # ms; without a GPU


def _shown(page, view):
    page.wait_for_selector(f"body[data-shown={view}]", timeout=SLOW)
    return page


def _colours(page) -> np.ndarray:
    """Pixels (N, 3) of the canvas."""
    picture = Image.open(io.BytesIO(page.locator("canvas").screenshot())).convert("RGB")
    return np.asarray(picture).reshape(-1, 3)


def _of_hue(pixels: np.ndarray, colour: str) -> int:
    """How many pixels have a colour's hue: laid over grey it keeps the differences of its channels, in proportion."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], float)
    wanted -= wanted.mean()
    found = pixels - pixels.mean(axis=1, keepdims=True)
    strength = np.linalg.norm(found, axis=1)
    alike = found @ wanted / np.maximum(strength * np.linalg.norm(wanted), 1e-6)
    return int(((strength > 40) & (alike > 0.97)).sum())


def _comes_true(page, condition) -> bool:
    """The canvas is painted some time after a key."""
    deadline = time.monotonic() + SLOW / 1000
    while not condition() and time.monotonic() < deadline:
        page.wait_for_timeout(100)
    return condition()


def test_a_table_sorts_and_a_number_leads_to_its_cases(page_folder, opened):
    page = _shown(opened(page_folder / "index.html", "#view=tables&table=table6"), "tables")
    table = pd.read_csv(KEPT / "tables/table6.csv").query("metric == 'dice' and grid == 'native'")
    means = table.query("modality == 'ct' and structure == 'liver'").sort_values("mean", ascending=False)["mean"]
    for order in ("ascending", "descending"):  # sorted a moment after the click
        page.click("th:has-text('CT Liver')")
        page.wait_for_selector(f"th[aria-sort={order}]:has-text('CT Liver')")
    column = page.locator("tbody tr td:nth-child(2) button").all_inner_texts()
    assert column == [f"{mean:.1f}" for mean in means]
    first = page.locator("tbody tr td:nth-child(2) button").first
    assert "n 30, patients 19, missed 0" in first.get_attribute("title")
    first.click()
    listed = [float(text) for text in page.locator("#cell tbody tr td:nth-child(2)").all_inner_texts()]
    assert len(listed) == 30 and listed == sorted(listed)
    assert np.mean(listed) == pytest.approx(means.iloc[0], abs=0.05)
    assert page.locator("#cell li").count() == 5 and "e6241cb12f" in page.locator("#cell li").first.inner_text()


def test_columns_can_be_chosen(page_folder, opened):
    page = _shown(opened(page_folder / "index.html", "#view=tables&table=table6"), "tables")
    assert page.locator("thead th").count() == 12
    page.click("button:has-text('columns')")
    page.click(".dt-button-collection >> text=CT Liver")
    assert page.locator("thead th").count() == 11


def test_patients_are_dots_and_outliers_have_names(page_folder, opened):
    page = _shown(opened(page_folder / "index.html", "#view=patients"), "patients")
    page.wait_for_selector("#patient-plot .scatterlayer path.point")
    assert "36" in page.locator("#patient-plot .annotation-text").all_text_contents()  # the cyst
    assert page.locator("#outliers tbody tr").first.inner_text().startswith("MRI 36")


def test_a_case_shows_truth_and_methods_and_keys_move_on(page_folder, opened):
    structures = tasks()["abdomen"].structures
    page = _shown(opened(page_folder / "index.html", "#view=cases&case=real/small/abdomen/ct/0002"), "cases")
    page.wait_for_selector("#viewer[data-shown]", timeout=SLOW)

    def seen() -> list[int]:
        pixels = _colours(page)
        return [_of_hue(pixels, structure.outline) for structure in structures]

    assert _comes_true(page, lambda: min(seen()) > 100)
    page.keyboard.press("a")  # Ours off, the truth on
    assert _comes_true(page, lambda: max(seen()) == 0)
    page.keyboard.press("t")
    assert _comes_true(page, lambda: min(seen()) > 100)
    page.keyboard.press("d")
    assert _comes_true(page, lambda: _of_hue(_colours(page), "#ff00ff") > 100)
    place = page.locator("#place").inner_text()
    page.keyboard.press("ArrowUp")
    page.wait_for_function("place => document.querySelector('#place').innerText !== place", arg=place)
    page.wait_for_function("location.hash.includes('slice=')")
    first, now = page.locator("#viewer").get_attribute("data-shown"), "document.querySelector('#viewer').dataset.shown"
    page.keyboard.press("n")
    page.wait_for_function(f"first => {now} !== first", arg=first, timeout=SLOW)
    page.keyboard.press("p")
    page.wait_for_function(f"first => {now} === first", arg=first, timeout=SLOW)


def test_the_address_brings_a_case_back(page_folder, opened):
    address = "#view=cases&case=real/small/abdomen/ct/0004&a=real/small/abdomen/draw0/seed0/unet&slice=9"
    page = _shown(opened(page_folder / "index.html", address), "cases")
    page.wait_for_selector("#viewer[data-shown]", timeout=SLOW)
    assert page.locator("#place").inner_text().startswith("slice 9")
    assert page.locator("#case-controls select").nth(1).input_value().endswith("unet")


def test_training_curves_of_chosen_runs(page_folder, opened):
    page = _shown(opened(page_folder / "index.html", "#view=training"), "training")
    count = page.locator("#training-plot .scatterlayer .trace").count()
    assert count == page.locator("#records tbody tr").count() > 3
    page.locator("#training-controls select").nth(1).select_option("cosine_liver")
    page.wait_for_function("document.querySelector('#training-plot .ytitle').textContent === 'cosine liver'")


def test_names_are_texts(page_folder, opened):
    """An evil case and an evil structure, in lists, headings and at a dot."""
    page = _shown(opened(page_folder / "index.html", "#view=tables&table=table7"), "tables")
    assert EVIL.upper() in page.locator("#table thead").inner_text().upper()
    page.goto(page.url.replace("table7", "controls"))
    page.locator("tbody tr:has-text('U-Net') td:nth-child(6) button").click()
    assert EVIL.upper() in page.locator("#cell").inner_text().upper()
    page = _shown(opened(page_folder / "index.html", "#view=patients&table=controls"), "patients")
    page.wait_for_selector("#patient-plot .scatterlayer path.point")
    texts = page.evaluate("document.querySelector('#patient-plot').data.flatMap((trace) => trace.text)")
    evil = [text for text in texts if "script" in text]
    assert evil and not any("<" in text for text in evil)


def test_a_canvas_holds_one_case_however_fast_cases_change(page_folder, opened):
    address = "#view=cases&b=real/small/abdomen/draw0/seed0/unet&case=real/small/abdomen/ct/"
    page = _shown(opened(page_folder / "index.html", f"{address}0002"), "cases")
    page.wait_for_selector("#viewer[data-shown]", timeout=SLOW)
    page.evaluate(f"for (const id of ['0004', '0008', '0004', '0008']) location.hash = '{address}' + id")
    page.wait_for_function("document.querySelector('#viewer').dataset.shown.endsWith('0008')", timeout=SLOW)
    page.wait_for_timeout(1000)
    assert page.evaluate("viewer.nv.volumes.length") == 5  # scan, truth, A, B, disagreement
    assert page.locator("#case-controls select").first.input_value().endswith("0008")
    assert page.locator("#fault").is_hidden()


def test_controls_keep_what_was_chosen(page_folder, opened):
    page = _shown(opened(page_folder / "index.html", "#view=cases&case=real/small/abdomen/ct/0002"), "cases")
    page.wait_for_selector("#viewer[data-shown]", timeout=SLOW)
    page.locator("[data-name=show]").select_option("axial")
    page.locator("[data-name=outlines]").check()
    b = page.locator("[data-name=B]").input_value()
    page.locator("[data-name=next]").press("Enter")
    page.wait_for_function("!document.querySelector('#viewer').dataset.shown.endsWith('0002')", timeout=SLOW)
    assert (
        page.locator("[data-name=show]").input_value() == "axial" and page.locator("[data-name=outlines]").is_checked()
    )
    assert page.locator("[data-name=B]").input_value() == b
    assert page.evaluate("document.activeElement.dataset.name") == "next"


def test_a_file_that_is_missing_is_said(page_folder, opened, tmp_path, faults):
    shutil.copytree(page_folder, tmp_path / "copy")
    for file in (tmp_path / "copy/files").glob("case_*.js"):
        file.unlink()
    page = opened(tmp_path / "copy/index.html", "#view=cases&case=real/small/abdomen/ct/0002")
    page.wait_for_selector("#fault:visible", timeout=SLOW)
    assert "is not beside the page" in page.locator("#fault").inner_text() and page.locator("canvas").is_hidden()
    faults.clear()  # the web browser's own words on it


@pytest.mark.parametrize("metric", ["dice", "asd"])
def test_a_dot_opens_its_worst_case(page_folder, opened, metric):
    page = _shown(opened(page_folder / "index.html", f"#view=patients&table=table6&metric={metric}"), "patients")
    page.wait_for_selector("#patient-plot .scatterlayer path.point")
    scores = pd.concat(
        pd.read_csv(path, dtype={"case": str}).assign(split=path.parts[-5])
        for path in page_folder.parent.glob("predictions/real/small/abdomen/draw?/seed0/ours/test/scores.csv")
    )
    column = {"dice": "dice", "asd": "asd_mm"}[metric]
    means = scores.query("grid == 'native' and modality == 'ct' and case == '0027'").groupby("split")[column].mean()
    worst = means.idxmin() if metric == "dice" else means.idxmax()
    traces = page.evaluate("document.querySelector('#patient-plot').data")
    (trace,) = [trace for trace in traces if trace["text"][0].startswith("CT 0027:")]
    place = trace["x"].index("Ours (w/ CR)")
    assert trace["customdata"][place][1] == f"real/small/abdomen/{worst}/seed0/ours"
    assert trace["y"][place] == pytest.approx(means.mean(), abs=2e-3)


def test_everything_can_be_reached_with_the_keyboard(page_folder, opened):
    page = _shown(opened(page_folder / "index.html"), "tables")
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.textContent.trim().slice(0, 20)"))
    assert {"Tables", "Patients", "Cases", "Training"} <= reached
    page.locator("td button").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#cell h2").count() == 1
    page.locator("[data-name=metric]").focus()
    page.keyboard.press("ArrowDown")
    page.wait_for_function("location.hash.includes('metric=asd')")
    assert page.evaluate("document.activeElement.dataset.name") == "metric"


@pytest.mark.parametrize("view", ["tables", "patients", "cases", "training"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_is_enough(page_folder, opened, view, scheme):
    page = _shown(opened(page_folder / "index.html", f"#view={view}", width=400, color_scheme=scheme), view)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    style = "getComputedStyle(document.body)"
    colours = page.evaluate(f"[{style}.color, {style}.backgroundColor]")
    lightness = [np.mean([int(x) for x in colour[4:-1].split(",")]) for colour in colours]
    assert (lightness[0] < 60 and lightness[1] > 200) == (scheme == "light")


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "PIL"])
def test_a_page_of_one_scan(tmp_path, opened, orientation):
    """It opens in the middle of what is labelled, here a block aside of the scan's middle."""
    labels = blocks()
    labels[:, 16:, :] = 0  # the front half
    labels[16:, :, :] = 0
    labels[8:16, 8:16, 8:14] = 4
    scan, labels = (sitk.DICOMOrient(image, orientation) for image in (blocks(), labels))
    page = viewer.view_page(f"a{EVIL}", scan, {"prediction": labels, "truth": labels}, [])
    (tmp_path / "view.html").write_text(page, "utf-8")
    shown = opened(tmp_path / "view.html")
    shown.wait_for_selector("body[data-ready]", timeout=SLOW)
    assert EVIL in shown.locator("h1").inner_text()
    assert _comes_true(shown, lambda: _of_hue(_colours(shown), viewer.COLOURS[3]) > 100)
    assert "prediction: label 4" in shown.locator("#place").inner_text()
    assert shown.locator(".canvas").bounding_box()["height"] == shown.locator("canvas").bounding_box()["height"] > 500
    assert shown.locator("#legend li").all_text_contents() == [f" label {n}" for n in (1, 2, 3, 4)]
