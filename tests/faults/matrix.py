"""All rows that run on a virtual clock."""

from tests.faults import rows_base, rows_camera, rows_engine, rows_host

MATRIX = [*rows_camera.ROWS, *rows_engine.ROWS, *rows_host.ROWS, *rows_base.ROWS]
