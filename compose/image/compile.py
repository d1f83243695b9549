"""Compile what the image's commands import, the standard library included. Runs while it is built.

Official Python images ship no compiled standard library, and a user who may not write there would
compile it at every start. Modules that nothing here imports stay as they are: half of the size.
Compiled files are never compared with their sources, whose times a registry may change.
"""

import importlib
import pkgutil
import py_compile
import sys

#: Parts whose dependencies are extras, which the image has not.
_EXTRAS = (ImportError,)

sys.dont_write_bytecode = True
for package in ("stack", "storage"):
    path = importlib.import_module(package).__path__
    for module in pkgutil.walk_packages(path, f"{package}.", onerror=lambda name: None):
        if module.name.rpartition(".")[2] != "__main__":
            try:
                importlib.import_module(module.name)
            except _EXTRAS as error:
                print(f"{module.name} stays uncompiled: {error}")

files = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
for file in sorted(each for each in files if each.endswith(".py") and each != __file__):
    py_compile.compile(file, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
print(f"{len(files)} modules compiled")
