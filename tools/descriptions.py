#!/usr/bin/env python
"""Check, ask for and merge sentences that describe classes (MSTA)."""

import argparse
import ast
import csv
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmvidadapt.apis.cli import make_parser, run_tool
from mmvidadapt.datasets import class_names
from mmvidadapt.datasets.class_lists import plain_name, written_name
from mmvidadapt.datasets.descriptions import (
    Descriptions,
    listed,
    read_descriptions,
)
from mmvidadapt.files import whole_file
from mmvidadapt.models.text import token_counts

EXAMPLE = """\
python tools/descriptions.py prompts --classes hmdb51 --sentences 2 --jsonl
  python tools/descriptions.py merge answers.jsonl --kind spatial \
--classes hmdb51 --out spatial.json --by-name
  python tools/descriptions.py check spatial.json --classes hmdb51"""

#: MSTA, Sec. 3.3, by kind.
PROMPTS = dict(
    spatial='Please give me {} sentences describing the visual appearance of '
    'the action {}.',
    temporal='Please give me {} sentences describing the temporally '
    'decoupled steps of the action {}.')

_SHOWN = 100  # characters of a sentence in a warning
#: Traces of the way from a language model into a file, by what they are.
TRACES = {
    'hold square brackets': r'[\[\]]',
    'hold words of the prompt or of the conversation':
    r'(?i)\boutput should\b|\bfollowing format\b|\bplease give me\b|'
    r'\bas an ai\b|\bsentences describing\b|^(sure|certainly|of course)\b|'
    r'\bhere are\b',
    'start with a number or a bullet': r'^\s*([-*\u2022]\s|\(?\d+[.):]\s)',
    'hold several sentences in one text': r'[^\W\d][.!?][\'"]?\s+\S'}

#: What stands before a sentence in a list: "1.", "(2)", "-", "Step 3:".
_MARK = re.compile(
    r'\s*(?:\*\*)?(?:[-*\u2022\u2013]\s+|'
    r'\(?(?:(?:step|sentence)\s*)?\d+\s*[.):](?!\d)(?:\*\*)?\s*)+', re.I)


class Answer(NamedTuple):
    """What a language model said of one class.

    Args:
        name (str): The class.
        text (str | list[str]): The answer, or its lines.
        place (str): File and line.
    """

    name: str
    text: str | list[str]
    place: str


# -- check --------------------------------------------------------------------


def report(found: Descriptions, names: Sequence[str],
           context: int) -> Iterator[str]:
    """What a user should know of a file, a line for each kind.

    Args:
        found (Descriptions): The file.
        names (Sequence[str]): The classes that it is to describe.
        context (int): Tokens that the text tower reads.

    Yields:
        str: A summary, then a warning each.
    """
    pairs = [(name, text) for name, texts
             in zip(found.names, found.sentences, strict=True)
             for text in texts]
    yield (f'{found.path}: {len(found.names)} classes by '
           f'{"number" if found.numbered else "name"}, {len(pairs)} '
           f'sentences, {found.number} for a class')
    for oddity in found.oddities(names):
        yield f'warning: {oddity}'
    for what, pattern in TRACES.items():
        yield from _told(what, [pair for pair in pairs
                                if re.search(pattern, pair[1])],
                         len(pairs))
    lengths = token_counts([text for _, text in pairs])
    yield from _told(
        f'are longer than {context} tokens and will be cut (the longest has '
        f'{max(lengths)})',
        [pair for pair, length in zip(pairs, lengths, strict=True)
         if length > context], len(pairs))
    owners: dict[str, set[str]] = defaultdict(set)
    repeats: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for name, text in pairs:
        if owners[text]:
            whose = 'the same' if name in owners[text] else 'another'
            repeats[whose].append((name, text))
        owners[text].add(name)
    for whose, repeated in sorted(repeats.items()):
        yield from _told(f'repeat one of {whose} class', repeated,
                         len(pairs))


def _told(what: str, some: Sequence[tuple[str, str]],
          number: int) -> Iterator[str]:
    """A warning with the number of sentences and an example, if any."""
    if some:
        name, text = some[0]
        shown = text if len(text) <= _SHOWN else f'{text[:_SHOWN]}...'
        yield (f'warning: {len(some)} of {number} sentences {what}, such as '
               f'that of {name!r}: {shown}')


def check(args: argparse.Namespace) -> None:
    """Say what is wrong or odd in a file.

    Args:
        args (argparse.Namespace): The command line.

    Raises:
        ValueError: If classes have no sentences.
    """
    names = class_names(args.classes)
    found = read_descriptions(args.file, args.file_classes)
    print(*report(found, names, args.context), sep='\n')
    fault = found.missing(names)
    if fault:
        raise ValueError(fault)


