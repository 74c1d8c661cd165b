"""Our files: format, append, read, compress, delete; recordings. Must not know what is inside a frame."""
