"""The table in docs/reliability.md: faults and what follows from them, made of the marks of the tests that passed."""

from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
BEGIN, END = "<!-- table of faults: begin -->", "<!-- table of faults: end -->"
HEAD = "| what happens | what follows |\n| --- | --- |\n"


def rows_of(item):
    """(what happens, what follows) of a test."""
    return [tuple(mark.args) for mark in item.iter_markers("fault")]


def shown():
    """The rows that the page shows."""
    table = PAGE.read_text().partition(BEGIN)[2].partition(END)[0].strip().splitlines()[2:]
    return [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in table]


def write(rows):
    """Put the table into the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    table = HEAD + "".join(f"| {what} | {expected} |\n" for what, expected in rows)
    PAGE.write_text(f"{before}{BEGIN}\n{table}{END}{rest.partition(END)[2]}")
