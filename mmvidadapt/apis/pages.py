"""Documents that a tool writes from what it computes."""

import argparse
import sys
from collections.abc import Sequence
from difflib import ndiff
from pathlib import Path

from ..files import whole_file
from .cli import make_parser


def page_parser(description: str, page: Path) -> argparse.ArgumentParser:
    """The command line of a tool that writes a page, or compares it.

    Args:
        description (str): What is on the page.
        page (Path): ``docs/NAME.md`` of the repository; the tool is
            ``tools/NAME.py``.

    Returns:
        argparse.ArgumentParser: The parser.
    """
    parser = make_parser(f'Write docs/{page.name}: {description}',
                         f'python tools/{page.stem}.py --check')
    parser.add_argument('--check', action='store_true',
                        help='write nothing; fail if the page would change')
    parser.add_argument('--out', type=Path, default=page,
                        help=f'the file (default: docs/{page.name})')
    return parser


def keep_page(args: argparse.Namespace, text: str, advice: str) -> None:
    """Write a page; with ``--check`` print the lines that would change.

    Args:
        args (argparse.Namespace): Of :func:`page_parser`.
        text (str): The page as it should be.
        advice (str): What the error says behind the name of the file.

    Raises:
        ValueError: If ``--check`` finds another page, or none.
    """
    if not args.check:
        with whole_file(args.out) as path:
            path.write_text(text)
        sys.stdout.write(f'wrote {args.out}\n')
        return
    old = args.out.read_text() if args.out.is_file() else ''
    if old != text:
        sys.stdout.writelines(f'{line}\n' for line in ndiff(
            old.splitlines(), text.splitlines()) if line[0] in '-+')
        raise ValueError(f'{args.out} is not what {advice}')


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown.

    Args:
        head (Sequence[str]): Titles.
        rows (Sequence[Sequence[str]]): Cells.

    Returns:
        str: Lines of text.
    """
    lines = [head, ['---'] * len(head), *rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)
