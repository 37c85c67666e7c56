"""A results folder with the kept scores and a few made-up volumes, and Chromium to look at it."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from playwright.sync_api import sync_playwright

from ssc import matrix
from ssc.data.preprocess import case_file
from ssc.results.browser import write_browser

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "docs/results/real_small"
# As root without a sandbox, without a GPU, and asking no network for anything of its own.
ARGUMENTS = [
    "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-quic",
]  # fmt: skip
EVIL = "<script>window.evil = true</script><img src=x onerror='window.evil = true'>"


def blocks(shift: int = 0) -> sitk.Image:
    """A label map of four blocks; ``shift``: moved by so many voxels along x."""
    labels = np.zeros((20, 40, 40), np.uint8)
    for value, (y, x) in enumerate([(8, 8), (8, 24), (24, 8), (24, 24)], start=1):
        labels[6:14, y : y + 8, x + shift : x + shift + 8] = value
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing((6.0, 6.0, 8.0))
    return image


@pytest.fixture(scope="session")
def page_folder(tmp_path_factory):
    """The browser's page of the kept results; of three cases of draw 0 with volumes, one of them with an evil name."""
    results = tmp_path_factory.mktemp("page") / "results"
    for name in ("tables", "predictions", "runs"):
        shutil.copytree(KEPT / name, results / name)
    runs = [matrix.Run("real", "small", "abdomen", "draw0", 0, name, None) for name in ("ours", "unet")]
    for case in runs[0].cases["ct"]["test"][:3]:
        folder = results / runs[0].cases_folder("ct").relative_to("results")
        (folder / "files").mkdir(parents=True, exist_ok=True)
        grey = np.random.default_rng(0).normal(size=(20, 40, 40)).astype(np.float32)
        image = sitk.GetImageFromArray(grey)
        image.CopyInformation(blocks())
        for kind, volume in (("image", image), ("label", blocks())):
            sitk.WriteImage(volume, str(case_file(folder, case, kind)))
        for shift, run in enumerate(runs, start=1):
            maps = results / run.predictions("test").relative_to("results") / "label_maps"
            maps.mkdir(exist_ok=True)
            sitk.WriteImage(blocks(2 * shift), str(maps / f"ct_{case}.nii.gz"))
    _plant(results / runs[1].predictions("test").relative_to("results") / "scores.csv", "case")
    _plant(results / "tables/table7.csv", "structure")
    _second_seed(runs[0], results)
    write_browser(results / "browser/index.html", results / "browser/files", "cases", results)
    return results / "browser"


def _plant(path: Path, column: str) -> None:
    """The first of the texts in a column becomes an evil one."""
    rows = pd.read_csv(path, dtype={"case": str})
    rows.loc[rows[column] == rows[column].iloc[0], column] = EVIL
    rows.to_csv(path, index=False)


def _second_seed(run: matrix.Run, results: Path) -> None:
    """A run of seed 1, which no table rests on."""
    other = replace(run, seed=1)
    for path in (run.folder, run.predictions("test").parent):
        made = Path(str(path).replace("seed0", "seed1"))
        shutil.copytree(results / path.relative_to("results"), results / made.relative_to("results"))
    assert (results / other.predictions("test").relative_to("results") / "scores.csv").is_file()


@pytest.fixture(scope="session")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def faults():
    """Errors on the console, and requests off the machine."""
    return []


@pytest.fixture
def opened(chromium, faults):
    """Opens a file in a new page. Afterwards: no fault, nothing evil."""
    pages = []

    def open_file(path: Path, fragment: str = "", width: int = 1280, **options):
        page = chromium.new_page(viewport={"width": width, "height": 900}, **options)
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: faults.append(request.url) if request.url.startswith("http") else None)
        page.goto(path.as_uri() + fragment)
        pages.append(page)
        return page

    yield open_file
    assert not any(page.evaluate("window.evil") for page in pages)
    for page in pages:
        page.close()
    assert not faults
