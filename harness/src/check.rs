//! The checks: each asks one question of a history. One check a file.
