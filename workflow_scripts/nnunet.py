"""nnU-Net v2 on a split that `ssc export-nnunet` wrote, small enough for a CPU.

`make nnunet` runs it in nnU-Net's own environment: python workflow_scripts/nnunet.py FOLDER STEPS

``FOLDER/nnUNet_raw/Dataset…`` is the export; label maps and probabilities of its test cases go to
``FOLDER/predictions``. What is nnU-Net's stays: plan, loss, optimiser, sampling, augmentation but mirroring. Ours are
the steps and the size: patches of 16 × 64 × 64, two a batch, the first four planned stages with 16 to 128 features.
Given again, the command goes on after its last epoch; test cases are segmented anew.
"""

import json
import os
import sys
import time
from pathlib import Path

import torch
from nnunetv2.experiment_planning import plan_and_preprocess_api as planning
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoMirroring import nnUNetTrainerNoMirroring

FOLDER, STEPS = Path(sys.argv[1]).resolve(), int(sys.argv[2])
EPOCH = 250  # steps of an epoch, nnU-Net's own; it saves after each
PATCH, BATCH, FEATURES = [16, 64, 64], 2, [16, 32, 64, 128]
CONFIGURATION = "3d_small"


class Trainer(nnUNetTrainerNoMirroring):
    """nnU-Net's, without mirroring (it would swap the kidneys), for as many steps as all other methods."""

    def __init__(self, plans, configuration, fold, dataset_json, device):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_iterations_per_epoch = min(EPOCH, STEPS)
        self.num_epochs = STEPS // self.num_iterations_per_epoch
        self.num_val_iterations_per_epoch = 5  # scored and never used
        self.save_every = 1


def plan(data: Path) -> tuple[dict, dict]:
    """Plans with the small configuration, and the data set's description; preprocessed once."""
    path = FOLDER / "nnUNet_preprocessed" / data.name / "nnUNetPlans.json"
    number = int(data.name[len("Dataset") :].partition("_")[0])
    if not path.is_file() or CONFIGURATION not in json.loads(path.read_text("utf-8"))["configurations"]:
        planning.extract_fingerprints([number], num_processes=1, check_dataset_integrity=True)
        planning.plan_experiments([number])
        planning.preprocess([number], configurations=("3d_fullres",), num_processes=(1,))
        plans = json.loads(path.read_text("utf-8"))
        full = plans["configurations"]["3d_fullres"]["architecture"]
        stages = len(FEATURES)
        arguments = {**full["arch_kwargs"], "n_stages": stages, "features_per_stage": FEATURES}
        for name in ("kernel_sizes", "strides", "n_conv_per_stage"):
            arguments[name] = arguments[name][:stages]
        arguments["n_conv_per_stage_decoder"] = arguments["n_conv_per_stage_decoder"][: stages - 1]
        plans["configurations"][CONFIGURATION] = {
            "inherits_from": "3d_fullres",
            "patch_size": PATCH,
            "batch_size": BATCH,
            "architecture": {**full, "arch_kwargs": arguments},
        }
        path.write_text(json.dumps(plans, indent=1), "utf-8")
    return json.loads(path.read_text("utf-8")), json.loads((data / "dataset.json").read_text("utf-8"))


def main() -> None:
    """Plan, train, predict."""
    if STEPS > EPOCH and STEPS % EPOCH:
        sys.exit(f"STEPS={STEPS}: expected a multiple of {EPOCH}, the steps of an epoch")
    places = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
    os.environ.update({name: str(FOLDER / name) for name in places})
    (data,) = (FOLDER / "nnUNet_raw").iterdir()
    plans, description = plan(data)
    os.environ.update(nnUNet_n_proc_DA="0")  # two cores train faster without workers; planning needs one
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    results = FOLDER / "nnUNet_results" / data.name / f"Trainer__nnUNetPlans__{CONFIGURATION}/fold_0"
    saved = [results / f"checkpoint_{name}.pth" for name in ("final", "latest")]
    saved = [path for path in saved if path.is_file()]
    trainer = Trainer({**plans, "continue_training": bool(saved)}, CONFIGURATION, 0, description, device)
    trainer.initialize()
    if saved:
        trainer.load_checkpoint(str(saved[0]))
    start = time.monotonic()
    if not saved or saved[0].name != "checkpoint_final.pth":
        trainer.run_training()
    size = sum(p.numel() for p in trainer.network.parameters())
    print(f"{size:,} parameters, {time.monotonic() - start:.0f} s of training since this start")
    trainer.set_deep_supervision_enabled(False)
    predictor = nnUNetPredictor(
        use_mirroring=False, device=device, perform_everything_on_device=device.type == "cuda", allow_tqdm=False
    )
    network = getattr(trainer.network, "_orig_mod", trainer.network)  # on a GPU nnU-Net compiles it
    weights = [network.state_dict()]
    predictor.manual_initialization(
        network, trainer.plans_manager, trainer.configuration_manager, weights, description, "Trainer", None
    )
    out = FOLDER / "predictions"
    out.mkdir(exist_ok=True)
    predictor.predict_from_files_sequential(str(data / "imagesTs"), str(out), save_probabilities=True)


if __name__ == "__main__":
    main()
