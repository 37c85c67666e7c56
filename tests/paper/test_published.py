"""The paper's printed figures, as this project keeps them."""

import pandas as pd
import pytest

from ssc import matrix
from ssc.results.tables import PUBLISHED

# Cells in which the paper contradicts itself: a printed mean is not the mean of its printed structures.
CONTRADICTIONS = {
    ("1", "baseline", "mri", "asd"), ("4", "baseline", "mri", "asd"), ("5", "baseline", "mri", "asd"),
    ("2", "backbone", "ct", "dice"), ("6", "backbone", "ct", "dice"),
}  # fmt: skip
HALF_A_DIGIT = {"dice": 0.05, "asd": 0.005}


@pytest.fixture(scope="module")
def published():
    return pd.read_csv(PUBLISHED, dtype={"table": str})


def test_all_825_figures_are_there(published):
    figures = published[["mean", "std", "difference"]].notna().sum().sum()
    assert len(published) == 825 and figures > 825
    assert not published.duplicated(["table", "method", "modality", "structure", "metric"]).any()


def test_means_follow_from_structures_but_for_the_known_contradictions(published):
    found = set()
    for (table, method, metric), rows in published.groupby(["table", "method", "metric"]):
        for modality in ("ct", "mri"):
            of = rows[rows["modality"] == modality].set_index("structure")["mean"]
            half = HALF_A_DIGIT[metric]
            if len(of) == 5 and abs(of["mean"] - of.drop("mean").mean()) > 2 * half + 1e-9:
                found.add((table, method, modality, metric))
    assert found == CONTRADICTIONS


def test_a_table_has_the_methods_and_structures_of_the_printed_one(published):
    """A method that is no variant is literature, so a misspelt name would pass for one."""
    for table in (table for table in matrix.tables().values() if table.published):
        task, rows = matrix.tasks()[table.task], published[published["table"] == table.published]
        assert set(table.methods) == set(rows["method"])
        assert {s.name for s in task.structures} <= set(rows["structure"])
        assert set(rows["task"]) == {task.published_as}
