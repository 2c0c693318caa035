"""Tables on stdout: drawn on a terminal, plain and uncut elsewhere, so that other programs can read them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from assay.cli.words import one_line


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """right: columns that are set flush right, as numbers are."""
    from rich.cells import cell_len, set_cell_size
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[one_line(str(cell)) for cell in row] for row in rows]
    if sys.stdout.isatty():
        table = Table()
        for column in columns:
            table.add_column(column, justify="right" if column in right else "left", overflow="fold")
        for row in cells:
            table.add_row(*map(Text, row))
        Console().print(table)
        return
    widths = [max(map(cell_len, (columns[i], *(row[i] for row in cells)))) for i in range(len(columns))]
    for row in ([*columns], *cells):
        padded = (
            " " * (width - cell_len(cell)) + cell if column in right else set_cell_size(cell, width)
            for column, cell, width in zip(columns, row, widths, strict=True)
        )
        print("  ".join(padded).rstrip())
