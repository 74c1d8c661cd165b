"""The rows of the watch list, and which of them a browser needs."""

from __future__ import annotations

from typing import Any

from analytics.page.chain import around_the_money
from analytics.page.watch_list import FAILED, SILENT, WatchList


def listed(number: int, name: str, kind: str, price: float, spikes: int = 0) -> tuple[Any, ...]:
    return (number, f"NSE_FO|{number}", name, "NSE_FO", kind, price, 100.0, 50, None, None, 1.0, spikes)


def test_only_changed_rows_are_sent() -> None:
    watch = WatchList()
    watch.listed([listed(1, "B", "FUT", 110.0), listed(2, "A", "FUT", 90.0, spikes=2)])
    assert [(row["name"], row["change"], row["spikes"]) for row in watch.rows()] == [("A", -10.0, 2), ("B", 10.0, None)]
    version = watch.version
    watch.ticked({"NSE_FO|1": {"price": 111.0, "volume": 60}, "NSE_FO|2": {"price": 90.0, "volume": 50}})
    assert [(row["name"], row["price"], row["change"]) for row in watch.changed_since(version)] == [("B", 111.0, 11.0)]
    assert watch.changed_since(watch.version) == []
    assert len(watch.changed_since(0)) == 2


def test_change_that_rounds_to_nothing_has_no_sign() -> None:
    watch = WatchList()
    watch.listed([listed(1, "A", "FUT", 99.999)])
    assert f"{watch.rows()[0]['change']:+.2f}" == "+0.00"


def test_rows_are_in_the_order_of_their_kinds_then_names() -> None:
    watch = WatchList()
    watch.listed(
        [
            listed(1, "Z CE", "CE", 1.0),
            listed(2, "A PE", "PE", 1.0),
            listed(3, "NIFTY", "INDEX", 1.0),
            listed(4, "INFY", "EQ", 1.0),
        ]
    )
    assert [row["name"] for row in watch.rows()] == ["NIFTY", "INFY", "A PE", "Z CE"]


def test_silent_and_unanswered_keys_have_a_state_and_a_name_once_it_is_known() -> None:
    watch = WatchList()
    watch.listed([listed(1, "A", "FUT", 1.0)])
    watch.judged(["NSE_FO|1"], ["NSE_FO|1"], ["NSE_FO|7"])
    assert {row["key"]: row["state"] for row in watch.rows()} == {"NSE_FO|1": SILENT, "NSE_FO|7": FAILED}
    assert watch.unnamed() == ["NSE_FO|7"]
    watch.named([("NSE_FO|7", "NIFTY FUT")])
    assert watch.name_of("NSE_FO|7") == "NIFTY FUT"
    watch.judged(["NSE_FO|1", "NSE_FO|7"], [], [])
    assert {row["state"] for row in watch.rows()} == {None}


def test_rows_of_an_earlier_session_go_unless_they_are_recorded() -> None:
    watch = WatchList()
    watch.listed([listed(1, "EXPIRED", "CE", 1.0), listed(2, "A", "FUT", 1.0), listed(3, "B", "FUT", 1.0)])
    watch.judged(["NSE_FO|2", "NSE_FO|3"], [], [])
    generation = watch.generation
    watch.listed([listed(2, "A", "FUT", 2.0)])  # B has not ticked in the new session
    assert [row["name"] for row in watch.rows()] == ["A", "B"]
    assert (watch.generation, watch.ids) == (generation + 1, {"NSE_FO|2": 2, "NSE_FO|3": 3})
    watch.listed([listed(2, "A", "FUT", 3.0)])
    assert watch.generation == generation + 1


def test_chain_is_cut_around_the_money() -> None:
    rows = [{"strike": float(strike), "call_delta": 1 - strike / 100} for strike in range(0, 101)]
    found = around_the_money(rows, 30.2)
    assert (found[0]["strike"], found[-1]["strike"]) == (18.0, 42.0)
    assert [row["strike"] for row in found if row["marked"]] == [30.0]
    assert [row["strike"] for row in around_the_money(rows, None) if row["marked"]] == [50.0]
    assert around_the_money([], 1.0) == []
