"""Commands to operate the recorder: status, verification, database."""
