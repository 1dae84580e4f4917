"""Run directory -> one self-contained HTML page.

    write_report(Path("runs/demo"))     # -> runs/demo/report.html

``records`` reads what runs wrote, ``words`` says it in sentences, ``figures`` draws it, ``samples`` shows rows of the sources,
``page`` puts it together.
"""

from uprior.report.page import write_report

__all__ = ["write_report"]
