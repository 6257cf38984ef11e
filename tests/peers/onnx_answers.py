"""Answers tasks with an exported policy in onnxruntime: nothing of spatial-ssrl is used.

Usage: onnx_answers.py FOLDER

FOLDER holds policy.onnx and what the test dumped: tasks.jsonl, features.f16 (what a policy
keeps of each task), pictures.u8 and maps.f32 (what the encoder was given, and what it gave in
tract). Writes answers.jsonl: for each task the log-probability of every candidate, and for
those with pictures once more from the pixels on. Prints one JSON object on stdout: `maps` is
the largest difference of a feature map as a part of its largest value, `features` by how much
kept features differ beyond one step of half precision, `features_apart` how many differ.

This is the whole of what a program needs to answer with the file.
"""

import itertools
import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

DIRECTIONS = ["front", "right_front", "right", "right_back", "back", "left_back", "left", "left_front"]
HEADINGS = {"away_from_viewer": 0.0, "right": 90.0, "toward_viewer": 180.0, "left": 270.0}


class Policy:
    """The file, with its metadata."""

    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        entries = self.session.get_modelmeta().custom_metadata_map
        self.about = {key.removeprefix("spatial_ssrl."): value for key, value in entries.items()}
        assert self.about["format"] == "1", self.about
        self.encoder = json.loads(self.about["encoder"])
        self.head = json.loads(self.about["head"])
        self.reach = json.loads(self.about["context_reach"])
        # One row of zeros for what is not asked.
        self.nothing = {}
        for port in self.session.get_inputs():
            assert port.type == "tensor(float)", port
            shape = [{"height": 32, "width": 32}.get(d, 1) if isinstance(d, str) else d for d in port.shape]
            self.nothing[port.name] = np.zeros(shape, np.float32)
        sharp, spread = self.run(["order_sharpness", "farness_spread"])
        self.order_sharpness, self.farness_spread = float(sharp[0]), float(spread[0])

    def run(self, outputs, **inputs):
        given = {name: np.ascontiguousarray(value, np.float32) for name, value in inputs.items()}
        return self.session.run(outputs, {**self.nothing, **given})

    def pairs(self, output, pairs):
        """Scores of (first, second) borders [places, channels]; None is one of a white patch."""
        if not pairs:
            return np.zeros(0)
        empty = self.nothing["border_first"][0]
        inputs = {}
        for at, which in enumerate(["first", "second"]):
            sides = [pair[at] for pair in pairs]
            inputs[f"border_{which}"] = np.stack([empty if s is None else s for s in sides])
            inputs[f"{which}_seen"] = [s is not None for s in sides]
        return self.run([output], **inputs)[0].astype(np.float64)

    def maps(self, picture):
        """[height, width, 3] bytes to feature maps by name."""
        names = list(dict.fromkeys(self.encoder["border_outputs"] + self.encoder["point_outputs"]
                                   + [self.encoder["context_output"]]))
        given = picture.transpose(2, 0, 1)[None]
        return {name: value[0] for name, value in zip(names, self.run(names, picture=given))}


def log_softmax(scores):
    scores = np.asarray(scores, np.float64)
    shifted = scores - scores.max()
    return shifted - np.log(np.exp(shifted).sum())


def turned(borders, direction):
    """The borders (left, right, top, bottom) of a patch once its flip is undone."""
    left, right, top, bottom = borders
    if direction == 0:  # upside down
        return [left[::-1], right[::-1], bottom, top]
    return [right, left, top[::-1], bottom[::-1]]


def neighbours(rows, cols):
    """Places that touch: (output, place, border of it, other place, border of that)."""
    for row, col in itertools.product(range(rows), range(cols)):
        place = row * cols + col
        if col + 1 < cols:
            yield "beside", place, 1, place + 1, 0
        if row + 1 < rows:
            yield "above", place, 3, place + cols, 2


