"""Journal files: format, append, read, compress, delete; recordings. Must not know the content of a frame."""
