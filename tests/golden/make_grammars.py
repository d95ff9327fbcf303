"""Writes tests/golden/grammars: what `supervision` reads in replies of four formats. Needs supervision, and transformers for KosMos-2.

    .venv/bin/python tests/golden/make_grammars.py

with the version that the files are to name: `make setup-learn lint` installs the newest. KosMos-2's text is taken
apart by transformers, which is what supervision expects to be given. `differs` says where this project means to differ: it refuses
what supervision repairs, skips or takes as it is, reads a box that supervision does not see, or cuts one at the picture's edge.
"""

import json
import random
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import supervision as sv
from transformers.models.kosmos2.processing_kosmos2 import clean_text_and_extract_entities_with_bboxes

OUT = Path(__file__).parent / "grammars"
PICTURES = ((640, 480), (480, 640), (224, 224), (1920, 1080), (37, 11))
INPUTS = ((448, 448), (644, 476), (476, 644), (28, 1024))
LABELS = ("cup", "red ball", "traffic-light", "snow man 2")
Case = dict[str, Any]
PLACE = {"bbox_2d": [10, 20, 110, 220], "label": "cup"}
OTHER = {"bbox_2d": [0, 0, 448, 448], "label": 'a "big" dog, [brown]'}
AROUND = {"x_min": -0.05, "y_min": 0.5, "x_max": 0.15, "y_max": 1.02}


def pair(rng: random.Random, most: int) -> tuple[int, int]:
    low = rng.randrange(most)
    return low, rng.randrange(low + 1, most + 1)


def told(cases: dict[str, str], **rest: Any) -> Iterator[Case]:
    """Replies, each with how this project differs from supervision about it."""
    for reply, differs in cases.items():
        yield {"reply": reply, **rest} | ({"differs": differs} if differs else {})


def paligemma() -> Iterator[Case]:
    one = "<loc0256><loc0128><loc0768><loc0512> cup"
    cases = {
        one: "", f"{one} ; <loc0000><loc0001><loc1023><loc1022> red ball": "", f"{one};<loc0010><loc0011><loc0012><loc0013> 컵": "",
        "": "", f"{one}\n": "", "<loc0000><loc0000><loc0001><loc0001> cup <eos>": "",
        "<loc0300><loc0600><loc0500><loc0300> cup": "refused: inverted", "<loc1024><loc0000><loc1025><loc0001> cup": "refused: no such bin",
        "<loc0100><loc0200><loc0300> cup": "refused: partial", f"{one} ; <loc0100><loc0200>": "refused: partial",
        "<loc0256><loc0128><loc0768><loc0512><seg000><seg001> cup": "read: a mask", one.replace(" ", ""): "read: no space",
    }  # fmt: skip
    yield from told(cases, picture=[640, 480])
    rng = random.Random(1)
    for _ in range(40):
        said = []
        for _ in range(rng.randrange(1, 4)):
            (y_min, y_max), (x_min, x_max) = pair(rng, 1023), pair(rng, 1023)
            said.append(f"<loc{y_min:04d}><loc{x_min:04d}><loc{y_max:04d}><loc{x_max:04d}> {rng.choice(LABELS)}")
        yield {"reply": " ; ".join(said), "picture": rng.choice(PICTURES)}


def qwen() -> Iterator[Case]:
    both, start = json.dumps([PLACE, OTHER]), '[{"bbox_2d": [%s, 20, %s, 220], "label": "cup"}'
    cases = {
        json.dumps([PLACE]): "", f"```json\n{both}\n```": "", f"```JSON\n{json.dumps([PLACE, OTHER], indent=2)}\n```": "",
        f"```\n{both}\n```": "", "[]": "", "```json\n[]\n```": "", f"```json\n{both}": "", start % (10.5, 110.25) + "]": "",
        both[:-9]: "refused: partial", start % (10, 110) + ', {"bbox_2d": [3': "refused: partial", start % (10, 110): "refused: partial",
        start % (110, 10) + "]": "refused: inverted", start % (10, 449) + "]": "refused: outside",
        start % (-1, 110) + "]": "refused: outside",
        start % ("NaN", 110) + "]": "refused: nan", start.replace('"', "'") % (10, 110) + "]": "refused: no JSON",
        f"Here: {both}": "refused: no JSON", start % (10, 110) + ', {"label": "dog"}]': "refused: no box",
        json.dumps(PLACE): "read: no list",
        start.replace(', "label": "cup"', "") % (10, 110) + "]": "read: no label",
    }  # fmt: skip
    yield from told(cases, picture=[640, 480], input=[448, 448])
    rng = random.Random(2)
    for _ in range(40):
        wide, high = rng.choice(INPUTS)
        places = []
        for _ in range(rng.randrange(1, 4)):
            (x_min, x_max), (y_min, y_max) = pair(rng, wide), pair(rng, high)
            places.append({"bbox_2d": [x_min, y_min, x_max, y_max], "label": rng.choice(LABELS)})
        reply = "```json\n[\n" + ",\n".join("\t" + json.dumps(place) for place in places) + "\n]\n```"
        yield {"reply": reply, "picture": rng.choice(PICTURES), "input": [wide, high]}


