# SPDX-License-Identifier: Apache-2.0
"""Some 10^4 adversarial ticks; ``adversarial_ticks.py`` runs as many as are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from adversarial_ticks import PROFILE, BeyondLimitError, Observer, main


def test_no_command_is_beyond_a_limit(tmp_path: Path) -> None:
    found = main(20_000, 3, tmp_path)
    assert found["ticks"] == 20_000
    assert found["moving joint commands"] > 5_000  # the limits are not kept by standing still
    assert {"HOLD", "RUNNING", "ESTOP"} <= set(found["modes"])
    assert found["sources"]["HUMAN"] > 500 and found["sources"]["POLICY"] > 500
    assert found["largest share of a limit"]["push"] > 0.99  # and they are used


@pytest.mark.parametrize(
    ("second", "text"),
    [(1.6, "limits -1.0 to 1.5"), (float("nan"), "at nan"), (0.05, "speed"), (0.006, "push")],
)
def test_the_observer_sees_what_is_beyond(second: float, text: str) -> None:
    observer = Observer(PROFILE)
    observer.see([0.0, 0.5, 0.0, 0.5], 0.02)
    observer.stopped()
    with pytest.raises(BeyondLimitError, match=text):
        observer.see([second, 0.5, 0.0, 0.5], 0.02)
