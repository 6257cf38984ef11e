"""Reads messages with rosbags by the definitions of ROS and ours, and compares every value.

stdin: one JSON object a line: type, cdr (hexadecimal), values (flat, in wire order).
Arguments: the share folder of ROS, the folder of spatial_ssrl_msgs.
"""

import json
import pathlib
import sys

import numpy
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosidl_adapter.parser import parse_message_file, parse_service_file

share, own = map(pathlib.Path, sys.argv[1:3])
store = get_typestore(Stores.EMPTY)
types = {}


def add(package, folder):
    for path in sorted((folder / "msg").glob("*.msg")):
        # The parser of ROS itself refuses what colcon would refuse.
        parse_message_file(package, path)
        types.update(get_types_from_msg(path.read_text(), f"{package}/msg/{path.stem}"))
    for path in sorted((folder / "srv").glob("*.srv")):
        parse_service_file(package, path)
        lines = path.read_text().splitlines()
        cut = [line.strip() for line in lines].index("---")
        for half, text in ("Request", lines[:cut]), ("Response", lines[cut + 1 :]):
            # rosbags knows messages alone.
            name = f"{package}/msg/{path.stem}_{half}"
            types.update(get_types_from_msg("\n".join(text), name))


for name in (
    "builtin_interfaces std_msgs geometry_msgs sensor_msgs rosgraph_msgs diagnostic_msgs "
    "lifecycle_msgs std_srvs service_msgs"
).split():
    if (share / name).exists():
        add(name, share / name)
add("spatial_ssrl_msgs", own)
store.register(types)


def flat(value):
    if isinstance(value, (list, tuple, numpy.ndarray)):
        for element in value:
            yield from flat(element)
    elif hasattr(value, "__msgtype__"):
        # Not the constants, which are fields of the class.
        for name, _ in store.get_msgdef(value.__msgtype__).fields:
            yield from flat(getattr(value, name))
    elif isinstance(value, numpy.generic):
        yield value.item()
    else:
        yield value


count = 0
for line in sys.stdin:
    case = json.loads(line)
    raw = bytes.fromhex(case["cdr"])
    name = case["type"].replace("/srv/", "/msg/")
    message = store.deserialize_cdr(raw, name)
    got = list(flat(message))
    assert got == case["values"], (name, got, case["values"])
    again = bytes(store.serialize_cdr(message, name))
    assert again == raw, (name, again.hex(), raw.hex())
    count += 1
print(count, "types agree")