def moondream() -> Iterator[Case]:
    box = {"x_min": 0.1, "y_min": 0.2, "x_max": 0.3, "y_max": 0.4}
    wrong = {"x_max": 0.05}, {"y_min": -3.0}, {"x_max": 7.0}, {"y_max": float("nan")}
    cases = {json.dumps({"objects": []}): "", json.dumps({"request_id": "a", "objects": [box]}): ""}
    cases |= {json.dumps({"objects": [AROUND]}): "cut"} | {json.dumps({"objects": [box | one]}): "refused: no box" for one in wrong}
    cases[json.dumps({"objects": [{"x_min": 0.1, "y_min": 0.2, "x_max": 0.3}]})] = "refused: partial"
    yield from told(cases, picture=[640, 480])
    rng = random.Random(3)
    for _ in range(40):
        boxes = []
        for _ in range(rng.randrange(1, 4)):
            x, y = rng.randrange(1024) / 1024, rng.randrange(1024) / 1024
            wide, high = (2.0 ** (rng.randrange(300, 1024) / 1023 * 10 - 10) for _ in "wh")
            boxes.append({"x_min": x - wide / 2, "y_min": y - high / 2, "x_max": x + wide / 2, "y_max": y + high / 2})
        yield {"reply": json.dumps({"objects": boxes}), "picture": rng.choice(PICTURES), "differs": "cut"}


def kosmos() -> Iterator[Case]:
    man = "<phrase> a snowman</phrase><object><patch_index_0044><patch_index_0863></object>"
    fire = "<phrase> a fire</phrase><object><patch_index_%s><patch_index_%s></object>"
    more = "<patch_index_0000><patch_index_0033></delimiter_of_multi_objects/><patch_index_0500><patch_index_0500>"
    cases = {
        f"<grounding> An image of{man} warming himself by{fire % ('0005', '0911')}.": "",
        f"<phrase> cups</phrase><object>{more}</object>": "",
        fire % ("0064", "0095"): "", fire % ("0003", "0995"): "", "": "", fire % ("0911", "0005"): "refused: inverted",
        fire % ("0005", "1024"): "refused: no such cell",
        fire.replace("><patch_index_%s></object>", "></object>") % "0005": "refused: partial",
        f"{man}<phrase> a cup</phrase><object><patch_index_0005>": "refused: partial", f"{man}<phrase> a cup</phrase>": "refused: partial",
    }  # fmt: skip
    yield from told(cases, picture=[640, 480])
    rng = random.Random(4)
    for _ in range(40):
        said = []
        for _ in range(rng.randrange(1, 4)):
            near = rng.randrange(1024)
            far = rng.randrange(near // 32, 32) * 32 + rng.randrange(near % 32, 32)
            said.append(f"<phrase> the {rng.choice(LABELS)}</phrase><object><patch_index_{near:04d}><patch_index_{far:04d}></object>")
        yield {"reply": " and".join(said), "picture": rng.choice(PICTURES)}


def read(name: str, case: Case) -> sv.Detections:
    size = {"resolution_wh": tuple(case["picture"])}
    if name == "qwen2_5_vl":
        return sv.Detections.from_vlm(sv.VLM.QWEN_2_5_VL, case["reply"], input_wh=tuple(case["input"]), **size)
    if name == "moondream":
        return sv.Detections.from_vlm(sv.VLM.MOONDREAM, json.loads(case["reply"]), **size)
    if name == "kosmos":
        return sv.Detections.from_vlm(sv.VLM.KOSMOS_2, clean_text_and_extract_entities_with_bboxes(case["reply"]), **size)
    return sv.Detections.from_vlm(sv.VLM.PALIGEMMA, case["reply"], **size)


def main() -> None:
    formats: dict[str, Callable[[], Iterator[Case]]] = {
        "paligemma": paligemma,
        "qwen2_5_vl": qwen,
        "moondream": moondream,
        "kosmos": kosmos,
    }
    for name, cases in formats.items():
        made = []
        for case in cases():
            case["picture"] = list(case["picture"])
            try:
                found = read(name, case)
            except ValueError as err:
                made.append(case | {"error": str(err)})
                continue
            labels = [str(label) for label in found.data.get("class_name", [])]
            made.append(case | {"xyxy": found.xyxy.tolist(), "labels": labels})
        by = f"supervision {version('supervision')}" + (f", transformers {version('transformers')}" if name == "kosmos" else "")
        lines = ",\n".join("  " + json.dumps(case, ensure_ascii=False) for case in made)
        (OUT / f"{name}.json").write_text(f'{{"made_by": "{by}", "cases": [\n{lines}\n]}}\n', "utf-8")


if __name__ == "__main__":
    main()
