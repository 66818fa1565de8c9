"""Puts the files that lie beside the two packages into the wheel; everything else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

#: Folder in the wheel -> what it holds; thorax_launch/paths.py and thorax/files.py find it there.
DATA = {
    "thorax/_source": [
        f"source_dir/{name}" for name in ("train_model.py", "inference.py", "deployment.py", "requirements.txt")
    ],
    "thorax_launch/_data": ["launch/recipes", "launch/locks", "launch/prices.example.yaml", "launch/web"],
}


class BuildWithData(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:  # it uses the files of the checkout
            return
        for place, sources in DATA.items():
            folder = Path(self.build_lib, place)
            shutil.rmtree(folder, ignore_errors=True)  # what an earlier build left
            folder.mkdir(parents=True)
            for source in map(Path, sources):
                if source.is_dir():
                    shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("build", "__pycache__"))
                else:
                    shutil.copy(source, folder)


setup(cmdclass={"build_py": BuildWithData})
