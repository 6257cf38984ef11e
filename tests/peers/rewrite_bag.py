#!/usr/bin/env python3
"""Rewrites the first frames of a compressed RGB-D bag in many other forms with `rosbags`.

    rewrite_bag.py BAG OUT FRAMES

OUT gets one bag a form and `expected.txt` with one line a frame: stamp and the start of the
SHA-256 of its RGB bytes followed by its depth (float32 metres, none as ffffffff).
Needs: rosbags, numpy, pillow.
"""
import hashlib
import io
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.ROS2_HUMBLE)
IMAGE = STORE.types["sensor_msgs/msg/Image"]
PACKED = STORE.types["sensor_msgs/msg/CompressedImage"]
COLOR = "/camera/color/image_raw"
DEPTH = "/camera/aligned_depth_to_color/image_raw"
INFO = "/camera/color/camera_info"
MCAP, DB3 = StoragePlugin.MCAP, StoragePlugin.SQLITE3


def stamp_ns(header):
    return header.stamp.sec * 10**9 + header.stamp.nanosec


def read(bag, count):
    """(colour header, rgb, depth header, millimetres, camera info) of the first frames."""
    colors, depths, infos = [], [], []
    with Reader(bag) as reader:
        for connection, _, raw in reader.messages():
            message = STORE.deserialize_cdr(raw, connection.msgtype)
            if "camera_info" in connection.topic:
                infos.append(message)
            elif "compressedDepth" in connection.topic:
                png = Picture.open(io.BytesIO(message.data[12:].tobytes()))
                depths.append((message.header, np.array(png).astype(np.uint16)))
            else:
                jpeg = Picture.open(io.BytesIO(message.data.tobytes())).convert("RGB")
                colors.append((message.header, np.array(jpeg)))
            if min(len(colors), len(depths), len(infos)) >= count:
                break
    return [(*c, *d, i) for c, d, i in zip(colors[:count], depths, infos)]


def image(header, array, encoding, pad=0, big=False):
    if big:
        array = array.byteswap()
    height, width = array.shape[:2]
    rows = array.reshape(height, -1).view(np.uint8)
    step = rows.shape[1] + pad
    padded = np.full((height, step), 0xA5, np.uint8)
    padded[:, : rows.shape[1]] = rows
    return IMAGE(header, height, width, encoding, int(big), step, padded.reshape(-1))


def metres(mm):
    depth = mm.astype(np.float32) / np.float32(1000)
    depth[mm == 0] = np.nan
    return depth


def color_as(encoding, **kind):
    orders = {"rgb8": [0, 1, 2], "bgr8": [2, 1, 0], "rgba8": [0, 1, 2, 3], "bgra8": [2, 1, 0, 3]}

    def make(header, rgb):
        alpha = np.full((*rgb.shape[:2], 1), 7, np.uint8)
        rgba = np.concatenate([rgb, alpha], axis=2)
        return image(header, np.ascontiguousarray(rgba[:, :, orders[encoding]]), encoding, **kind)

    return make


def color_png(header, rgb):
    out = io.BytesIO()
    Picture.fromarray(rgb).save(out, "PNG", compress_level=1)
    data = np.frombuffer(out.getvalue(), np.uint8)
    return PACKED(header, "rgb8; png compressed rgb8", data)


def depth_as(encoding, **kind):
    if encoding == "32FC1":
        return lambda header, mm: image(header, metres(mm), encoding, **kind)
    return lambda header, mm: image(header, mm, encoding, **kind)


def write(out, frames, storage, color, depth, *, compress=None, little=True, version=9, late=0,
          clock=0):
    with_compression = Writer(out, version=version, storage_plugin=storage)
    if compress:
        with_compression.set_compression(compress, CompressionFormat.ZSTD)
    messages = []
    for header, rgb, depth_header, mm, info in frames:
        log = stamp_ns(header) + clock
        messages += [
            (log, COLOR, color(header, rgb)),
            (log + 1, INFO, info),
            (stamp_ns(depth_header) + clock + late, DEPTH, depth(depth_header, mm)),
        ]
    messages.sort(key=lambda message: message[0])
    with with_compression as writer:
        connections = {}
        for log, topic, message in messages:
            if topic not in connections:
                connections[topic] = writer.add_connection(
                    topic, message.__msgtype__, typestore=STORE)
            raw = STORE.serialize_cdr(message, message.__msgtype__, little_endian=little)
            writer.write(connections[topic], log, raw)


