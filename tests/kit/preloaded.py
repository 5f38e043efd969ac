"""What forked processes find loaded; their garbage collections need not look at it."""

import gc
import importlib
import pkgutil

import deploy.commands
import deploy.door
import deploy.wiring

for _command in pkgutil.iter_modules(deploy.commands.__path__, "deploy.commands."):
    importlib.import_module(_command.name)
# What Faust loads only when an app is made.
for _name in (
    "app.router",
    "assignor",
    "fixups.django",
    "stores",
    "tables",
    "tables.sets",
    "topics",
    "windows",
    "worker",
):
    importlib.import_module("faust." + _name)
gc.collect()
gc.freeze()
