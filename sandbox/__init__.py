"""A local AWS, a Chapa simulator and what starts them: development only, never deployed."""

import sys
from pathlib import Path

# The product's own package lies beside this one; on Lambda it comes with the layer.
sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
