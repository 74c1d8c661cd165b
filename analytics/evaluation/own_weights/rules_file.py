"""Write fitted weights as a file of rules that a person can read and change. Pure.

Owns the text. TOML needs no more here than numbers, names and tables of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date

from analytics.evaluation.own_weights.weights import FittedClass
from analytics.signals.rules import ClassRules


def rules_text(fitted: Iterable[FittedClass], first: date, last: date) -> str:
    """Return the text of a file for `tickline spikes --rules`, with what each class rests on."""
    lines = [
        f"# Weights of spike detection, fitted by `tickline spikes fit` to {first} to {last}.",
        "# What a file does not name is as in the built-in rules. A weight is log-odds for each point of a score.",
        "",
        f'name = "fitted-{last}"',
    ]
    for one in fitted:
        lines += ["", f"# {one.name}: {one.instruments} instruments, {one.days} days, {one.bars} bars that could fire;"]
        lines.append(f"# {one.reason}.")
        if one.weights is not None:
            lines += [f"[{one.name}]", *_class_lines(one.weights)]
    return "\n".join([*lines, ""])


def _class_lines(weights: ClassRules) -> list[str]:
    """Return the weights of a class as TOML."""
    sets = ", ".join(_table(one) for one in weights.confirm)
    return [
        f"bias = {weights.bias:.3f}",
        f"early = {weights.early:.3f}",
        f"price = {weights.price:.3f}",
        f"confirm = [{sets}]",
        f"alone_from = {weights.alone_from:g}",
        f"support = {_table(weights.support)}",
    ]


def _table(weights: Mapping[str, float]) -> str:
    """Return an inline table."""
    return "{ " + ", ".join(f"{name} = {weight:.3f}" for name, weight in weights.items()) + " }"
