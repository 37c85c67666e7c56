"""A small slice of Table 6, made once by the literal command in a copy of the project."""

import pytest
from project import Project


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The project after the command that its README shows."""
    project = Project(tmp_path_factory.mktemp("workflow") / "project")
    project.log = project.run("snakemake --cores 8 --resources gpu=2 results/tables/table6.csv")
    return project
