"""What rclpy makes of command lines. stdin: names, and cases [line, namespace]."""

import json
import sys

import rclpy
from rclpy.node import Node

asked = json.load(sys.stdin)


def resolved(resolve, name):
    try:
        return resolve(name)
    except Exception:
        return ""


def plain(parameter):
    value = parameter.value
    if parameter.type_.name == "DOUBLE":
        value = repr(value)
        value = {"1e+20": "1e20"}.get(value, value)
    elif parameter.type_.name.endswith("_ARRAY"):
        value = list(value)
    return [parameter.type_.name, value]


def told(line, namespace):
    context, node = rclpy.Context(), None
    try:
        rclpy.init(args=["program", *line], context=context)
        node = Node(
            "n",
            namespace=namespace,
            context=context,
            automatically_declare_parameters_from_overrides=True,
            start_parameter_services=False,
            enable_rosout=False,
        )
        own = ("use_sim_time", "start_type_description_service")
        parameters = {k: plain(p) for k, p in node._parameters.items() if k not in own}
        return {
            "name": node.get_name(),
            "namespace": node.get_namespace(),
            "topics": [resolved(node.resolve_topic_name, n) for n in asked["names"]],
            "services": [resolved(node.resolve_service_name, n) for n in asked["names"]],
            "parameters": parameters,
        }
    except Exception as error:
        print(line, error, file=sys.stderr)
        return None
    finally:
        if node is not None:
            node.destroy_node()
        if context.ok():
            rclpy.shutdown(context=context)


answers = [told(*case) for case in asked["cases"]]
print(json.dumps(answers))
