"""What keeps a robot from running on this machine, and the command that mends it.

A new check is one function in one of these files, under `@check("its name")`; a new file is named once in `checks.py`.
"""
