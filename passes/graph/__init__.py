"""One file a rewrite of the teacher's graph; each keeps its function."""
