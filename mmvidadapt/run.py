"""Run any script with the mends of the stack applied first.

Some of MMAction2's own scripts import its models before they read the
config that names ``mmvidadapt``, so the mends would come too late for them::

    python -m mmvidadapt.run analysis_tools/confusion_matrix.py CONFIG CKPT
"""

import argparse
import runpy
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path


def mmaction_tools() -> Path | None:
    """Return the folder of MMAction2's installed scripts, if there is one."""
    spec = find_spec('mmaction')
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / '.mim' / 'tools'
    return folder if folder.is_dir() else None


def find_script(name: str) -> Path | None:
    """Return the file that ``name`` stands for, ``None`` if there is none.

    Args:
        name (str): A path, or a path relative to MMAction2's ``.mim/tools``.
            A file at the path itself comes first.

    Returns:
        Path | None: An existing file.
    """
    if Path(name).is_file():
        return Path(name)
    tools = mmaction_tools()
    if tools is not None and (tools / name).is_file():
        return tools / name
    return None


def run_script(script: Path, args: Sequence[str]) -> None:
    """Run ``script`` as ``python SCRIPT ARGS...`` would.

    Args:
        script (Path): An existing Python file.
        args (Sequence[str]): What the script finds in ``sys.argv[1:]``.
    """
    sys.argv = [str(script), *args]
    if not getattr(sys.flags, 'safe_path', False):  # python -P sets none
        sys.path[0] = str(script.resolve().parent)
    runpy.run_path(str(script), run_name='__main__')


def main(argv: Sequence[str] | None = None) -> None:
    """Find the script named on the command line and run it.

    Args:
        argv (Sequence[str] | None): In place of ``sys.argv[1:]``.
    """
    parser = argparse.ArgumentParser(
        prog='python -m mmvidadapt.run',
        usage='%(prog)s SCRIPT [ARGS...]',
        description='Apply the mends of the installed stack, then run SCRIPT '
        'with ARGS as python would.',
        epilog='example: python -m mmvidadapt.run '
        'analysis_tools/print_config.py configs/inti/vitb_k400.py')
    parser.add_argument(
        'script', metavar='SCRIPT', nargs='?',
        help="a Python file, or a path inside MMAction2's .mim/tools")
    parser.add_argument('args', metavar='ARGS', nargs=argparse.REMAINDER,
                        help='handed to the script as they are')
    args = parser.parse_args(argv)
    if args.script is None:
        parser.exit(2, 'mmvidadapt.run: no script was named, name one as in '
                    '`python -m mmvidadapt.run SCRIPT ARGS...`\n')
    script = find_script(args.script)
    if script is None:
        where = mmaction_tools() or "MMAction2's tools (not installed)"
        parser.exit(2, f'mmvidadapt.run: {args.script} is neither a file nor '
                    f'a script in {where}, check the path\n')
    run_script(script, args.args)


if __name__ == '__main__':
    main()
