# SPDX-License-Identifier: Apache-2.0
"""adamoe_ros: a mixture-of-experts vision-language-action policy as ROS 2 nodes.

The generated interfaces (``adamoe_ros.msg``, ``.action``, ``.srv``) live in the colcon overlay under
the same package name, so the path is extended: source tree and overlay then import side by side.
``load_policy`` is for scripts without ROS; it is imported when it is asked for.
"""

from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adamoe_ros.serving.loading import load_policy

__all__ = ["__version__", "load_policy"]
__path__ = extend_path(__path__, __name__)
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    if name == "load_policy":
        return import_module("adamoe_ros.serving.loading").load_policy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
