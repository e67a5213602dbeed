"""Writes tests/vectors/session.json::

    python -m tests.independent.make_vectors

A file that is there keeps its random inputs; without one they are drawn.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.independent import handshake_vectors, message_vectors, packet_vectors, sequence_vectors
from tests.independent.vector_inputs import Inputs

__all__ = ["PLACE", "build"]

PLACE = Path(__file__).resolve().parents[1] / "vectors" / "session.json"

ABOUT = (
    "Vectors of docs/session-protocol, made by tests/independent, which was written from that"
    " page alone. Bytes are hexadecimal. What stands in a group refused_..., failed_... or"
    " unopened must fail."
)


def build(inputs: Inputs) -> dict[str, Any]:
    """All groups."""
    return {
        "about": ABOUT,
        "inputs": inputs._asdict(),
        "codes": message_vectors.codes(inputs),
        "refused_codes": message_vectors.refused_codes(inputs),
        "runs": handshake_vectors.runs(inputs),
        "failed_runs": handshake_vectors.failed_runs(inputs),
        "wrong_code_runs": handshake_vectors.wrong_code_runs(inputs),
        "key_generations": handshake_vectors.key_generations(inputs),
        "group_keys": handshake_vectors.group_keys(inputs),
        "headers": packet_vectors.headers(),
        "refused_headers": packet_vectors.refused_headers(),
        "sealed": packet_vectors.sealed(inputs),
        "unopened": packet_vectors.unopened(inputs),
        "sequences": sequence_vectors.sequences(inputs),
        "records": packet_vectors.records(),
        "refused_records": packet_vectors.refused_records(),
        "messages": message_vectors.messages(),
        "refused_messages": message_vectors.refused_messages(),
    }


def main() -> None:
    """Write the file."""
    if PLACE.exists():
        inputs = Inputs(**json.loads(PLACE.read_text(encoding="utf-8"))["inputs"])
    else:
        inputs = Inputs.draw()
    text = json.dumps(build(inputs), indent=1, ensure_ascii=False)
    PLACE.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
