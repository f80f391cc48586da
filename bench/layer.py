"""Size of the layer beside the baseline's packages, as `sam build` makes both.

The layer holds byte code and the compiled modules of two processors, the baseline neither.
`python -m bench.layer` prints the table.
"""

import io
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from bench.cold import FOLDER, build
from bench.tables import Goal, markdown, verdict

MB = 1_000_000


def sizes(folder: Path) -> tuple[int, int]:
    """Bytes of all files, and of a zip file that holds them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    packed = io.BytesIO()
    with ZipFile(packed, "w", ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, path.relative_to(folder))
    return sum(path.stat().st_size for path in files), packed.tell()


def main() -> None:
    build(FOLDER)
    layer, baseline = sizes(FOLDER / "layer"), sizes(FOLDER / "baseline")
    rows, goals = [], []
    for name, ours, theirs in zip(("unzipped", "zipped"), layer, baseline, strict=True):
        rows.append([name, f"{theirs / MB:.1f}", f"{ours / MB:.1f}", f"{ours / theirs:.2f}"])
        goals.append(Goal(f"layer, {name}", ours / theirs, 0.6))
    print(markdown(["Size, MB", "baseline", "layer", "layer ÷ baseline"], rows))
    print(f"\n{verdict(goals)}")


if __name__ == "__main__":
    main()