def arrange(policy, question, patches):
    rows, cols = question["rows"], question["cols"]
    n = rows * cols
    fit = {}
    for output, _, near, _, far in neighbours(rows, cols):
        if output not in fit:
            side = lambda i, s: None if patches[i] is None else patches[i][0][s]
            pairs = [(side(i, near), side(j, far)) for i in range(n) for j in range(n)]
            fit[output] = policy.pairs(output, pairs).reshape(n, n)
    channels = policy.head["context_channels"]
    context = [np.zeros(channels) if patch is None else patch[1] for patch in patches]
    says = policy.run(["patch_says"], patch_context=context)[0].astype(np.float64)
    seen = np.array([patch is not None for patch in patches])
    scores = []
    for order in itertools.permutations(range(n)):
        score = sum(fit[output][order[a], order[b]] for output, a, _, b, _ in neighbours(rows, cols))
        for place, patch in enumerate(order):
            row, col = divmod(place, cols)
            score += seen[patch] * says[patch, 0] * ((2 * col + 1) / cols - 1)
            score += seen[patch] * says[patch, 1] * ((2 * row + 1) / rows - 1)
        scores.append(score)
    return scores


def find_flip(policy, question, patches):
    rows, cols = question["rows"], question["cols"]
    scores = []
    says = policy.run(["patch_says"], patch_context=[patch[1] for patch in patches])[0]
    for patch, direction in itertools.product(range(rows * cols), range(2)):
        # How much better the patch fits its neighbours turned back than as it is.
        score = float(says[patch, 2 + direction])
        undone = turned(patches[patch][0], direction)
        for output, a, near, b, far in neighbours(rows, cols):
            if patch not in (a, b):
                continue
            as_is = (patches[a][0][near], patches[b][0][far])
            back = (undone[near], as_is[1]) if patch == a else (as_is[0], undone[far])
            better, worse = policy.pairs(output, [back, as_is])
            score += better - worse
        scores.append(score)
    return scores


def fill_hole(policy, ring, is_open, options):
    says = policy.run(["patch_says"], patch_context=[option[1] for option in options])[0]
    scores = []
    for (inside, _), own in zip(options, says):
        beside = policy.pairs("beside", [(ring[0], inside[0]), (inside[1], ring[1])])
        above = policy.pairs("above", [(ring[2], inside[2]), (inside[3], ring[3])])
        scores.append(float(own[4]) + np.dot(np.concatenate([beside, above]), is_open))
    return scores


def order_points(policy, points):
    worth = -policy.run(["farness"], point_features=points)[0].astype(np.float64) * policy.order_sharpness
    # Plackett-Luce.
    return [sum(log_softmax(worth[list(order[i:])])[0] for i in range(len(order)))
            for order in itertools.permutations(range(len(worth)))]


def relative_position(policy, question, size, points):
    observer, target = policy.run(["farness"], point_features=points)[0].astype(np.float64)
    centres = np.linspace(-2.0, 2.0, 81)
    weights = np.exp(log_softmax(-0.5 * ((target - observer - centres) / policy.farness_spread) ** 2))
    mass = np.zeros(4)
    for log_ratio, weight in zip(centres, weights):
        direction = bearing(question, size, log_ratio)
        if direction in question["options"]:
            mass[question["options"].index(direction)] += weight
    return np.log(mass + 1e-3)


def bearing(question, size, log_ratio):
    """The direction in which the target lies if it is exp(log_ratio) times as far."""
    x = [question["observer"]["x"], question["target"]["x"]]
    camera = question["intrinsics"]
    if question["rule"] == "metric" and camera:
        ray = [(value - camera["cx"]) / camera["fx"] for value in x]
        ratio = np.exp(log_ratio)
        right, forward = ray[1] * ratio - ray[0], ratio - 1
    else:
        beyond = lambda value, limit: 0.0 if abs(value) < limit else np.sign(value)
        right, forward = beyond(x[1] - x[0], min(size) / 8), beyond(log_ratio, 0.12)
    if right == 0 and forward == 0:
        return None
    eighth = (np.degrees(np.arctan2(right, forward)) - HEADINGS[question["facing"]]) / 45
    return DIRECTIONS[int(np.round(eighth)) % 8]


