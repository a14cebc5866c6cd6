-- How far the log of the cluster was applied, and what is known from it. Empty on a server of its own.
CREATE TABLE cluster (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    state BLOB NOT NULL
) STRICT;