# -- prompts ------------------------------------------------------------------


def prompts(args: argparse.Namespace) -> None:
    """Print the prompts of both kinds for each class.

    Args:
        args (argparse.Namespace): The command line.
    """
    for name in class_names(args.classes):
        for kind, prompt in PROMPTS.items():
            text = prompt.format(args.sentences, written_name(name))
            print(json.dumps({'class': name, 'kind': kind, 'prompt': text})
                  if args.jsonl else text)


# -- merge --------------------------------------------------------------------


def sentences_of(answer: str | list[str]) -> tuple[list[str], Counter]:
    """Sentences in the answer of a language model.

    Numbers and bullets say where sentences start; an answer without any has
    one on each line, or is a single line that is divided at full stops.

    Args:
        answer (str | list[str]): Text, or its lines.

    Returns:
        tuple[list[str], Counter]: The sentences, and what was done to them,
        counted.
    """
    done: Counter = Counter()
    return [clean for line in _lines(answer, done)
            if (clean := _clean(line, done))], done


def _lines(answer: str | list[str], done: Counter) -> list[str]:
    """Divide an answer into sentences that are still to be cleaned."""
    if isinstance(answer, list):
        return answer
    text = re.sub(r'^\s*```.*$', '', answer, flags=re.M).strip()
    if text.startswith('['):
        try:
            items = ast.literal_eval(text)  # a list, as Python or JSON has it
        except (ValueError, SyntaxError):
            items = None
        if items and all(isinstance(item, str) for item in items):
            return items
    if '\n' not in text and _MARK.match(text):
        text = re.sub(r'\s+(?=\(?\d+[.)]\s)', '\n', text)
    lines = [line for line in text.splitlines() if line.strip()]
    if any(map(_MARK.match, lines)):
        items = []
        for line in lines:
            if _MARK.match(line):
                items.append(line)
            elif items and line[0].isspace():
                items[-1] += f' {line.strip()}'  # goes on
            else:
                done[f'left out {line.strip()!r}'] += 1
        return items
    if len(lines) > 1 and lines[0].rstrip().endswith(':'):
        done[f'left out {lines.pop(0).strip()!r}'] += 1
    if len(lines) == 1:
        lines = re.split(r'(?<=[.!?])\s+(?=[A-Z])', lines[0])
        done['divided a line into sentences'] += len(lines) > 1
    return lines


def _clean(line: str, done: Counter) -> str:
    """A sentence without what stands around and between its words."""
    for what, pattern, by in (
            ('removed numbers or bullets', rf'^{_MARK.pattern}', ''),
            ('removed marks of bold or code', r'\*\*|`', ''),
            ('removed quotes',
             r'^\s*(?:"([^"]*)"|\'([^\']*)\'|\u201c([^\u201d]*)\u201d),?\s*$',
             r'\1\2\3'),
            ('removed square brackets', r'[\[\]]', '')):
        line, number = re.subn(pattern, by, line, flags=re.I)
        done[what] += number > 0
    return ' '.join(line.split())


def read_answers(path: Path, kind: str | None) -> Iterator[Answer]:
    """Read what language models answered.

    Args:
        path (Path): ``.csv`` with a heading, or one JSON object on each
            line, with ``class``, ``answer`` and, if the file holds both,
            ``kind``. Other fields are left alone.
        kind (str | None): Leave out answers of the other kind.

    Yields:
        Answer: One for each line.

    Raises:
        ValueError: If a line cannot be understood, or there are answers of
            both kinds and ``kind`` is None.
        FileNotFoundError: If there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f'the answers {path} do not exist: correct '
                                'the path')
    kinds = set()
    for place, row in _rows(path):
        text = row.get('answer', '')
        lines = text if isinstance(text, list) else [text]
        if not (isinstance(row.get('class'), str) and lines
                and all(isinstance(line, str) for line in lines)):
            raise ValueError(
                f'{place} is no answer about a class: give class and answer, '
                'a text or a list of texts')
        own = row.get('kind') or kind
        if own not in (*PROMPTS, None):
            raise ValueError(f'{place} has the kind {own!r}: write '
                             f'{" or ".join(PROMPTS)}')
        kinds.add(own)
        if len(kinds) > 1 and kind is None:
            raise ValueError(
                f'{path} holds answers of more than one kind and a file of '
                'descriptions is of one: add --kind spatial or --kind '
                'temporal')
        if own == kind or kind is None:
            yield Answer(row['class'], text, place)


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and fields of each line."""
    with path.open(encoding='utf-8-sig', newline='') as file:
        if path.suffix == '.csv':
            table = csv.DictReader(file)
            for row in table:
                yield f'{path}, line {table.line_num}', row
            return
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            place = f'{path}, line {number}'
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f'{place} is not JSON ({error}): write one '
                                 'object on each line') from error
            if not isinstance(row, dict):
                raise ValueError(f'{place} is no JSON object: write '
                                 '{"class": ..., "answer": ...}')
            yield place, row


