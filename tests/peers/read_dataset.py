"""Reads a data set written by spatial-ssrl with the libraries that trainers use.

Usage: read_dataset.py FOLDER ROWS

Row n of the data set has n % 6 pictures of 16x12 pixels; picture i of it is filled with
(n % 200, i, 7). Prints one line for each reader that was used; any difference is an error.
"""

import io
import json
import sys
from pathlib import Path

import pyarrow.json
import pyarrow.parquet

COLUMNS = ["problem", "prompt", "answer", "images", "kind", "variant", "preset", "stamp_ns",
           "frame_id", "seed", "question"]


def check_row(n, row, pictures):
    assert set(row) == set(COLUMNS), row.keys()
    assert row["problem"].count("<image>") == n % 6, row["problem"]
    assert row["problem"].endswith("Which patch – 0 to 3 – is flipped?"), row["problem"]
    assert row["prompt"] == [{"role": "user", "content": "Which patch – 0 to 3 – is flipped?"}], row["prompt"]
    assert row["answer"] == "3-0"
    assert (row["kind"], row["variant"], row["preset"]) == ("flip", "vertical", "balanced")
    assert row["stamp_ns"] == 1305031229564442000 + n
    assert int(row["frame_id"]) == 2**64 - 1
    assert int(row["seed"]) == 2**64 - 2
    assert json.loads(row["question"]) == {"form": "find_flip", "rows": 2, "cols": 2}
    assert len(pictures) == n % 6, (n, len(pictures))
    for i, picture in enumerate(pictures):
        assert picture is None or (picture.size, picture.getpixel((3, 3))) == ((16, 12), (n % 200, i, 7))


def opener():
    """Decodes a PNG file, or only looks at its first bytes where Pillow is not installed."""
    try:
        from PIL import Image
    except ImportError:
        def signature(data):
            assert data[:8] == b"\x89PNG\r\n\x1a\n"
        return signature
    return lambda data: Image.open(io.BytesIO(data))


def main():
    folder, rows = Path(sys.argv[1]), int(sys.argv[2])
    parquet, jsonl = folder / "data/train.parquet", folder / "data/train.jsonl"
    decode = opener()
    if parquet.exists():
        table = pyarrow.parquet.read_table(parquet)
        image = table.schema.field("images").type.value_type
        assert [(f.name, str(f.type)) for f in image] == [("bytes", "binary"), ("path", "string")], image
        read = lambda row: [decode(image["bytes"]) for image in row["images"]]
    else:
        table = pyarrow.json.read_json(jsonl)
        assert str(table.schema.field("images").type) == "list<item: string>"
        assert str(table.schema.field("stamp_ns").type) == "int64"
        read = lambda row: [decode((folder / name).read_bytes()) for name in row["images"]]
    assert table.num_rows == rows, table.num_rows
    for n, row in enumerate(table.to_pylist()):
        check_row(n, row, read(row))
    print(f"pyarrow {pyarrow.__version__}: {rows} rows")

    try:
        import datasets
        import PIL
    except ImportError:
        return
    datasets.disable_progress_bars()
    cache = sys.argv[3]
    # As EasyR1 and verl read a file, and as a folder with a card is read.
    kind, file = ("parquet", parquet) if parquet.exists() else ("json", jsonl)
    for loaded in [
        datasets.load_dataset(kind, data_files=str(file), split="train", cache_dir=cache),
        datasets.load_dataset(str(folder), split="train", cache_dir=cache),
    ]:
        assert len(loaded) == rows
        for n, row in enumerate(loaded):
            pictures = row["images"]
            if pictures and isinstance(pictures[0], str):
                pictures = [PIL.Image.open(folder / name) for name in pictures]
            check_row(n, row, pictures)
    print(f"datasets {datasets.__version__}: {rows} rows, twice")


main()
