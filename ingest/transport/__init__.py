"""Transport: journal segments to other machines and from them.

Must not know what is inside a frame, nor the database. `segments` is the interface between where segments are and who
reads them, and says how another transport plugs in.
"""