def merge(args: argparse.Namespace) -> None:
    """Write the answers of language models as a file of descriptions.

    Args:
        args (argparse.Namespace): The command line.

    Raises:
        FileExistsError: If the file to write exists.
        ValueError: If a class has no answer, an answer without a sentence or
            two answers, or an answer is about no class.
    """
    if args.out.exists():
        raise FileExistsError(f'{args.out} exists already: choose another '
                              'name')
    names = class_names(args.classes)
    known = {plain_name(name): name for name in names}
    sentences: dict[str, list[str]] = {}
    places: dict[str, str] = {}
    done: Counter = Counter()
    for path in args.answers:
        for answer in read_answers(path, args.kind):
            name = known.get(plain_name(answer.name))
            if name is None:
                raise ValueError(
                    f'{answer.place} is about {answer.name!r}, which is not '
                    'among the classes: correct the line or --classes')
            if name in places:
                raise ValueError(
                    f'{answer.place} is a second answer about {name!r}, '
                    f'after {places[name]}: keep one')
            places[name] = answer.place
            sentences[name], changes = sentences_of(answer.text)
            done += changes
            if not sentences[name]:
                raise ValueError(f'{answer.place} has no sentence about '
                                 f'{name!r}: ask again')
    missing = [name for name in names if name not in sentences]
    if missing:
        raise ValueError(
            f'there is no answer about {len(missing)} of {len(names)} '
            f'classes ({listed(missing)}): add one for each')
    _write(args.out, {name if args.by_name else str(number): sentences[name]
                      for number, name in enumerate(names)})
    for change, number in done.most_common():
        print(f'{change}: {number} times')
    found = read_descriptions(args.out, None if args.by_name else names)
    print(*report(found, names, args.context), sep='\n')


def _write(path: Path, content: dict[str, list[str]]) -> None:
    """Write a file as the published ones are, to the byte."""
    with whole_file(path) as partial:
        partial.write_bytes(json.dumps(content, indent=4).encode())


# -- the command line ---------------------------------------------------------


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__, EXAMPLE)
    commands = parser.add_subparsers(required=True, metavar='COMMAND')
    checks = commands.add_parser(
        'check', help='what is missing or odd in a file; status 1 if it '
        'cannot be used')
    checks.set_defaults(run=check)
    checks.add_argument('file', type=Path, metavar='FILE',
                        help='JSON with sentences by class')
    checks.add_argument(
        '--file-classes', metavar='LIST',
        help='list that the numbers in FILE refer to; files named as MSTA '
        'published them need none')
    asks = commands.add_parser(
        'prompts', help='what to ask a language model for')
    asks.set_defaults(run=prompts)
    asks.add_argument('--sentences', type=_count, default=2, metavar='N',
                      help='sentences to ask for (default: 2)')
    asks.add_argument(
        '--jsonl', action='store_true',
        help='JSON objects of class, kind and prompt; add answer to each')
    merges = commands.add_parser(
        'merge', help='make a file out of answers')
    merges.set_defaults(run=merge)
    merges.add_argument(
        'answers', type=Path, nargs='+', metavar='ANSWERS',
        help='.csv, or a JSON object on each line, with class, answer and, '
        'if there are both, kind')
    merges.add_argument('--out', type=Path, required=True, metavar='FILE',
                        help='file to write; must not exist')
    merges.add_argument('--kind', choices=list(PROMPTS),
                        help='take the answers of this kind')
    merges.add_argument(
        '--by-name', action='store_true',
        help='write names of classes, not numbers as in the published files')
    for command in (checks, asks, merges):
        command.add_argument(
            '--classes', required=True, metavar='LIST',
            help="class names: a file, or a list of ours such as 'hmdb51'")
    for command in (checks, merges):
        command.add_argument(
            '--context', type=_count, default=32, metavar='TOKENS',
            help='tokens that the text tower reads (default: 32, as ViCLIP; '
            'CLIP reads 77)')
    return parser.parse_args()


def _count(text: str) -> int:
    """A positive number on the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'{number} is below 1')
    return number


def main(args: argparse.Namespace) -> None:
    """Run the command."""
    args.run(args)


if __name__ == '__main__':
    run_tool(main, parse_args())
