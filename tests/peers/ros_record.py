"""Reads a recording with independent implementations and prints what it finds.

Arguments: rosbags | mcap_ros2 | metadata FOLDER, or cut FILE.
"""

import hashlib
import pathlib
import sys

mode, path = sys.argv[1], pathlib.Path(sys.argv[2])


def line(log_ns, topic, message):
    stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
    if hasattr(message, "encoding"):
        digest = hashlib.sha256(bytes(message.data)).hexdigest()[:16]
        what = f"{message.encoding} {message.width}x{message.height} {digest}"
    else:
        what = f"{float(message.k[4])} {float(message.d[1])}"
    print(log_ns, topic, stamp, what)


if mode == "rosbags":
    from rosbags.highlevel import AnyReader

    with AnyReader([path]) as reader:
        for connection, log_ns, raw in reader.messages():
            line(log_ns, connection.topic, reader.deserialize(raw, connection.msgtype))
elif mode in ("mcap_ros2", "cut"):
    from mcap.exceptions import McapError
    from mcap.reader import NonSeekingReader, make_reader
    from mcap_ros2.decoder import DecoderFactory

    files = sorted(path.glob("*.mcap")) if path.is_dir() else [path]
    for file in files:
        with open(file, "rb") as stream:
            kind = NonSeekingReader if mode == "cut" else make_reader
            reader = kind(stream, decoder_factories=[DecoderFactory()])
            if mode != "cut":
                assert reader.get_header().profile == "ros2"
                assert reader.get_summary().statistics.message_count > 0
            # In file order: a reader without seeking would else read all before it gives any.
            messages = reader.iter_decoded_messages(log_time_order=mode != "cut")
            try:
                for _, channel, message, decoded in messages:
                    line(message.log_time, channel.topic, decoded)
            except (McapError, EOFError) as error:
                if mode != "cut":
                    raise
                print(error, file=sys.stderr)
else:
    from rosbags.rosbag2 import Reader
    from ruamel.yaml import YAML
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    for name in ("Image", "CompressedImage", "CameraInfo"):
        name = f"sensor_msgs/msg/{name}"
        text, _ = store.generate_msgdef(name, ros_version=2)
        print("type", name, store.hash_rihs01(name), "|".join(text.splitlines()))
    with Reader(path) as reader:
        meta = YAML(typ="safe").load(path / "metadata.yaml")["rosbag2_bagfile_information"]
        print(
            "bag",
            meta["version"],
            meta["storage_identifier"],
            len(meta["files"]),
            reader.message_count,
            reader.start_time,
            meta["duration"]["nanoseconds"],
        )
        assert meta["relative_file_paths"] == [file["path"] for file in meta["files"]]
        for entry in meta["topics_with_message_count"]:
            topic = entry["topic_metadata"]
            print(
                "topic",
                topic["name"],
                topic["type"],
                topic["serialization_format"],
                entry["message_count"],
                topic["type_description_hash"],
            )
        for connection in reader.connections:
            assert connection.msgcount * 3 == reader.message_count == meta["message_count"]
        assert reader.duration == meta["duration"]["nanoseconds"] + 1
