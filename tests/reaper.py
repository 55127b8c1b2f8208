"""Parts that tests start end with the run, however it ends."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Its standard input ends when the run closes it, or dies: also of `kill -9`, where no fixture is torn down.
WAIT = """
import sys
from pathlib import Path
sys.stdin.read()
home = Path(sys.argv[1])
"""
WIPE = """
from quarterhour.parts import Parts
Parts(home).down(wipe=True)
"""


@contextmanager
def ending_with_this_run(home: Path, wipe: str = WIPE) -> Iterator[None]:
    """Stop the parts of a home and remove what they hold at the end of the block or of this process."""
    reaper = subprocess.Popen(
        [sys.executable, "-c", WAIT + wipe, home], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        yield
    finally:
        reaper.communicate()
    assert reaper.returncode == 0, f"the parts in {home} could not be stopped"
