"""Publishes, on the topics of a camera, what no camera sends; and now and then a sound frame."""

import time
from array import array

import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

rclpy.init()
node = rclpy.create_node("hostile", namespace="/camera")
qos = QoSProfile(depth=5)
qos.reliability = ReliabilityPolicy.BEST_EFFORT
color = node.create_publisher(Image, "color/image_raw", qos)
depth = node.create_publisher(Image, "aligned_depth_to_color/image_raw", qos)
info = node.create_publisher(CameraInfo, "color/camera_info", qos)


def image(encoding, bytes_per_pixel, width=160, height=120, step=None, size=None, big=0):
    message = Image()
    now = time.time_ns()
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(now, 1_000_000_000)
    message.header.frame_id = "camera"
    message.encoding, message.width, message.height = encoding, width, height
    message.step = width * bytes_per_pixel if step is None else step
    message.is_bigendian = big
    size = width * height * bytes_per_pixel if size is None else size
    message.data = array("B", bytes(i * 7 % 251 for i in range(min(size, 251))) * (size // 251 + 1))[:size]
    return message


def both(a, b):
    b.header = a.header
    color.publish(a)
    depth.publish(b)


end = time.monotonic() + 20
while time.monotonic() < end and min(color.get_subscription_count(), depth.get_subscription_count()) < 1:
    time.sleep(0.05)
time.sleep(0.7)
sound = lambda: both(image("rgb8", 3), image("16UC1", 2))
for _ in range(4):
    sound()
    time.sleep(0.1)
    both(image("rgb8", 3, size=100), image("16UC1", 2, size=10))
    both(image("rgb8", 3, step=2**32 - 1, size=100), image("16UC1", 2, height=2**32 - 1, size=10))
    both(image("rgb8", 3, width=2**32 - 1, height=2**32 - 1, step=2**32 - 1, size=9), image("16UC1", 2, width=0, height=0, size=0))
    time.sleep(0.1)
    both(image("pixels!", 3), image("16UC1", 2))
    time.sleep(0.3)
    both(image("rgb8", 3), image("depth!", 2))
    time.sleep(0.3)
    # Not a message at all: the header is there, then nothing, then noise.
    color.publish(b"\0\1\0\0")
    color.publish(b"\0\1\0\0" + bytes(range(64)))
    depth.publish(b"\0\1\0\0" + b"\xff" * 64)
    bad = CameraInfo()
    bad.k = [float("nan")] * 9
    bad.d = [float("inf")] * 40
    bad.distortion_model = "x" * 10000
    info.publish(bad)
    # Stamps far away.
    far = image("rgb8", 3)
    far.header.stamp.sec, far.header.stamp.nanosec = -(2**31), 2**32 - 1
    color.publish(far)
    time.sleep(0.2)
for _ in range(8):
    sound()
    time.sleep(0.25)
# A learner on a busy machine leaves most pairs for newer ones; nothing is learnt from these, so it
# has time for all but the first.
for _ in range(8):
    both(image("pixels!", 3), image("16UC1", 2))
    time.sleep(0.3)
node.destroy_node()
rclpy.shutdown()
