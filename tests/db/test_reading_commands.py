"""The commands `bars`, `ticks` and `sql`, on both engines."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import polars as pl
import psycopg
import pytest
from click.testing import CliRunner, Result

from analytics import schema
from analytics.cli import options, output
from analytics.cli import read as cli
from analytics.cli.options import PLAIN
from ingest.database.connections import Database
from ingest.errors import ConfigError, StoreError, TicklineError

BAR_COLUMNS = "instrument_key,bucket,open,high,low,close,volume,oi,source,quality,iv,delta,gamma"


@pytest.fixture
def market(
    stored: psycopg.Connection[Any], database_to_read: Database, monkeypatch: pytest.MonkeyPatch
) -> psycopg.Connection[Any]:
    """The database of the settings, with two bars and 50 ticks of INFY."""
    monkeypatch.setenv("TICKLINE_DATABASE_URL", database_to_read.url)
    return stored


@pytest.fixture(scope="module")
def stored(conn_to_read: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    conn = conn_to_read
    conn.execute(
        "insert into instruments (instrument_key, segment, trading_symbol, instrument_type) "
        "values ('NSE_EQ|INE009A01021', 'NSE_EQ', 'INFY', 'EQ'), ('NSE_EQ|INE467B01029', 'NSE_EQ', 'TCS', 'EQ')"
    )
    conn.execute(
        "insert into official_bars_1m (instrument_id, bucket, open, high, low, close, volume, source) "
        "select instrument_id, timestamptz '2025-12-15 04:02+00' + n * interval '1 minute', "
        "1610.5, 1612, 1609.25, 1611, 1000 + n, 'I1' from instruments, generate_series(0, 1) as n "
        "where trading_symbol = 'INFY'"
    )
    conn.execute("select tickline.ensure_partitions('2025-12-15 00:00+00', '2025-12-15 23:00+00')")
    conn.execute(
        "insert into ticks (ts, instrument_id, seq, traded, ltp, delta, received_at) "
        "select timestamptz '2025-12-15 05:00+00' + n * interval '0.25 s', instrument_id, n, false, 100, 0.123456, "
        "'2025-12-15 06:00+00' from instruments, generate_series(1, 50) as n where trading_symbol = 'INFY'"
    )
    return conn


def run(command: click.Command, *arguments: str, text: str | None = None) -> Result:
    """Run a command; an error of ours comes out as itself, as the entry point gets it."""
    result = CliRunner().invoke(command, list(arguments), input=text, catch_exceptions=True)
    if isinstance(result.exception, TicklineError):
        raise result.exception
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def sql(statement: str, *arguments: str) -> Result:
    return run(cli.sql_command, statement, *arguments)


def test_choices_of_the_commands_equal_those_of_their_owners() -> None:
    assert options.FORMATS == output.FORMATS
    assert options.SOURCES == schema.SOURCES


def test_help_of_commands_imports_no_polars() -> None:
    code = "import sys, analytics.cli.read; assert not {'polars', 'psycopg'} & set(sys.modules), sorted(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=180)


def test_bars_csv_has_a_header_and_utc_times(market: Any) -> None:
    result = run(cli.bars_command, "infy", "--from", "2025-12-15", "--to", "2025-12-16", "--format", "csv")
    assert result.stdout.splitlines() == [
        BAR_COLUMNS,
        "NSE_EQ|INE009A01021,2025-12-15T04:02:00Z,1610.5,1612.0,1609.25,1611.0,1000,,official,complete,,,",
        "NSE_EQ|INE009A01021,2025-12-15T04:03:00Z,1610.5,1612.0,1609.25,1611.0,1001,,official,complete,,,",
    ]
    assert result.stderr == ""


def test_bars_table_has_market_time_and_aligned_prices(market: Any) -> None:
    lines = run(cli.bars_command, "INFY").stdout.splitlines()
    assert lines[0].split() == ["instrument", "bucket", "(IST)", *BAR_COLUMNS.split(",")[2:]]
    assert lines[1].split()[0] == "INFY"  # as it was typed
    assert lines[1].split()[1:7] == ["2025-12-15", "09:32:00", "1610.50", "1612.00", "1609.25", "1611.00"]
    assert len({line.index("official") for line in lines[1:]}) == 1


def test_bars_time_without_zone_is_market_local(market: Any) -> None:
    for start in ("2025-12-15 09:33", "2025-12-15T04:03Z"):
        result = run(cli.bars_command, "INFY", "--from", start, "--format", "csv")
        assert [line.split(",")[1] for line in result.stdout.splitlines()[1:]] == ["2025-12-15T04:03:00Z"]


def test_bars_wide_interval_and_json(market: Any) -> None:
    result = run(cli.bars_command, "INFY", "--interval", "75m", "--source", "official", "--format", "json")
    [bar] = json.loads(result.stdout)
    assert list(bar) == BAR_COLUMNS.split(",")
    assert (bar["bucket"], bar["volume"], bar["oi"]) == ("2025-12-15T03:45:00Z", 2001, None)


def test_bars_without_rows_are_a_header_and_a_note(market: Any) -> None:
    result = run(cli.bars_command, "INFY", "--from", "2026-01-01", "--format", "csv")
    assert result.stdout == f"{BAR_COLUMNS}\n"
    assert result.stderr == "no rows\n"
    assert json.loads(run(cli.bars_command, "INFY", "--from", "2026-01-01", "--format", "json").stdout) == []
    assert len(run(cli.bars_command, "INFY", "--from", "2026-01-01").stdout.splitlines()) == 1


def test_bars_of_an_unknown_instrument_are_one_line(market: Any) -> None:
    with pytest.raises(ConfigError, match="unknown instrument 'INFI'") as error:
        run(cli.bars_command, "INFI")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "yesterdays"], "Invalid value for '--from': time 'yesterdays' is not understood"),
        (["--interval", "7x"], "Invalid value for '--interval': interval '7x' is not a multiple"),
        (
            ["--from", "2025-12-16", "--to", "2025-12-15T04:00Z"],
            "--to '2025-12-15 09:30:00 IST' is not after --from '2025-12-16 00:00:00 IST'",
        ),
    ],
)
@pytest.mark.parametrize("command", [cli.bars_command, cli.ticks_command])
def test_wrong_option_is_named_and_wrong_usage(command: click.Command, arguments: list[str], message: str) -> None:
    if command is cli.ticks_command and "--interval" in arguments:
        pytest.skip("ticks have no interval")
    result = CliRunner().invoke(command, ["INFY", *arguments])
    assert result.exit_code == 2
    assert message in result.stderr


def test_bars_of_several_names_the_one_that_was_not_recorded(market: Any) -> None:
    result = run(cli.bars_command, "INFY", "tcs", "--format", "csv")
    assert len(result.stdout.splitlines()) == 3
    assert result.stderr == "no rows for 'tcs' (NSE_EQ|INE467B01029): it was not recorded in this range\n"
    assert "no rows for 'TCS'" in run(cli.ticks_command, "TCS", "INFY", "--format", "csv").stderr
    assert run(cli.bars_command, "INFY", "--format", "csv").stderr == ""


def test_rows_and_columns_that_are_wanted_in_each_form(market: Any) -> None:
    def cells(*arguments: str) -> list[list[str]]:
        result = run(cli.ticks_command, "infy", "--format", "csv", *arguments)
        return [line.split(",") for line in result.stdout.splitlines()]

    assert cells("--columns", "seq,instrument,ltp", "--limit", "2") == [
        ["seq", "instrument", "ltp"],
        ["1", "infy", "100.0"],
        ["2", "infy", "100.0"],
    ]
    assert [row[0] for row in cells("--columns", "seq", "--limit", "-3")] == ["seq", "48", "49", "50"]
    lines = run(cli.ticks_command, "INFY", "--columns", "instrument_key,seq", "--limit", "45").stdout.splitlines()
    assert len(lines) == 46 and lines[45].split() == ["NSE_EQ|INE009A01021", "45"]  # as many as wanted, though long
    with pytest.raises(ConfigError, match=r"--columns: column 'sec' does not exist: write seq"):
        cells("--columns", "sec")
    assert sql("select 1 as a, 2 as b", "--columns", "b", "--format", "csv").stdout == "b\n2\n"


def test_range_is_taken_in_words(market: Any) -> None:
    days = (datetime.now(UTC) - datetime(2025, 12, 14, tzinfo=UTC)).days
    all_of_it = run(cli.bars_command, "INFY", "--from", f"-{days}d", "--to", "today", "--format", "csv").stdout
    assert len(all_of_it.splitlines()) == 3
    assert run(cli.bars_command, "INFY", "--from", "yesterday", "--format", "csv").stdout == f"{BAR_COLUMNS}\n"


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet", "CSV", "txt"])
def test_output_file_says_the_format(market: Any, tmp_path: Path, suffix: str) -> None:
    by_name, by_option = tmp_path / f"bars.{suffix}", tmp_path / "bars"
    form = "table" if suffix == "txt" else suffix.lower()
    run(cli.bars_command, "INFY", "--output", str(by_name))
    run(cli.bars_command, "INFY", "--output", str(by_option), "--format", form)
    assert by_name.read_bytes() == by_option.read_bytes()
    run(cli.bars_command, "INFY", "--output", str(by_name), "--format", "csv")  # what is said wins
    assert by_name.read_text().startswith(BAR_COLUMNS)


def test_long_text_is_cut_on_a_terminal_only(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pl.DataFrame({"reasons": ["price " * 30]})
    output.write(frame)
    assert b"price " * 29 in capfdbinary.readouterr().out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    output.write(frame)
    assert b"..." in capfdbinary.readouterr().out


def test_bars_parquet_has_the_columns_of_the_other_formats(market: Any, tmp_path: Path) -> None:
    file = tmp_path / "bars.parquet"
    run(cli.bars_command, "INFY", "--format", "parquet", "--output", str(file))
    assert list(pl.read_parquet_schema(file)) == BAR_COLUMNS.split(",")


def test_ticks_parquet_keeps_the_types(market: Any, tmp_path: Path) -> None:
    file = tmp_path / "ticks.parquet"
    file.write_text("old")
    result = run(cli.ticks_command, "INFY", "--format", "parquet", "--output", str(file))
    assert result.stdout == ""
    assert pl.read_parquet(file).schema == pl.Schema(schema.TICKS)
    assert list(tmp_path.iterdir()) == [file]
    piped = CliRunner().invoke(cli.ticks_command, ["INFY", "--format", "parquet"])
    assert pl.read_parquet(io.BytesIO(piped.stdout_bytes)).height == 50


def test_ticks_long_table_shows_both_ends(market: Any) -> None:
    result = run(cli.ticks_command, "INFY")
    assert result.stderr == "10 of 50 rows not shown: add --all, or --output FILE\n"
    lines = result.stdout.splitlines()
    assert len(lines) == 42
    assert "2025-12-15 10:30:00.250" in lines[1]
    assert "0.123456" in lines[1]
    assert set(lines[21].split()) == {"..."}
    assert len(run(cli.ticks_command, "INFY", "--all").stdout.splitlines()) == 51


def test_parquet_on_a_terminal_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with pytest.raises(ConfigError, match="add --output FILE"):
        output.write(pl.DataFrame(), replace(PLAIN, form="parquet"))


def test_sql_types_come_through(market: Any, tmp_path: Path) -> None:
    statement = (
        "select 1::int2 as a, 2::int8 as b, 1.5::float8 as c, sum(volume) as d, avg(volume) as e, null as f, "
        "true as g, date '2025-12-15' as h, max(bucket) as i, '{\"k\": [1]}'::jsonb as j, array[1, 2] as k, "
        "interval '90 s' as l, 'x' as m, timestamp '2025-12-15 01:02:03.5' as n, 1 as a from official_bars_1m"
    )
    file = tmp_path / "types.parquet"
    sql(statement, "--format", "parquet", "--output", str(file))
    frame = pl.read_parquet(file)
    assert frame.rows() == [
        (
            *(1, 2, 1.5, 2001, 1000.5, None, True, datetime(2025, 12, 15, tzinfo=UTC).date()),
            datetime(2025, 12, 15, 4, 3, tzinfo=UTC),
            *('{"k": [1]}', "{1,2}", "00:01:30", "x"),
            datetime(2025, 12, 15, 1, 2, 3, 500_000, tzinfo=UTC).replace(tzinfo=None),
            1,
        )
    ]
    assert frame.columns[-1] == "a_2"
    [row] = json.loads(sql(statement, "--format", "json").stdout)
    assert (row["d"], row["i"], row["n"]) == (2001, "2025-12-15T04:03:00Z", "2025-12-15T01:02:03.500")


def test_sql_values_that_no_calendar_or_table_has_are_written_as_the_database_writes_them(
    market: Any, tmp_path: Path
) -> None:
    statement = (
        "select a, b, c, d, e, 1e300::float8 as f, 3 as a_3, 4 as a, 5 as a from (values "
        "('-infinity'::timestamptz, date '0044-03-15 BC', timestamp '294276-12-31', "
        "timestamptz '2025-12-15 09:15+05:30', 'NaN'::numeric), (null, null, '2025-12-15', null, 1)) "
        "as v (a, b, c, d, e)"
    )
    table = sql(statement).stdout.splitlines()
    assert table[0].split() == ["a", "b", "c", "d", "(IST)", "e", "f", "a_3", "a_2", "a_4"]
    assert table[1].split("  ")[:3] == ["-infinity", "0044-03-15 BC", "294276-12-31 00:00:00"]
    assert "nan" in table[1] and "1e+300" in table[1]
    assert sql(statement, "--format", "csv").stdout.splitlines()[1].startswith("-infinity,0044-03-15 BC,294276-12-31")
    rows = json.loads(sql(statement, "--format", "json").stdout)
    assert [row["d"] for row in rows] == ["2025-12-15T03:45:00Z", None]
    file = tmp_path / "odd.parquet"
    sql(statement, "--output", str(file))
    assert pl.read_parquet(file)["b"].to_list() == ["0044-03-15 BC", None]


def test_sql_statement_from_stdin(market: Any) -> None:
    text = "-- a comment, which looks like an option\nselect count(*) as n, '%(x)s' as p from ticks;\n"
    assert run(cli.sql_command, "-", "--format", "csv", text=text).stdout == "n,p\n50,%(x)s\n"
    assert sql(text, "--format", "csv").stdout == "n,p\n50,%(x)s\n"


def test_sql_relations_of_the_contract_are_readable(market: Any) -> None:
    views = ("bars_1m", "bars_5m", "best_bars_1m", "best_bars_5m", "latest_ticks")
    for relation in ("instruments", "ticks", "official_bars_1m", "feed_gaps", "signals", *views):
        sql(f"select * from {relation} limit 1", "--format", "csv")
    assert sql("explain select 1").stdout.startswith("QUERY PLAN")
    assert sql("show timezone", "--format", "csv").stdout == "TimeZone\nUTC\n"


def test_sql_long_result_comes_whole(market: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analytics.read.statement.BATCH_ROWS", 1000)
    result = sql("select n, n * 0.5 as half from generate_series(1, 4321) as n", "--format", "csv")
    lines = result.stdout.splitlines()
    assert (len(lines), lines[1], lines[-1]) == (4322, "1,0.5", "4321,2160.5")


def test_sql_takes_percent_signs_and_a_statement_of_stdin_in_utf8_only(market: Any) -> None:
    assert sql("select '%s' as a, 5 % 3 as b", "--format", "csv").stdout == "a,b\n%s,2\n"
    assert run(cli.sql_command, "-", "--format", "csv", text="select 'é' as a").stdout == "a\né\n"
    result = CliRunner().invoke(cli.sql_command, ["-"], input=b"select '\xe9'")
    assert result.exit_code == 2 and "stdin is not UTF-8 at byte 8" in result.stderr


WRITES = [
    "insert into instruments (instrument_key) values ('x') returning 1",
    "insert into instruments (instrument_key) values ('x')",
    "update instruments set name = 'x' returning 1",
    "delete from ticks returning 1",
    "with gone as (delete from ticks returning 1) select count(*) from gone",
    "truncate ticks",
    "drop table instruments",
    "create table made as select 1",
    "select 1 into made",
    "set transaction read write",
    "begin",
    "commit",
    "rollback",
    "select 1; drop table instruments",
    "commit; drop table instruments",
    "rollback; begin read write; drop table instruments; commit",
    "select set_config('transaction_read_only', 'off', false)",
    "select set_config('role', 'postgres', false), pg_read_file('PG_VERSION')",
    "do $$ begin drop table instruments; end $$",
    "do $$ begin set transaction read write; drop table instruments; end $$",
    "call tickline.refresh_bars('2025-12-15', '2025-12-16')",
    "select tickline.ensure_partitions('2026-01-01', '2026-01-02') from pg_sleep(0) where false or true",
    "select nextval(pg_get_serial_sequence('instruments', 'instrument_id'))",
    "copy instruments to program 'touch {marker}'",
    "copy (select 1) to '{marker}'",
    "copy instruments from program 'touch {marker}'",
    "select lo_export(lo_from_bytea(0, 'x'), '{marker}')",
    "select query_to_xml('drop table instruments', true, true, '')",
    "select query_to_xml('copy (select 1) to program ''touch {marker}''', true, true, '')",
    "explain analyze delete from ticks",
    "prepare p as delete from ticks",
    "alter system set work_mem = '1MB'",
    "vacuum",
    "",
    "-- nothing",
]


@pytest.mark.parametrize("statement", WRITES)
def test_sql_statement_that_writes_changes_nothing(
    market: psycopg.Connection[Any], tmp_path: Path, statement: str
) -> None:
    tmp_path.chmod(0o777)
    marker = tmp_path / "written"
    before = _state(market)
    try:
        sql(statement.format(marker=marker))
    except TicklineError as exc:
        assert "\n" not in str(exc)
    else:
        assert "ensure_partitions" in statement, "refused by its error, not by luck"
    assert _state(market) == before
    assert not marker.exists()


def _state(conn: psycopg.Connection[Any]) -> list[Any]:
    """Return what a write would change."""
    return [
        conn.execute("select count(*) from pg_class where relkind in ('r', 'p', 'v', 'm')").fetchone(),
        conn.execute("select count(*), max(name) from instruments").fetchone(),
        conn.execute("select count(*) from ticks").fetchone(),
    ]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("select x\nfrom no_such", 'statement refused at line 2, column 6: relation "no_such" does not exist'),
        ("selec 1", "statement refused at line 1, column 1: syntax error"),
        ("select 1/0", "statement refused: division by zero"),
        ("delete from ticks returning 1", "statement 'delete from ticks returning 1' would write: `tickline sql` only"),
        ("with a as (delete from ticks returning 1) table a", "would write: `tickline sql` only reads: write a select"),
        ("select $1::int", "statement 'select $1::int' has placeholders such as $1: write the values"),
        ("select 1; select 2", "there is more than one statement in 'select 1; select 2': give one at a time"),
        ("COPY ticks to stdout", "statement 'COPY ticks to stdout' returns no columns: `tickline sql` only reads"),
        ("select chr(0)", "statement refused: null character not permitted"),
        ("select 1\0; drop table ticks", "contains a NUL: remove it"),
    ],
)
def test_sql_error_is_one_line_with_the_place(market: Any, statement: str, message: str) -> None:
    with pytest.raises((StoreError, ConfigError)) as error:
        sql(statement)
    assert message.lower() in str(error.value).lower()
    assert "\n" not in str(error.value)
