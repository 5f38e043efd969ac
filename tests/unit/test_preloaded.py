"""Processes that tests fork start from what was loaded before; a fork server is silent about what it cannot load."""

import importlib


def test_what_forked_processes_begin_with_can_be_loaded() -> None:
    importlib.import_module("tests.kit.preloaded")
