"""Runs every benchmark of this folder and writes `results/*.json` and `figures.svg`.

    python benchmarks/run_all.py [--python PYTHON] [--peers DIR] [--quick]

On an idle machine with two cores: a quarter of an hour. `--quick` takes a third of the slices. What one program
cannot do does not keep the others from running; the exit code is 1 then. The check of CI, `instructions.py`, is not
among them.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from measuring.contenders import HERE

SLICES = {
    "stdio": 7,
    "http_json": 5,
    "http_events": 5,
    "http_session": 5,
    "in_memory": 9,
    "client": 7,
    "progress": 5,
    "start": 7,
    "space": 2,
    "cancellation": 7,
    "fanout": 3,
}
"""Slices of each program: what fits into the quarter of an hour together."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has ours")
    parser.add_argument("--peers", type=Path, default=HERE / "peers", help="where install_peers.sh put the others")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--quick", action="store_true", help="a third of the slices")
    options = parser.parse_args()
    options.results.mkdir(exist_ok=True)
    failed = []
    for name, slices in SLICES.items():
        began = time.monotonic()
        command = [sys.executable, str(HERE / f"{name}.py"), "--python", options.python, "--peers", str(options.peers)]
        command += ["--slices", str(max(slices // 3, 1) if options.quick else slices)]
        command += ["--json", str(options.results / f"{name}.json")]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
        print(f"... {name}: {time.monotonic() - began:.0f} s\n", file=sys.stderr, flush=True)
    plot = [sys.executable, str(HERE / "plot.py"), str(options.results), str(HERE / "figures.svg")]
    if subprocess.run(plot, check=False).returncode:
        failed.append("plot")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
