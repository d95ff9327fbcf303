"""Writes tests/golden/frames: a few training-range views with what is truly in them. Needs the simulator, no torch.

.venv/bin/python tests/golden/make_frames.py
"""

import json
from itertools import islice
from pathlib import Path

import cv2

from edge_vla.learn.data.views import room_views
from edge_vla.sim.objects import CLASSES

FRAMES = ((950_011, 7), (950_012, 1))  # (room, view): never rendered for training, and no held-out seed
FOLDER = Path(__file__).parent / "frames"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for seed, index in FRAMES:
        view = next(islice(room_views(seed, index + 1), index, None))
        boxes = [
            {"label": CLASSES[int(row[0])], "y0_x0_y1_x1": [round(float(v), 5) for v in row[1:5]], "pixels": int(row[5])}
            for row in view.boxes
        ]
        cv2.imwrite(str(FOLDER / f"{seed}_{index}.jpg"), view.rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        truth = {"seed": seed, "view": index, "boxes": boxes, "free_m": [round(float(d), 3) for d in view.free_m]}
        (FOLDER / f"{seed}_{index}.json").write_text(json.dumps(truth, indent=1) + "\n")


if __name__ == "__main__":
    main()
