"""Build of mmvidadapt.

OpenMMLab tools look for ``configs/``, ``tools/`` and ``model-index.yml`` in
``<package>/.mim``. A wheel receives copies there, an editable install
receives links into the working tree. Which of the two is asked for is told by
setuptools itself (``editable_mode`` of its ``build_py`` command), because the
command line no longer tells: ``pip install -e .`` never runs ``develop``.
"""

import os
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PACKAGE = 'mmvidadapt'
MIM_ENTRIES = ('configs', 'tools', 'model-index.yml')
IGNORED = shutil.ignore_patterns('__pycache__', '*.py[cod]', '.DS_Store')


def read_version() -> str:
    """Read the version without importing the package."""
    text = (ROOT / PACKAGE / 'version.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '([^']+)'", text, re.M).group(1)


def read_requirements(name: str) -> list[str]:
    """Read ``requirements/<name>.txt``, following its ``-r`` lines."""
    lines = []
    path = ROOT / 'requirements' / f'{name}.txt'
    for line in path.read_text(encoding='utf-8').splitlines():
        line = line.split('#')[0].strip()
        if line.startswith('-r '):
            lines += read_requirements(line[3:].strip().removesuffix('.txt'))
        elif line:
            lines.append(line)
    return lines


def remove(path: Path) -> None:
    """Remove a link, a file or a folder; nothing there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class BuildWithMim(build_py):
    """``build_py`` that also fills ``mmvidadapt/.mim``."""

    def run(self) -> None:
        """Build the modules, then copy or link the rest."""
        super().run()
        if self.editable_mode:
            self._link_mim()
        else:
            self._copy_mim()

    def _link_mim(self) -> None:
        mim = ROOT / PACKAGE / '.mim'
        remove(mim)
        mim.mkdir()
        for entry in MIM_ENTRIES:
            source = os.path.join(os.pardir, os.pardir, entry)
            is_folder = (ROOT / entry).is_dir()
            os.symlink(source, mim / entry, target_is_directory=is_folder)

    def _copy_mim(self) -> None:
        mim = Path(self.build_lib) / PACKAGE / '.mim'
        remove(mim)  # a file deleted since the last build must not return
        mim.mkdir(parents=True)
        for entry in MIM_ENTRIES:
            source = ROOT / entry
            if source.is_dir():
                shutil.copytree(source, mim / entry, ignore=IGNORED)
            else:
                shutil.copy2(source, mim / entry)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Name the copied files too, so that installers record them."""
        outputs = super().get_outputs(include_bytecode)
        mim = Path(self.build_lib) / PACKAGE / '.mim'
        return outputs + [str(p) for p in mim.rglob('*') if p.is_file()]


setup(
    name=PACKAGE,
    version=read_version(),
    description='CLIP image models adapted to video inside MMAction2',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    keywords='video, action recognition, CLIP, adapter, MMAction2',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={f'{PACKAGE}.datasets.class_lists': ['*.txt']},
    python_requires='>=3.11',
    install_requires=read_requirements('runtime'),
    extras_require={
        'mm': read_requirements('mm'),
        'video': read_requirements('video'),
        'torchcodec': read_requirements('torchcodec'),
        'export': read_requirements('export'),
        'optional': read_requirements('optional'),
        'tests': read_requirements('tests'),
        'lint': read_requirements('lint'),
        'all': [line for name in ('mm', 'tests')
                for line in read_requirements(name)],
    },
    cmdclass={'build_py': BuildWithMim},
    classifiers=[
        'Development Status :: 4 - Beta',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    zip_safe=False,
)
