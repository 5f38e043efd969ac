"""Prints the Python that `make` makes the environment with: the PATH's, which runs this, or a faster one of the system.

Tools that compile Pythons do so without optimisation unless told, and then an event costs an eighth more. Imports
nothing that would have to be installed.
"""

import platform
import subprocess
import sys
import sysconfig

#: What distributions compile, they optimise.
SYSTEM = "/usr/bin/python3"


def main() -> None:
    """The system's, where the PATH's is slow and both are of one version, as far as packages can tell."""
    slow = "--enable-optimizations" not in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    # Elsewhere Faust is compiled, for which the system's Python may lack its headers.
    print(SYSTEM if slow and platform.machine() == "x86_64" and _fits(SYSTEM) else "python3")


def _fits(python: str) -> bool:
    asked = f"import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != {tuple(sys.version_info[:2])})"
    try:
        return subprocess.run([python, "-c", asked], stderr=subprocess.DEVNULL, check=False).returncode == 0
    except OSError:
        return False


if __name__ == "__main__":
    main()
