"""The paper's printed numbers, as this project keeps them."""

import pandas as pd
import pytest

from ssc import matrix
from ssc.results.audit import audit
from ssc.results.tables import PUBLISHED

# Found by hand: means that are not those of their row, differences that are not those of their means.
CONTRADICTIONS = {
    ("1", "baseline", "mri", "asd", "mean"), ("4", "baseline", "mri", "asd", "mean"),
    ("5", "baseline", "mri", "asd", "mean"), ("2", "backbone", "ct", "dice", "mean"),
    ("6", "backbone", "ct", "dice", "mean"), ("4", "ours_3_mri", "ct", "dice", "difference"),
    ("4", "ours_3_mri", "overall", "dice", "difference"), ("4", "ours_3_mri", "overall", "asd", "difference"),
}  # fmt: skip


@pytest.fixture(scope="module")
def published():
    return pd.read_csv(PUBLISHED, dtype={"table": str})


def test_all_825_numbers_are_there(published):
    numbers = published[["mean", "std", "difference"]].notna().sum().sum()
    assert len(published) == 825 and numbers > 825
    assert not published.duplicated(["table", "method", "modality", "structure", "metric"]).any()


def test_the_audit_names_the_known_contradictions_and_no_other(published):
    found = audit(published)
    place = found[["table", "method", "modality", "metric", "cell"]]
    assert set(place.itertuples(index=False, name=None)) == CONTRADICTIONS


def test_the_audit_finds_a_digit_too_many_and_forgives_rounding(published):
    """A mean may be off by a last digit, its own rounding and its terms'; two digits are a contradiction."""
    place = (published[["table", "method", "modality", "structure"]] == ["6", "ours", "ct", "mean"]).all(axis=1)
    place &= published["metric"] == "dice"
    for shift, new in ((0.1, 0), (0.5, 2)):  # the mean of the modality, and the overall one
        changed = published.assign(mean=published["mean"] + shift * place, difference=float("nan"))
        before = published.assign(difference=float("nan"))
        assert len(audit(changed)) - len(audit(before)) == new


def test_a_table_has_the_methods_and_structures_of_the_printed_one(published):
    """A method that is no variant is literature, so a misspelt name would pass for one."""
    for table in (table for table in matrix.tables().values() if table.published):
        task, rows = matrix.tasks()[table.task], published[published["table"] == table.published]
        assert set(table.methods) == set(rows["method"])
        assert {s.name for s in task.structures} <= set(rows["structure"])
        assert set(rows["task"]) == {task.published_as}
