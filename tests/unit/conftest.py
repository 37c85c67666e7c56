"""Small archives in their own layouts."""

import pytest
from archives import btcv_case, chaos_case, mmwhs_case


@pytest.fixture
def btcv(tmp_path):
    """A BTCV archive of two cases, and the files of case 0007."""
    btcv_case(tmp_path, "0010")
    return tmp_path, *btcv_case(tmp_path, "0007")


@pytest.fixture
def chaos(tmp_path):
    """A CHAOS archive of one case, its DICOM and its PNG files."""
    return tmp_path, *chaos_case(tmp_path, "3")


@pytest.fixture(params=["ct", "mr"])
def mmwhs(request, tmp_path):
    """The reading of case 1007 from an MM-WHS archive of both modalities, its source and its two files."""
    for modality in ("ct", "mr"):
        mmwhs_case(tmp_path, "1010", modality)
        mmwhs_case(tmp_path, "1007", modality)
    name = {"ct": "mmwhs_ct", "mr": "mmwhs_mri"}[request.param]
    start = tmp_path / f"{request.param}_train" / f"{request.param}_train_1007"
    files = [start.with_name(f"{start.name}_{kind}.nii.gz") for kind in ("image", "label")]
    return tmp_path, name, *files
