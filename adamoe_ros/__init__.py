# SPDX-License-Identifier: Apache-2.0
"""adamoe_ros: a mixture-of-experts vision-language-action policy as ROS 2 nodes.

The generated interfaces (``adamoe_ros.msg``, ``.action``, ``.srv``) live in the colcon overlay under
the same package name, so the path is extended: source tree and overlay then import side by side.
"""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
__version__ = "0.1.0"
