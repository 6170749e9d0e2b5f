# SPDX-License-Identifier: Apache-2.0
"""Mends the CMake files that the ROS wheels export: they name headers of their build machine.

Run with the environment's own interpreter, after installing the wheels. Changing nothing the second
time. Needs numpy.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

_PYTHON = re.compile(r"/opt/python/cp3\d+-cp3\d+/include/python3\.\d+")
_NUMPY = re.compile(r"/opt/[^;\"\s]*site-packages/numpy/_?core/include")


def mend(text: str, python_include: str, numpy_include: str) -> str:
    """The same CMake file with this machine's header folders."""
    return _NUMPY.sub(lambda _: numpy_include, _PYTHON.sub(lambda _: python_include, text))


def mend_all(prefix: Path, python_include: str, numpy_include: str) -> list[Path]:
    """Mend every exported file under ``prefix/share``; the files that changed."""
    changed = []
    for path in sorted((prefix / "share").rglob("*.cmake")):
        old = path.read_text()
        new = mend(old, python_include, numpy_include)
        if new != old:
            path.write_text(new)
            changed.append(path)
    return changed


def main() -> int:
    """Mend this interpreter's environment."""
    import numpy

    changed = mend_all(Path(sys.prefix), sysconfig.get_paths()["include"], numpy.get_include())
    print(f"mended {len(changed)} CMake files under {sys.prefix}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
