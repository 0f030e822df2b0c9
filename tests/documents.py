"""What the documents tell people to paste: commands and Python blocks.

A command is a line of a shell block, or a span of prose that begins like one.
A comment behind it, ``# needs 8 GPUs, Kinetics-400``, says what a reader needs
beside the checkout; its test then asks for ``--synthetic``.
"""

import re
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mmengine.config import Config

from mmvidadapt.apis.cli import environment
from tests.conftest import ROOT
from tests.scripts import Finished, plain_tool, tool
from tests.tiny import write_tiny_config

#: Every document that people read, but for the log of changes.
PAGES = sorted(
    path.relative_to(ROOT).as_posix() for pattern in (
        'README.md', 'CONTRIBUTING.md', 'docs/**/*.md', 'tools/**/*.md',
        'configs/**/*.md') for path in ROOT.glob(pattern))
_FENCE = re.compile(
    r'(?:^[ ]*<!-- (?P<note>[^\n]*?) -->\n)?'
    r'^(?P<indent>[ ]*)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^[ ]*```',
    re.DOTALL | re.MULTILINE)
_VARIABLE = re.compile(r'[A-Z][A-Z0-9_]*=\S*$')
#: How a command begins, behind variables of the environment.
_PROGRAM = re.compile(
    r'(?!.*tools/\.\.\.)(?:[A-Z][A-Z0-9_]*=\S+ )*(?:(?:python|bash|sh|pip|'
    r'torchrun|mim|source|git|sphinx-build|mkdocs)|tools/\S+\.sh) \S')


@dataclass(frozen=True)
class Command:
    """One line to paste.

    Args:
        page (str): The document.
        text (str): The line, without a comment; or a whole program.
        needs (tuple[str, ...]): What its comment says that it needs.
        in_prose (bool): Whether it is a span of prose.
    """

    page: str
    text: str
    needs: tuple[str, ...] = ()
    in_prose: bool = False

    def __str__(self) -> str:
        return f'{self.page}: {self.text}'

    @cached_property
    def words(self) -> list[str]:
        """Its words without variables of the environment."""
        words = shlex.split(self.text)
        while words and _VARIABLE.match(words[0]):
            del words[0]
        return words

    @cached_property
    def variables(self) -> dict[str, str]:
        """The variables that it sets for itself."""
        words = shlex.split(self.text)
        number = len(words) - len(self.words)
        return dict(word.split('=', 1) for word in words[:number])


def read(page: str) -> str:
    """The text of a document.

    Args:
        page (str): Its path in the repository.

    Returns:
        str: Its text.
    """
    return (ROOT / page).read_text()


def blocks(page: str, language: str = 'python') -> list[tuple[str, str]]:
    """The blocks of a document in a language.

    Args:
        page (str): Path of the document.
        language (str): What stands behind the three ticks.

    Returns:
        list[tuple[str, str]]: What an HTML comment right above a block says,
        or nothing, and the block without its indent.
    """
    return [(found['note'] or '', re.sub(
        f'^{found["indent"]}', '', found['text'], flags=re.MULTILINE))
        for found in _FENCE.finditer(read(page))
        if found['language'] == language]


def files(page: str) -> dict[str, str]:
    """Blocks that a document calls files, ``<!-- file: NAME -->``.

    Args:
        page (str): Path of the document.

    Returns:
        dict[str, str]: Text by name.
    """
    return {note.removeprefix('file: '): text for note, text in blocks(page)
            if note.startswith('file: ')}


def commands(page: str) -> list[Command]:
    """The commands of a document: those of its blocks, then of its prose.

    Each line of a ``shell`` block is one, and a ``bash`` block as a whole.

    Args:
        page (str): Path of the document.

    Returns:
        list[Command]: The commands in their order.
    """
    found = []
    for fence in _FENCE.finditer(read(page)):
        if fence['language'] == 'bash':
            found.append(Command(page, fence['text']))
        elif fence['language'] not in ('python', 'json'):
            for line in re.sub(r'\\\n\s*', '', fence['text']).splitlines():
                code, _, comment = line.partition(' #')
                if _PROGRAM.match(code.strip()) or (
                        fence['language'] == 'shell' and code.strip()):
                    found.append(Command(page, code.strip(), _needs(comment)))
    for span in re.findall(r'(?<!`)`([^`]+)`(?!`)', _FENCE.sub(
            '', read(page))):
        text = ' '.join(span.replace('\\|', '|').split())
        if _PROGRAM.match(text):
            found.append(Command(page, text, in_prose=True))
    return found


def _needs(comment: str) -> tuple[str, ...]:
    """What a comment names behind ``needs``."""
    _, told, things = comment.strip().partition('needs ')
    return tuple(things.split(', ')) if told else ()


def lines(page: str) -> list[str]:
    """The commands of the blocks of a document.

    Args:
        page (str): Path of the document.

    Returns:
        list[str]: The lines without their comments.
    """
    return [command.text for command in commands(page)
            if not command.in_prose]


def call(command: str, *more: str) -> Finished:
    """Run a line ``python tools/...`` in this process; it must end well.

    Args:
        command (str): The line, with variables of its own if it has some.
        *more (str): Further options, which may end in ``--cfg-options``.

    Returns:
        Finished: What it printed.
    """
    line = Command('', command)
    python, script, *args = line.words
    assert python == 'python', command
    runs = ('train.py', 'test.py', 'test_protocol.py')
    name = script.removeprefix('tools/')
    args, changes = _split(args)
    further, others = _split(list(more))
    args += further
    if changes or others:
        args += ['--cfg-options', *changes, *others]
    with environment(line.variables):
        done = (tool if name in runs else plain_tool)(name, *args)
    assert done.returncode == 0, f'{command}: {done.stderr[-3000:]}'
    return done


def _split(args: list[str]) -> tuple[list[str], list[str]]:
    """Options, and what stands behind ``--cfg-options``."""
    if '--cfg-options' not in args:
        return args, []
    place = args.index('--cfg-options')
    rest = args[place + 1:]
    length = next((n for n, word in enumerate(rest)
                   if word.startswith('--')), len(rest))
    return args[:place] + rest[length:], rest[:length]


#: Variables of the environment in configs, and what they are if not set.
_VARIABLES = (('split_1_', 'split_{{$SPLIT:1}}_'),
              ('zeroshot_1', 'zeroshot_{{$SPLIT:1}}'),
              ('101_base', '101_{{$HALF:base}}'))


def tiny_config(name: str) -> None:
    """Write a tiny config to where the commands look for it.

    An encoder has two layers and adapters on the first one, or both. What is
    written has no variables of the environment left; those of protocols are
    put back.

    Args:
        name (str): The config, ``configs/...``, from the current folder.
    """
    model = Config.fromfile(ROOT / name).model
    changes: dict[str, object] = dict(
        model__backbone__encoder__arch__num_layers=2)
    for place, _ in enumerate(model.backbone.get('adapters', [])):
        changes[f'model__backbone__adapters__{place}__layers'] = [0]
    if 'neck' in model:
        changes['model__neck__num_layers'] = 1
    if 'text_encoder' in model:
        changes['model__text_encoder__arch__num_layers'] = 2
    if model.get('adapter'):
        changes['model__adapter__layers'] = [0, 1]
    folder = Path(name).parent
    folder.mkdir(parents=True, exist_ok=True)
    path = Path(write_tiny_config(
        name.removeprefix('configs/'), folder, **changes))
    text = path.read_text()
    for value, variable in _VARIABLES:
        text = text.replace(value, variable)
    path.write_text(text)
