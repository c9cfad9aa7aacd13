"""Records the commit in what is built: a wheel or an archive of the source has no repository."""

import runpy
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

PACKAGE = Path("src") / "recurlm"


def record_commit(package: Path) -> None:
    version = runpy.run_path(str(PACKAGE / "version.py"))
    commit = version["commit_of"](PACKAGE.resolve())
    if commit:
        (package / "COMMIT").write_text(f"{commit}\n", "ascii")


class BuildWithCommit(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            record_commit(Path(self.build_lib) / "recurlm")


class ArchiveWithCommit(sdist):
    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        record_commit(Path(base_dir) / PACKAGE)


setup(cmdclass={"build_py": BuildWithCommit, "sdist": ArchiveWithCommit})
