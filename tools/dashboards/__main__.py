"""Writes deploy/grafana/*.json, or says with --check whether the files are current."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from tools.dashboards import capacity, engines, overview

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana"
PAGES = {"overview": overview.PAGE, "capacity": capacity.PAGE, "engines": engines.PAGE}


def main() -> int:
    files = {
        FOLDER / f"{name}.json": json.dumps(page.build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"
        for name, page in PAGES.items()
    }
    if "--check" not in sys.argv:
        for path, text in files.items():
            path.write_text(text)
        return 0
    changed = [path.name for path, text in files.items() if not path.exists() or path.read_text() != text]
    unknown = [path.name for path in FOLDER.glob("*.json") if path not in files]
    if changed or unknown:
        print(f"error: run make dashboards; not current: {', '.join(changed + unknown)}", file=sys.stderr)
    return bool(changed or unknown)


if __name__ == "__main__":
    sys.exit(main())
