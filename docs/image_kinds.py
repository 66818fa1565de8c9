"""Writes the kinds of images that the web page and its Lambda know, as the decoders have them.

python docs/image_kinds.py
"""

import json
import sys
from pathlib import Path

if __name__ == "__main__":
    ROOT = Path(__file__).resolve().parents[1]
    sys.path.insert(0, str(ROOT / "source_dir"))
    from thorax.data.decoders import page_kinds

    lines = ",\n".join(" " + json.dumps(kind) for kind in page_kinds())
    (ROOT / "source_dir/thorax/serving/page/kinds.json").write_text(f"[\n{lines}\n]\n")
