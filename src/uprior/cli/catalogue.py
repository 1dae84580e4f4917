"""The commands about sources: what there is, how it looks, whether it keeps the contract, how fast it is."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from uprior.errors import SpecError
from uprior.files import write_bytes
from uprior.terminal import print_json, print_table

if TYPE_CHECKING:
    from uprior.sources import Source


def sources(arguments: argparse.Namespace, _: dict[str, str]) -> int:
    from uprior.sources import entries

    found = entries().values()
    if arguments.json:
        print_json([{"source": entry.name, "summary": entry.summary} for entry in found])
    else:
        print_table(["source", "what it is"], [[entry.name, entry.summary] for entry in found], right=False)
    return 0


def show(arguments: argparse.Namespace, options: dict[str, str]) -> int:
    from uprior import sources
    from uprior.sources._look import look, png, render
    from uprior.spec import split_text

    if options and ":" not in arguments.source and not arguments.source.endswith(".json"):
        name, preset, _ = split_text(arguments.source)
        source = sources.from_options_text(name, options, preset)
    elif options:
        raise SpecError("give the source's fields either as name:field=value or as --field value, not both")
    else:
        source = sources.get(arguments.source)
    where = {"rows": arguments.rows, "length": arguments.length, "seed": arguments.seed}
    if arguments.study:
        return _study(source, arguments)
    if arguments.png:
        picture = source.picture(seed=arguments.seed, length=arguments.length)
        if picture is None:
            length = max(arguments.length, source.shortest_row)
            picture = source.block(arguments.seed, 0, rows=arguments.rows, length=length).tokens.astype(int)
        write_bytes(arguments.png, png(picture, scale=max(1, 1024 // picture.shape[1])))
    if arguments.json:
        print_json([look(source, **where)])
    else:
        render(source, **where)
        if arguments.png:
            print(f"picture: {arguments.png}")
    return 0


def _study(source: Source, arguments: argparse.Namespace) -> int:
    from uprior.sources._chaos import FIELDS, chaos

    records = chaos(source, seed=arguments.seed)
    if arguments.json:
        print_json(records)
        return 0
    print_table(list(FIELDS), [[f"{record[field]:.3g}" for field in FIELDS] for record in records])
    if arguments.png:
        from uprior.report.chaos import chaos_picture
        from uprior.sources._look import describe

        write_bytes(arguments.png, chaos_picture(records, describe(source)))
        print(f"picture: {arguments.png}")
    return 0


def check(arguments: argparse.Namespace, _: dict[str, str]) -> int:
    from uprior import bench as benchmark
    from uprior import sources
    from uprior.sources._check_process import FreshProcess
    from uprior.sources.check import check

    failed = False
    names = arguments.source or list(sources.entries())
    texts = benchmark.texts_of(names) if arguments.presets else names
    with FreshProcess() as fresh_process:
        for name in texts:
            report = check(sources.get(name), fresh_process=fresh_process)
            failed = failed or bool(report.failures)
            if arguments.json:
                print_json([{"source": report.source, "passed": report.passed, "failures": report.failures}])
                continue
            print(
                f"{'FAILED' if report.failures else 'ok':6}  {name}  ({len(report.passed)} checks passed)", flush=True
            )
            for failure in report.failures:
                print(f"        {failure}")
    return 1 if failed else 0


def gallery(arguments: argparse.Namespace, _: dict[str, str]) -> int:
    from uprior.report.gallery import write_gallery

    def tell(name: str) -> None:
        sys.stderr.write(f"{name}\n")

    print(write_gallery(arguments.out, tell))
    return 0
