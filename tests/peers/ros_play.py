"""Plays the pictures and camera infos of a bag over ROS 2: the recorded bytes, at their times.

    ros_play.py BAG SECONDS RATE
"""

import sys
import time
from pathlib import Path

import rclpy
import sensor_msgs.msg
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosbags.highlevel import AnyReader

bag, seconds, rate = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
rclpy.init()
node = rclpy.create_node("player")
qos = QoSProfile(depth=5)
qos.reliability = ReliabilityPolicy.BEST_EFFORT
with AnyReader([bag]) as reader:
    wanted = [c for c in reader.connections if c.msgtype.startswith("sensor_msgs/")]
    topics = {c.topic: node.create_publisher(getattr(sensor_msgs.msg, c.msgtype.split("/")[-1]), c.topic, qos) for c in wanted}
    pictures = [p for t, p in topics.items() if "info" not in t]
    end = time.monotonic() + 20
    while time.monotonic() < end and any(p.get_subscription_count() < 1 for p in pictures):
        time.sleep(0.05)
    time.sleep(0.7)
    start, first, sent = time.monotonic(), None, 0
    for connection, at, data in reader.messages(wanted):
        first = first or at
        if at - first > seconds * 1e9:
            break
        time.sleep(max(0.0, start + (at - first) * 1e-9 / rate - time.monotonic()))
        topics[connection.topic].publish(bytes(data))
        sent += 1
print(f"{sent} messages played", flush=True)
time.sleep(1.0)
node.destroy_node()
rclpy.shutdown()
