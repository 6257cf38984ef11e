"""What this project promises of a GPU, measured on one and held against the promise.

    python3 tests/peers/gpu.py                      on a machine with a GPU, from the project's root
    python3 tests/peers/gpu.py --pack gpu.tar.xz    for a machine that cannot build: then there
        tar xf gpu.tar.xz && python3 gpu/gpu.py

Three programs run one after the other, at most eight minutes together: `gpu_step` (a training step
of the compact policy against the processor's), `qwen_speed` (the 3B shape of Qwen2.5-VL with random
bf16 weights) and `qwen_speed.py` (the same of transformers and peft, which need torch, torchvision,
transformers, peft and pillow). Exit code 0: every promise is held; 1: one is not, or could not be measured.

Needed are an NVIDIA driver, libdevice under $CUDA_PATH (the CUDA toolkit has it) and nvidia-smi.
Without a GPU, `--device cpu --shape tiny --type f32` shows that the measurement itself works; what
only a GPU can show is then told as not measured.
"""

import argparse
import lzma
import pathlib
import re
import subprocess
import sys
import tarfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PROGRAMS = ["gpu_step", "qwen_speed"]
SCRIPTS = ["gpu.py", "qwen_speed.py"]
LIMIT_S = 480
PACKED_MIB = 64
# Both programs hold the same LLVM: with both in sight it is packed once.
PACKING = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 256 << 20}]
# GB/s, by a part of the name that nvidia-smi gives.
BANDWIDTH = {
    "H200": 4800,
    "H100 NVL": 3900,
    "H100 PCIe": 2000,
    "H100": 3350,
    "A100-SXM4-80GB": 2039,
    "A100": 1555,
    "L40S": 864,
    "RTX 4090": 1008,
}


def build():
    """The programs, built; with their folder."""
    features = ["--features", "cuda,vlm"]
    examples = [part for program in PROGRAMS for part in ("--example", program)]
    subprocess.run(["cargo", "build", "--release", "--locked", *features, *examples], check=True)
    return HERE.parents[1] / "target" / "release" / "examples"


def pack(into):
    programs = build()
    with lzma.open(into, "w", filters=PACKING) as file, tarfile.open(fileobj=file, mode="w|") as tar:
        for program in PROGRAMS:
            stripped = programs / f"{program}.stripped"
            subprocess.run(["strip", "-o", stripped, programs / program], check=True)
            tar.add(stripped, f"gpu/{program}")
            stripped.unlink()
        for script in SCRIPTS:
            tar.add(HERE / script, f"gpu/{script}")
    size = pathlib.Path(into).stat().st_size / 2**20
    print(f"{into}: {size:.1f} MiB (at most {PACKED_MIB})")
    return 0 if size <= PACKED_MIB else 1


def bandwidth():
    """Of the first GPU, GB/s; none if it is not known."""
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader", "-i", "0"]
    try:
        name = subprocess.run(query, capture_output=True, text=True).stdout.strip()
    except OSError:
        return None
    print(f"GPU: {name}", flush=True)
    return next((rate for part, rate in BANDWIDTH.items() if part in name), None)


class Runs:
    """Programs one after the other, within a time for all."""

    def __init__(self):
        self.until = time.monotonic() + LIMIT_S

    def run(self, *command):
        """What it said and whether it ended well; it is shown as well."""
        print("\n$", *command, flush=True)
        try:
            left = max(self.until - time.monotonic(), 1)
            done = subprocess.run(
                [str(part) for part in command],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=left,
            )
            said, well = done.stdout, done.returncode == 0
        except subprocess.TimeoutExpired as late:
            said, well = (late.stdout or b"").decode(errors="replace"), False
            said += f"\nstopped: {LIMIT_S} s are over"
        except OSError as error:
            said, well = str(error), False
        print(said, flush=True)
        return said, well


def figures(said):
    """The figures that both speed programs tell in the same words."""

    def last(pattern):
        found = re.findall(pattern, said)
        return float(found[-1]) if found else None

    return {
        "decode": last(r"decoding (\d+) tokens/s"),
        "of_bound": last(r"bound by bandwidth \d+ tokens/s: (\d+) %"),
        "step": last(r"step 2: ([\d.]+) s"),
        "peak": last(r"peak memory of the (?:GPU|process) ([\d.]+) GB"),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pack", metavar="FILE", help="pack everything for another machine")
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--shape", default="3b", help="3b, 7b or tiny")
    parser.add_argument("--type", default="bf16", help="bf16 or f32")
    parser.add_argument("--bandwidth", type=float, help="of the GPU's memory, GB/s")
    given = parser.parse_args()
    if given.pack:
        return pack(given.pack)

    packed = all((HERE / program).exists() for program in PROGRAMS)
    programs = HERE if packed else build()
    gpu = given.device != "cpu"
    rate = given.bandwidth or (bandwidth() if gpu else None)
    if gpu and rate is None:
        print("the bandwidth of this GPU is not known: give it with --bandwidth GB/s")
    shape = [given.device, given.shape, given.type, *([f"{rate:.0f}"] if rate else [])]

    runs = Runs()
    said, well = runs.run(programs / "gpu_step")
    step_is_right = None if "skipped" in said else well
    ours = figures(runs.run(programs / "qwen_speed", *shape)[0])
    theirs = figures(runs.run(sys.executable, HERE / "qwen_speed.py", *shape)[0])

    def ratio(a, b):
        return a / b if a and b else None

    promises = [
        ("compact policy's step as on the processor", step_is_right, lambda v: v, ""),
        (
            "decoding, times transformers'",
            ratio(ours["decode"], theirs["decode"]),
            lambda v: v >= 2,
            "2 or more",
        ),
        (
            "decoding, % of the bound by bandwidth",
            ours["of_bound"],
            lambda v: v >= 40,
            "40 or more",
        ),
        (
            "training step, times peft's",
            ratio(ours["step"], theirs["step"]),
            lambda v: v <= 1,
            "1 or less",
        ),
        ("peak memory, GB", ours["peak"] if gpu else None, lambda v: v < 16, "under 16"),
    ]
    print(f"\n{'promise':<44} {'asked':<11} {'measured':>9}")
    all_held = True
    for what, value, held, asked in promises:
        if value is None:
            shown, verdict = "-", "NOT MEASURED"
        else:
            shown = f"{value:.2f}" if isinstance(value, float) else ("yes" if value else "no")
            verdict = "held" if held(value) else "NOT HELD"
        all_held &= verdict == "held"
        print(f"{what:<44} {asked:<11} {shown:>9}  {verdict}")
    return 0 if all_held else 1


if __name__ == "__main__":
    sys.exit(main())
