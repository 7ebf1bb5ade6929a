"""``aigq sql``: a query over the lake, for a terminal or a pipe."""

import csv
import json
import sys

import click
import duckdb

from aigq import warehouse
from aigq.settings import Home, UserError


# Unknown options pass: a query may begin with a comment, which looks like one.
@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("query")
@click.option(
    "--format",
    "output",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
)
def command(query: str, output: str) -> None:
    """Run QUERY, read-only; tables are named SCHEMA.TABLE, e.g. labels.label_lists."""
    con = warehouse.connect(Home.from_environment(), read_only=True)
    try:
        relation = con.sql(query)
        if relation is None:
            raise UserError("the query returns no rows: `aigq sql` reads, it does not change")
        if output == "table":
            con.execute("SET TimeZone = 'UTC'")
            relation.show(max_rows=200, max_width=240)
            return
        names = relation.columns
        rows = iter(relation.fetchone, None)
        if output == "csv":
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(names)
            writer.writerows(rows)
        else:
            # One object a line: streams, and reads back with any JSON lines reader.
            for row in rows:
                print(json.dumps(dict(zip(names, row, strict=True)), default=str))
    except duckdb.Error as error:
        raise UserError(str(error)) from None
    finally:
        con.close()
