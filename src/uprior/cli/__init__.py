"""The command line: thin, and quick to answer ``--help`` (nothing heavy is imported before it is needed).

Results go to stdout, progress to stderr. ``--json`` prints one JSON object per line. Exit status: 0 done, 1 a check failed,
2 bad input (one line says what to type), 130 interrupted (and saved).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from uprior.cli.benching import name_the_bench
from uprior.cli.parser import Handler, make_parser
from uprior.errors import SpecError, UpriorError, unknown_name

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the ``uprior`` program."""
    # GNU OpenMP's threads spin while they wait for each other; beside any other busy process that made training four times
    # slower (docs/LOG.md). It is read when torch is loaded, which no command has done yet.
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    try:
        status = _run(list(sys.argv[1:] if argv is None else argv))
    except UpriorError as error:
        sys.stderr.write(f"uprior: error: {error}\n")
        status = 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was saved is intact: type the same command to go on\n")
        status = 130
    except BrokenPipeError:  # the reader of our output (head, less) left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    raise SystemExit(status)


def _run(argv: list[str]) -> int:
    parser, commands = make_parser()
    if not argv:
        parser.print_help()
        return 0
    if not argv[0].startswith("-") and argv[0] not in commands:
        raise unknown_name("command", argv[0], commands)
    arguments, rest = parser.parse_known_args(name_the_bench(argv))
    options = _read_options(rest, arguments)
    handler: Handler = arguments.handler
    return handler(arguments, options)


def _read_options(rest: list[str], arguments: argparse.Namespace) -> dict[str, str | list[str]]:
    """``--field value`` pairs where a command takes a source's or a study's fields; elsewhere an unknown option is an error.

    Several values, as in ``--model A B``, are a list.
    """
    if rest and not arguments.field_options:
        known = [name for action in arguments.parser._actions for name in action.option_strings]
        if rest[0].startswith("-"):
            raise unknown_name(f"option of {arguments.parser.prog}", rest[0].partition("=")[0], known)
        raise SpecError(f"unexpected argument '{rest[0]}'; type: {arguments.parser.prog} --help")
    given: dict[str, list[str]] = {}
    key = ""
    words = (part for word in rest for part in (word.split("=", 1) if word.startswith("--") else [word]))
    for word in words:
        if word.startswith("--"):
            key = word[2:]
            given[key] = []
        elif key:
            given[key].append(word)
        else:
            raise SpecError(f"unexpected argument '{word}'; type: {arguments.parser.prog} --help")
    for key, values in given.items():
        if not values or "" in values:
            raise SpecError(f"cannot read the {arguments.field_options}'s option '--{key}'; write --field value")
    return {key: values[0] if len(values) == 1 else values for key, values in given.items()}
