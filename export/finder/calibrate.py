"""Score a fresh bundle on validation rooms and write its calibration and figures into the manifest."""

import math
from pathlib import Path

from edge_vla.backends.bundle import Bundle, Calibration
from edge_vla.learn.finder.score import calibrate, report, score
from edge_vla.parts import make_engine
from export.bundle.manifest import write_manifest

FIGURES = ("iou", "iou_over_half", "recall", "false_boxes", "free_log_error")


def calibrate_bundle(folder: Path, views: Path, limit: int) -> dict[str, object]:
    """Fit confidence on rooms the weights have not seen; returns the figures. Raises SystemExit without views."""
    if not any(views.glob("*.npz")):
        raise SystemExit(f"{views} holds no labelled views to calibrate on: render some (make train-default), or pass --limit 0")
    manifest = Bundle(folder).manifest.model_copy(update={"calibration": Calibration()})
    write_manifest(folder, manifest)
    found = score(make_engine(str(folder), threads=1, domain=manifest.domain), views, limit)
    figures = report(found)
    scale, shift = calibrate(found.confidence, found.right)
    if not (scale > 0 and math.isfinite(scale) and math.isfinite(shift)):  # more confident when wrong: nothing a calibration could mend
        scale, shift = 1.0, 0.0
    made = (
        manifest.made
        | {f"validation_{name}": float(str(figures[name])) for name in FIGURES}
        | {"validation_questions": len(found.latency_s)}
    )
    write_manifest(folder, manifest.model_copy(update={"calibration": Calibration(scale=scale, shift=shift), "made": made}))
    Bundle(folder)
    return figures
