# SPDX-License-Identifier: Apache-2.0
"""An SROS 2 policy for one robot: which node may send, hear and call what, from its profile.

``ros2 security create_permission`` turns it into signed DDS permissions (``doc/security.md``). One
enclave per process: who holds the operator's key can start and stop goals, but cannot command joints.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree as Xml

from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.topics import command_topics, leader_topics, state_topics
from adamoe_ros.ros import names

ENCLAVES = ("control", "policy", "driver", "operator", "human")
PARAMETERS = (
    "describe_parameters",
    "get_parameter_types",
    "get_parameters",
    "get_type_description",
    "list_parameters",
    "set_parameters",
    "set_parameters_atomically",
)
LIFECYCLE = (
    "change_state",
    "get_available_states",
    "get_available_transitions",
    "get_state",
    "get_transition_graph",
)
COMMON_PUBLISH = ("/rosout", "/parameter_events", "/diagnostics")
COMMON_SUBSCRIBE = ("/parameter_events", "/clock")


@dataclass(frozen=True)
class Rules:
    """What one node may do; names as ROS resolves them in the node's namespace."""

    node: str
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    reply: tuple[str, ...] = ()
    request: tuple[str, ...] = ()
    execute: tuple[str, ...] = ()
    call: tuple[str, ...] = ()
    managed: bool = False  # a lifecycle node of this package


def rules(profile: RobotProfile) -> dict[str, Rules]:
    """Enclave -> what its node may do."""
    states = [topic.source.topic for topic in state_topics(profile)]
    commands = [topic.target.topic for topic in command_topics(profile)]
    cameras = [str(camera.topic) for camera in profile.present_cameras.values()]
    shadow = [names.SHADOW_PREFIX + topic.lstrip("/") for topic in commands]
    from_policy = [names.ACTION_CHUNK, names.MOTION, names.POLICY_STATUS]
    services = [names.EMERGENCY_STOP, names.RESET, names.RESUME]
    human = [topic.target.topic for topic in leader_topics(profile)]
    human += [profile.teleop.deadman.topic] if profile.teleop else []
    return {
        "control": Rules(
            names.CONTROL_NODE,
            publish=_unique(names.CONTROL_STATUS, *commands, *shadow),
            subscribe=_unique(*from_policy, names.EMERGENCY_STOP, *states, *human),
            reply=_unique(*services),
            managed=True,
        ),
        "policy": Rules(
            "policy_node",
            publish=_unique(*from_policy),
            subscribe=_unique(
                names.INSTRUCTION, names.TASK_STATUS, names.CONTROL_STATUS, *states, *cameras
            ),
            execute=(names.EXECUTE,),
            managed=True,
        ),
        "driver": Rules(
            "*", publish=_unique(*states, *cameras, names.TASK_STATUS), subscribe=_unique(*commands)
        ),
        "operator": Rules(
            "*",
            publish=_unique(names.EMERGENCY_STOP, names.INSTRUCTION),
            subscribe=_unique(names.CONTROL_STATUS, names.POLICY_STATUS, names.TASK_STATUS),
            request=_unique(
                *services,
                *(
                    f"{node}/{name}"
                    for node in ("control_node", "policy_node")
                    for name in LIFECYCLE
                ),
            ),
            call=(names.EXECUTE,),
        ),
        "human": Rules("*", publish=_unique(*human)),
    }


def policy_xml(profile: RobotProfile, namespace: str = "/") -> str:
    """The policy file.

    Args:
        namespace: of the robot, absolute; its enclaves lie below it, too.
    """
    base = "/" + namespace.strip("/")
    root = Xml.Element("policy", version="0.2.0")
    enclaves = Xml.SubElement(root, "enclaves")
    for name, rule in rules(profile).items():
        enclave = Xml.SubElement(enclaves, "enclave", path=f"{base.rstrip('/')}/{name}")
        profiles = Xml.SubElement(enclave, "profiles")
        node = Xml.SubElement(profiles, "profile", ns=base, node=rule.node)
        _add_rules(node, rule)
    Xml.indent(root)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n' + Xml.tostring(root, encoding="unicode") + "\n"
    )


def _add_rules(node: Xml.Element, rule: Rules) -> None:
    own = LIFECYCLE if rule.managed else ()
    private = tuple(f"~/{name}" for name in (*PARAMETERS, *own))
    events = ("~/transition_event",) if rule.managed else ()
    for kind, attribute, expressions in (
        ("topic", "publish", (*rule.publish, *COMMON_PUBLISH, *events)),
        ("topic", "subscribe", (*rule.subscribe, *COMMON_SUBSCRIBE)),
        ("service", "reply", (*rule.reply, *private)),
        ("service", "request", rule.request),
        ("action", "execute", rule.execute),
        ("action", "call", rule.call),
    ):
        if expressions:
            group = Xml.SubElement(node, f"{kind}s", {attribute: "ALLOW"})
            for expression in expressions:
                Xml.SubElement(group, kind).text = expression


def _unique(*expressions: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(expressions))
