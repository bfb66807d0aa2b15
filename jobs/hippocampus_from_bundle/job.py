"""Export this folder's job.toml for FLARE: ``python job.py --export DIR``."""

from pathlib import Path

from fedward.flare.export import main

if __name__ == "__main__":
    raise SystemExit(main(Path(__file__).parent))