def answer(policy, task, seen):
    question, form = task["question"], task["question"]["form"]
    if form == "arrange":
        scores = arrange(policy, question, seen["patches"])
    elif form == "find_flip":
        scores = find_flip(policy, question, seen["patches"])
    elif form == "fill_hole":
        scores = fill_hole(policy, seen["ring"], seen["open"], seen["patches"])
    elif form == "order_points":
        scores = order_points(policy, seen["points"])
    else:
        scores = relative_position(policy, question, task["picture_size"], seen["points"])
    return log_softmax(scores)


def sample(value, row, col):
    """Bilinear, by fractional cell, clamped to the map."""
    _, rows, cols = value.shape
    row, col = np.clip(np.float32(row), 0, rows - 1), np.clip(np.float32(col), 0, cols - 1)
    r, c = int(row), int(col)
    fr, fc = np.float32(row - r), np.float32(col - c)
    r1, c1 = min(r + 1, rows - 1), min(c + 1, cols - 1)
    upper = value[:, r, c] * (1 - fc) + value[:, r, c1] * fc
    lower = value[:, r1, c] * (1 - fc) + value[:, r1, c1] * fc
    return upper * (1 - fr) + lower * fr


def half(values):
    """What a policy keeps has half precision."""
    return np.asarray(values, np.float32).astype(np.float16)


def borders(policy, maps, place):
    """[4, places, channels] at place(rows, cols, side, t) for t along each side."""
    places = policy.encoder["border_places"]
    used = [maps[name] for name in policy.encoder["border_outputs"]]
    at = lambda side, t: np.concatenate([sample(m, *place(*m.shape[1:], side, t)) for m in used])
    return half([[at(side, (i + 0.5) / places) for i in range(places)] for side in range(4)])


def patch_features(policy, picture):
    def inside(rows, cols, side, t):
        return [(t * rows - 0.5, 0), (t * rows - 0.5, cols - 1),
                (0, t * cols - 0.5), (rows - 1, t * cols - 0.5)][side]

    maps = policy.maps(picture)
    return borders(policy, maps, inside), half(maps[policy.encoder["context_output"]].mean((1, 2)))


def ring_features(policy, picture, hole, size):
    """Just outside a hole, and whether the picture goes on there."""
    left, right = hole["x"] / size[0], (hole["x"] + hole["width"]) / size[0]
    top, bottom = hole["y"] / size[1], (hole["y"] + hole["height"]) / size[1]
    before = lambda edge, cells: np.floor(np.float32(edge) * cells) - 1
    after = lambda edge, cells: np.ceil(np.float32(edge) * cells)

    def outside(rows, cols, side, t):
        row = (top + t * (bottom - top)) * rows - 0.5
        col = (left + t * (right - left)) * cols - 0.5
        return [(row, before(left, cols)), (row, after(right, cols)),
                (before(top, rows), col), (after(bottom, rows), col)][side]

    maps = policy.maps(picture)
    goes_on = np.ones(4, bool)
    for name in policy.encoder["border_outputs"]:
        _, rows, cols = maps[name].shape
        goes_on &= [before(left, cols) >= 0, after(right, cols) <= cols - 1,
                    before(top, rows) >= 0, after(bottom, rows) <= rows - 1]
    return borders(policy, maps, outside), goes_on


def point_features(policy, picture, points, size):
    maps = policy.maps(picture)
    context = maps[policy.encoder["context_output"]]
    _, rows, cols = context.shape
    features = []
    for point in points:
        x, y = (point["x"] + 0.5) / size[0], (point["y"] + 0.5) / size[1]
        values = [sample(maps[name], y * maps[name].shape[1] - 0.5, x * maps[name].shape[2] - 0.5)
                  for name in policy.encoder["point_outputs"]]
        row, col = int(np.float32(y) * rows), int(np.float32(x) * cols)
        for reach in policy.reach:
            near = context[:, max(row - reach, 0):row + reach + 1, max(col - reach, 0):col + reach + 1]
            values.append(near.mean((1, 2)))
        features.append(half(np.concatenate(values + [np.array([2 * x - 1, 2 * y - 1])])))
    return features


