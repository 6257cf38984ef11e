"""A camera of real ROS 2: publishes colour and depth of recorded frames through rclpy.

Writes one JSON line a frame to stdout when it is done: stamp, when it was sent, CRC-32 of both
pictures' data. Messages are serialised once; then only the stamp is put in, so that Python keeps
up with the rate.
"""

import argparse
import json
import struct
import sys
import time
import zlib
from array import array
from pathlib import Path

import numpy as np
import rclpy
from PIL import Image as Picture
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image


def frames(folder, count, size):
    """Pairs of colour [height, width, 3] u8 and depth [height, width] u16 in millimetres."""
    lines = (folder / "associations.txt").read_text().splitlines()
    lines = [line.split() for line in lines if line and not line.startswith("#")]
    step = max(1, len(lines) // count)
    for _, color, _, depth in lines[::step][:count]:
        color = Picture.open(folder / color).convert("RGB").resize(size, Picture.BILINEAR)
        depth = Picture.open(folder / depth).resize(size, Picture.NEAREST)
        yield np.asarray(color), (np.asarray(depth, np.float32) / 5.0).astype(np.uint16)


def header(message, frame_id="camera_color_optical_frame"):
    message.header.frame_id = frame_id
    return message


def raw(pixels, encoding):
    message = header(Image())
    message.height, message.width = pixels.shape[:2]
    message.encoding = encoding
    message.step = pixels.strides[0]
    message.data = array("B", pixels.tobytes())
    return message


def compressed(pixels, format, prefix=b""):
    import io

    message = header(CompressedImage())
    file = io.BytesIO()
    kind = "JPEG" if pixels.ndim == 3 else "PNG"
    Picture.fromarray(pixels).save(file, kind, **({"quality": 90} if kind == "JPEG" else {"compress_level": 1}))
    message.format = format
    message.data = array("B", prefix + file.getvalue())
    return message


def stamped(serialized, stamp_ns):
    """The message with this stamp: it stands right after the four bytes of encapsulation."""
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    struct.pack_into("<iI", serialized, 4, sec, nanosec)
    return bytes(serialized)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--namespace", default="/camera")
    parser.add_argument("--hz", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--different", type=int, default=30, help="frames that are told apart")
    parser.add_argument("--compressed", action="store_true")
    parser.add_argument("--reliable", action="store_true")
    parser.add_argument("--clock", action="store_true",
                        help="stamps and /clock begin at 1000 s and go back to 500 s halfway")
    parser.add_argument("--dump", type=Path, help="write the frames' pixels there, and that is all")
    parser.add_argument("--wait", type=float, default=20.0, help="seconds for subscribers to come")
    args = parser.parse_args()

    if args.dump:
        with args.dump.open("wb") as out:
            for color, depth in frames(args.folder, args.different, (args.width, args.height)):
                out.write(color.tobytes() + depth.tobytes())
        return
    made = []
    for color, depth in frames(args.folder, args.different, (args.width, args.height)):
        if args.compressed:
            color = compressed(color, "rgb8; jpeg compressed bgr8")
            depth = compressed(depth, "16UC1; compressedDepth png", b"\0" * 12)
        else:
            color, depth = raw(color, "rgb8"), raw(depth, "16UC1")
        crcs = [zlib.crc32(message.data.tobytes()) for message in (color, depth)]
        made.append([bytearray(serialize_message(color)), bytearray(serialize_message(depth)), *crcs])

    rclpy.init()
    node = rclpy.create_node("camera", namespace=args.namespace)
    qos = QoSProfile(depth=5)
    qos.reliability = ReliabilityPolicy.RELIABLE if args.reliable else ReliabilityPolicy.BEST_EFFORT
    kind, ends = (CompressedImage, ["/compressed", "/compressedDepth"]) if args.compressed else (Image, ["", ""])
    color_topic = node.create_publisher(kind, "color/image_raw" + ends[0], qos)
    depth_topic = node.create_publisher(kind, "aligned_depth_to_color/image_raw" + ends[1], qos)
    info_topic = node.create_publisher(CameraInfo, "color/camera_info", qos)
    clock_topic = node.create_publisher(Clock, "/clock", 10) if args.clock else None
    info = header(CameraInfo())
    info.width, info.height = args.width, args.height
    scale = args.width / 640
    info.k = [517.3 * scale, 0.0, 318.6 * scale, 0.0, 516.5 * scale, 255.3 * scale, 0.0, 0.0, 1.0]
    info.distortion_model = "plumb_bob"
    info.d = [0.0] * 5

    until = time.monotonic() + args.wait
    while time.monotonic() < until and min(color_topic.get_subscription_count(), depth_topic.get_subscription_count()) < 1:
        time.sleep(0.05)
    # The subscriber may learn of the match a little later than the publisher.
    time.sleep(0.7)
    print("publishing", file=sys.stderr, flush=True)
    sent = []
    period = 1.0 / args.hz
    start = time.monotonic()
    for i in range(round(args.seconds * args.hz)):
        time.sleep(max(0.0, start + i * period - time.monotonic()))
        color, depth, color_crc, depth_crc = made[i % len(made)]
        stamp_ns = time.time_ns()
        if args.clock:
            elapsed = time.monotonic() - start
            sim = (1000 if elapsed < args.seconds / 2 else 500) + elapsed
            stamp_ns = round(sim * 1e9)
            clock = Clock()
            clock.clock.sec, clock.clock.nanosec = divmod(stamp_ns, 1_000_000_000)
            clock_topic.publish(clock)
        color_topic.publish(stamped(color, stamp_ns))
        depth_topic.publish(stamped(depth, stamp_ns))
        if i % 10 == 0:
            info.header.stamp.sec, info.header.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
            info_topic.publish(info)
        sent.append({"stamp_ns": stamp_ns, "color": color_crc, "depth": depth_crc})
    for line in sent:
        print(json.dumps(line))
    sys.stdout.flush()
    time.sleep(0.5)
    node.destroy_node()
    rclpy.shutdown()


main()
