# SPDX-License-Identifier: Apache-2.0
"""Chunk execution strategies by name; to add one, write its file and enter it here."""

from __future__ import annotations

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.control.strategies.async_ import Async
from adamoe_ros.control.strategies.base import PolicySide, Strategy
from adamoe_ros.control.strategies.blend import Blend
from adamoe_ros.control.strategies.ensemble import Ensemble
from adamoe_ros.control.strategies.rtc import Rtc
from adamoe_ros.control.strategies.rtc_trained import RtcTrained
from adamoe_ros.control.strategies.sync import Sync

STRATEGIES: dict[str, type[Strategy]] = {
    strategy.name: strategy for strategy in (Sync, Async, Blend, Ensemble, Rtc, RtcTrained)
}


def make_strategy(name: str) -> Strategy:
    """A strategy by name.

    Raises:
        ContractError: no such strategy.
    """
    if name not in STRATEGIES:
        raise ContractError(
            problem("strategy", f"one of {', '.join(STRATEGIES)}", repr(name), "correct it")
        )
    return STRATEGIES[name]()


__all__ = ["STRATEGIES", "PolicySide", "Strategy", "make_strategy"]
