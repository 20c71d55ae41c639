"""The built-in protocols, found by listing this folder: to add some, add one file.

A `.py` file lists what it defines in `PROTOCOLS`, as `Definition` and `Family`. A `.toml` file defines one
protocol by its folds, in the format that users write (`protocols.protocol_file`).
"""
