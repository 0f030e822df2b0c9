"""The documents as a site, by Sphinx: ``bash tools/docs.sh``.

The source folder is the repository, so that a page keeps its path
(``docs/mote.md``, ``configs/mote/README.md``) and a link from one to another
holds here as it does where the repository is read.
"""

import shutil
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]

project = 'mmvidadapt'
project_copyright = 'the mmvidadapt authors'
version = release = (ROOT / 'mmvidadapt' / 'version.py').read_text().split(
    "__version__ = '")[1].split("'")[0]

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon',
              'sphinx_copybutton']
autodoc_typehints = 'none'
autodoc_member_order = 'bysource'
napoleon_use_rtype = False
root_doc = 'README'
#: The menu: every page is in it, in this order.
CONTENTS = {
    'Start': ['docs/getting_started', 'docs/own_data', 'docs/data',
              'docs/predict'],
    'Methods': ['docs/inti', 'docs/tds_clip', 'docs/mote', 'docs/msta',
                'docs/mixing', 'docs/extending'],
    'Configs': ['configs/inti/README', 'configs/tds_clip/README',
                'configs/mote/README', 'configs/msta/README',
                'configs/mixed/README'],
    'Parts': ['docs/weights', 'docs/text', 'docs/descriptions',
              'docs/protocols', 'docs/visualize', 'docs/export',
              'docs/api', 'tools/README'],
    'Facts': ['docs/fidelity', 'docs/benchmarks', 'docs/compatibility'],
    'Project': ['docs/design', 'CONTRIBUTING', 'CHANGELOG'],
}
include_patterns = [
    'README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'docs/*.md',
    'tools/README.md', 'configs/*/README.md']
# Sphinx walks through every folder that is not named here.
exclude_patterns = ['.*', 'build', 'data', 'dist', 'mmvidadapt', 'site',
                    'tests', 'work_dirs']

myst_heading_anchors = 3
highlight_language = 'none'
html_theme = 'furo'
html_static_path = ['static']
html_css_files = ['site.css']
html_title = f'{project} {release}'


def add_menu(app: Sphinx, name: str, source: list[str]) -> None:
    """Give the home page, which is the README, the menu of the site."""
    if name == root_doc:
        for caption, pages in CONTENTS.items():
            source[0] += '\n\n' + '\n'.join(
                ['```{toctree}', ':hidden:', f':caption: {caption}', '',
                 *(f'/{page}' for page in pages), '```'])


def add_index(app: Sphinx, failure: Exception | None) -> None:
    """Let the folder of the site open with the home page."""
    if failure is None and app.builder.format == 'html':
        shutil.copyfile(Path(app.outdir, 'README.html'),
                        Path(app.outdir, 'index.html'))


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect('source-read', add_menu)
    app.connect('build-finished', add_index)