def split(out, frames, storage):
    """Three files and the metadata that lists them, as a recorder that splits leaves them."""
    ending = {MCAP: "mcap", DB3: "db3"}[storage]
    out.mkdir()
    size = -(-len(frames) // 3)
    metadata = None
    for part in range(3):
        piece = out.parent / f"piece_{part}"
        write(piece, frames[part * size : (part + 1) * size], storage, color_as("rgb8"),
              depth_as("16UC1"))
        name = f"piece_{part}.{ending}"
        shutil.move(piece / name, out / f"{out.name}_{part}.{ending}")
        metadata = metadata or (piece / "metadata.yaml").read_text()
        shutil.rmtree(piece)
    listed = "".join(f"  - {out.name}_{part}.{ending}\n" for part in range(3))
    metadata = metadata.replace(f"relative_file_paths:\n  - piece_0.{ending}\n",
                                f"relative_file_paths:\n{listed}")
    assert listed in metadata, metadata
    metadata = metadata.replace(f"message_count: {size}\n", f"message_count: {len(frames)}\n")
    (out / "metadata.yaml").write_text(metadata)


def main():
    bag, out, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    frames = read(bag, count)
    lines = []
    for header, rgb, _, mm, _ in frames:
        depth = metres(mm)
        bits = depth.view(np.uint32).copy()
        bits[np.isnan(depth)] = 0xFFFFFFFF
        digest = hashlib.sha256(rgb.tobytes() + bits.astype("<u4").tobytes()).hexdigest()[:16]
        lines.append(f"{stamp_ns(header)} {digest}\n")
    (out / "expected.txt").write_text("".join(lines))

    rgb8, mm = color_as("rgb8"), depth_as("16UC1")
    write(out / "mcap_none", frames, MCAP, rgb8, mm)
    write(out / "mcap_zstd", frames, MCAP, rgb8, mm, compress=CompressionMode.STORAGE)
    write(out / "db3_plain", frames, DB3, rgb8, mm)
    write(out / "db3_zstd_message", frames, DB3, rgb8, mm, compress=CompressionMode.MESSAGE)
    write(out / "db3_zstd_file", frames, DB3, rgb8, mm, compress=CompressionMode.FILE)
    write(out / "mcap_zstd_file", frames, MCAP, rgb8, mm, compress=CompressionMode.FILE)
    write(out / "version_8", frames, MCAP, rgb8, mm, version=8)
    write(out / "bgr8_32FC1", frames, MCAP, color_as("bgr8"), depth_as("32FC1"))
    write(out / "rgba8_mono16", frames, DB3, color_as("rgba8"), depth_as("mono16"))
    write(out / "padded_rows", frames, MCAP, color_as("bgra8", pad=20), depth_as("16UC1", pad=14))
    write(out / "big_endian_pixels", frames, MCAP, rgb8, depth_as("16UC1", big=True))
    write(out / "big_endian_floats", frames, MCAP, rgb8, depth_as("32FC1", big=True))
    write(out / "big_endian_cdr", frames, MCAP, rgb8, mm, little=False)
    write(out / "png", frames, MCAP, color_png, mm)
    write(out / "late_depth_other_clock", frames, MCAP, rgb8, mm, late=2 * 10**9,
          clock=-300 * 10**9)
    split(out / "split_mcap", frames, MCAP)
    split(out / "split_db3", frames, DB3)
    shutil.copytree(out / "split_db3", out / "no_metadata")
    (out / "no_metadata" / "metadata.yaml").unlink()


main()
