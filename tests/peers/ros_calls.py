"""Calls everything that a node offers and that standard ROS tools call, through rclpy.

    ros_calls.py NODE

NODE is the node's full name; it must be unconfigured, and a camera must publish. Each check that
fails is a line on stderr; the exit code says whether there was one.
"""

import sys
import time

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition, TransitionEvent
from lifecycle_msgs.srv import ChangeState, GetAvailableStates, GetAvailableTransitions, GetState
from rcl_interfaces.msg import Log, Parameter, ParameterEvent, ParameterType, ParameterValue
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage
from std_srvs.srv import Trigger

NODE = sys.argv[1]
rclpy.init()
node = rclpy.create_node("caller")
failed = []


def check(what, so, found=""):
    if not so:
        failed.append(what)
        print(f"FAILED: {what}: {found}", file=sys.stderr, flush=True)


def spin(seconds, until=lambda: False):
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        rclpy.spin_once(node, timeout_sec=0.05)
    return until()


clients = {}


def call(kind, name, request=None, patience=30.0):
    key = (kind, name)
    if key not in clients:
        clients[key] = node.create_client(kind, f"{NODE}/{name}")
        check(f"{name} is offered", clients[key].wait_for_service(timeout_sec=15.0))
    future = clients[key].call_async(request or kind.Request())
    spin(patience, future.done)
    check(f"{name} answers", future.done())
    return future.result()


def heard(kind, topic, qos=10):
    messages = []
    node.create_subscription(kind, topic, messages.append, qos)
    return messages


latched = QoSProfile(depth=100)
latched.durability = DurabilityPolicy.TRANSIENT_LOCAL
events = heard(TransitionEvent, f"{NODE}/transition_event")
diagnostics = heard(DiagnosticArray, "/diagnostics")
log = heard(Log, "/rosout", latched)
changes = heard(ParameterEvent, "/parameter_events")
farness = heard(CompressedImage, f"{NODE}/farness")
preview = heard(CompressedImage, f"{NODE}/task_preview")


def state():
    return call(GetState, "get_state").current_state.label


def change(label=None, id=0):
    request = ChangeState.Request()
    request.transition.id = id
    request.transition.label = label or ""
    return call(ChangeState, "change_state", request, 60.0).success


def text(value):
    return ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=value)


def number(value):
    return ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value)


def set_(name, value):
    request = SetParameters.Request(parameters=[Parameter(name=name, value=value)])
    return call(SetParameters, "set_parameters", request).results[0]


# Lifecycle, invalid ones first.
check("it starts unconfigured", state() == "unconfigured", state())
check("activate is refused before configure", not change("activate"))
check("a transition that does not exist is refused", not change("fly"))
check("number 77 is refused", not change(id=77))
check("it is still unconfigured", state() == "unconfigured")
labels = [s.label for s in call(GetAvailableStates, "get_available_states").available_states]
check("all 11 states are told", len(labels) == 11 and "errorprocessing" in labels, labels)
here = call(GetAvailableTransitions, "get_available_transitions").available_transitions
check("two transitions from here", sorted(t.transition.label for t in here) == ["configure", "shutdown"], here)
graph = call(GetAvailableTransitions, "get_transition_graph").available_transitions
check("25 transitions in all", len(graph) == 25, len(graph))

# What needs a configured node says so.
for name in ["pause", "resume", "save", "rollback"]:
    answer = call(Trigger, name)
    check(f"{name} is refused with a reason", not answer.success and "configure" in answer.message, answer)

# Parameters.
names = call(ListParameters, "list_parameters").result.names
check("parameters are listed", "duty_cycle" in names and "cameras" in names, names)
values = call(GetParameters, "get_parameters", GetParameters.Request(names=["duty_cycle", "no_such"])).values
check("values are told", values[0].double_value > 0 and values[1].type == 0, values)
types = call(GetParameterTypes, "get_parameter_types", GetParameterTypes.Request(names=["duty_cycle", "policy"])).types
check("types are told", list(types) == [ParameterType.PARAMETER_DOUBLE, ParameterType.PARAMETER_STRING], types)
described = call(DescribeParameters, "describe_parameters", DescribeParameters.Request(names=["duty_cycle"])).descriptors[0]
check("they are described", len(described.description) > 20 and described.floating_point_range[0].to_value == 1.0, described)
check("a good value is taken", set_("duty_cycle", number(0.8)).successful)
refused = set_("duty_cycle", number(7.0))
check("one out of range is refused", not refused.successful and "7.0" in refused.reason, refused)
refused = set_("duty_cycle", text("much"))
check("one of another type is refused", not refused.successful and "number" in refused.reason, refused)
refused = set_("no_such", number(1.0))
check("one that is not declared is refused", not refused.successful and refused.reason, refused)
refused = set_("autostart", ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=True))
check("one that is set at start is refused", not refused.successful and "start" in refused.reason, refused)
both = [Parameter(name="duty_cycle", value=number(0.9)), Parameter(name="max_rate_hz", value=number(-1.0))]
atomic = call(SetParametersAtomically, "set_parameters_atomically", SetParametersAtomically.Request(parameters=both)).result
check("all or nothing", not atomic.successful and "max_rate_hz" in atomic.reason, atomic)
now = call(GetParameters, "get_parameters", GetParameters.Request(names=["duty_cycle"])).values[0].double_value
check("nothing, then", now == 0.8, now)
check("a change is an event", spin(3.0, lambda: any(
    p.name == "duty_cycle" for e in changes if e.node == NODE for p in e.changed_parameters)), changes)

# Configure, activate.
check("configure", change("configure"))
check("it is inactive", state() == "inactive", state())
refused = set_("color_topic", text("elsewhere"))
check("topics stay while configured", not refused.successful and "unconfigured" in refused.reason, refused)
check("activate by number", change(id=Transition.TRANSITION_ACTIVATE))
check("it is active", state() == "active", state())
check("events were published", spin(3.0, lambda: len(events) >= 4), events)
check("with their states", [(e.start_state.label, e.goal_state.label) for e in events][:4] == [
    ("unconfigured", "configuring"), ("configuring", "inactive"),
    ("inactive", "activating"), ("activating", "active")], events)


def levels():
    return {s.name.split(": ")[-1]: (s.level, s.message) for a in diagnostics[-1:] for s in a.status}


check("diagnostics are OK with a camera", spin(15.0, lambda: len(levels()) == 3 and all(
    level == b"\0" for level, _ in levels().values())), levels())
check("farness comes as a small JPEG", spin(20.0, lambda: farness) and farness[0].format == "jpeg"
      and bytes(farness[0].data[:2]) == b"\xff\xd8" and len(farness[0].data) <= 60000, len(farness))
check("so does the task preview", spin(20.0, lambda: preview) and bytes(preview[0].data[:2]) == b"\xff\xd8"
      and len(preview[0].data) <= 60000, len(preview))
check("/rosout tells", spin(5.0, lambda: any(m.name == NODE.strip("/").replace("/", ".") for m in log)), len(log))

for name in ["pause", "resume", "save", "rollback"]:
    answer = call(Trigger, name, patience=90.0)
    check(name, answer.success and answer.message, answer)

check("deactivate", change("deactivate"))
check("cleanup", change("cleanup"))
check("it is unconfigured again", state() == "unconfigured", state())
check("it can be configured again", change("configure"))
check("shutdown", change("shutdown"))
check("it is finalized", state() == "finalized", state())
check("nothing leads out of that", not change("configure"))

print("calls done", len(failed), "failed", flush=True)
node.destroy_node()
rclpy.shutdown()
sys.exit(1 if failed else 0)