def look(policy, task, pictures):
    """What a policy keeps of a task, from its pictures on."""
    question = task["question"]
    if question["form"] in ("arrange", "find_flip"):
        return {"patches": [p if p is None else patch_features(policy, p) for p in pictures]}
    if question["form"] == "fill_hole":
        ring, is_open = ring_features(policy, pictures[0], question["hole"], task["picture_size"])
        options = [patch_features(policy, picture) for picture in pictures[1:]]
        return {"ring": ring, "open": is_open, "patches": options}
    points = question.get("points") or [question["observer"], question["target"]]
    return {"points": point_features(policy, pictures[0], points, task["picture_size"])}


def arrays(seen):
    """All features of a task in a fixed order."""
    for patch in seen.get("patches", []):
        yield from patch or ()
    if "ring" in seen:
        yield seen["ring"]
        yield np.asarray(seen["open"], np.float32)
    yield from seen.get("points", [])


def main():
    folder = Path(sys.argv[1])
    policy = Policy(folder / "policy.onnx")
    features = np.fromfile(folder / "features.f16", np.float16)
    pixels = np.fromfile(folder / "pictures.u8", np.uint8)
    values = np.fromfile(folder / "maps.f32", np.float32)
    places, channels = policy.head["border_places"], policy.head["border_channels"]

    def picture(where):
        if where is None:
            return None
        width, height, at = where
        return pixels[at:at + width * height * 3].reshape(height, width, 3)

    def patch(where):
        if where is None:
            return None
        size = 4 * places * channels
        context = features[where + size:where + size + policy.head["context_channels"]]
        return features[where:where + size].reshape(4, places, channels), context

    report = {"tasks": 0, "seconds": 0.0, "maps": 0.0, "features": 0.0, "features_apart": 0.0}
    compared = differing = 0
    with open(folder / "tasks.jsonl") as tasks, open(folder / "answers.jsonl", "w") as answers:
        for line in tasks:
            task = json.loads(line)
            if "maps" in task:
                # A picture and what tract made of it.
                for name, at in task["maps"].items():
                    got = policy.maps(picture(task["picture"]))[name]
                    expected = values[at:at + got.size].reshape(got.shape)
                    apart = float(np.abs(got - expected).max() / np.abs(expected).max())
                    report["maps"] = max(report["maps"], apart)
                continue
            seen = {"patches": [patch(where) for where in task["patches"]]}
            if task["ring"] is not None:
                seen["ring"], seen["open"] = patch(task["ring"])[0], task["open"]
            size = policy.head["point_channels"]
            seen["points"] = [features[at:at + size] for at in task["points"]]
            begun = time.perf_counter()
            row = {"given": answer(policy, task, seen).tolist()}
            report["seconds"] += time.perf_counter() - begun
            if task["pictures"]:
                again = look(policy, task, [picture(where) for where in task["pictures"]])
                for a, b in zip(arrays(seen), arrays(again), strict=True):
                    a, b = a.astype(np.float32), b.astype(np.float32)
                    step = np.spacing(np.maximum(np.abs(a), np.abs(b)).astype(np.float16))
                    beyond = float((np.abs(a - b) - step).max())
                    report["features"] = max(report["features"], beyond)
                    compared, differing = compared + a.size, differing + int((a != b).sum())
                row["from_pixels"] = answer(policy, task, again).tolist()
            answers.write(json.dumps(row) + "\n")
            report["tasks"] += 1
    report["features_apart"] = differing / max(compared, 1)
    report["onnxruntime"] = onnxruntime.__version__
    try:
        import onnx
        onnx.checker.check_model(onnx.load(folder / "policy.onnx"), full_check=True)
        report["checker"] = onnx.__version__
    except ImportError:
        pass
    print(json.dumps(report))


main()
