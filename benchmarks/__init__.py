"""What is measured. Streams are made of the examples' data, so the examples can be imported from here."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
