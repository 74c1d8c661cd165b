from collections.abc import Sequence

from ingest.decode.columns import Columns

def read(payloads: Sequence[bytes], levels: int = 0) -> Columns: ...
