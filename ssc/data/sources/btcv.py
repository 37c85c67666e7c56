"""BTCV: abdominal CT, one NIfTI file each for image (HU) and label map (values 0–13) of a case."""

from __future__ import annotations

from ssc.data.sources.nifti_pairs import numbered_pairs

BTCV = numbered_pairs(
    name="btcv",
    kind="ct",
    folder="RawData/Training",
    image="img/img{case}.nii.gz",
    label="label/label{case}.nii.gz",
    where="RawData.zip at https://www.synapse.org/#!Synapse:syn3193805/wiki/217789 (needs a Synapse account)",
    label_values=((0, 13),),
    hounsfield=True,
)
