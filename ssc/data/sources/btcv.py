"""BTCV: abdominal CT, one NIfTI file each for image (HU) and label map (values 0–13) of a case."""

from __future__ import annotations

from ssc.data.sources.nifti_pairs import NiftiPairs

BTCV = NiftiPairs(
    name="btcv",
    MODALITY="ct",
    FOLDER="RawData/Training",
    WHERE="RawData.zip at https://www.synapse.org/#!Synapse:syn3193805/wiki/217789 (needs a Synapse account)",
    image="img/img{case}.nii.gz",
    label="label/label{case}.nii.gz",
    label_values=((0, 13),),
    hounsfield=True,
)
