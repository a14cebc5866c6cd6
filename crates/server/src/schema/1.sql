CREATE TABLE history (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    epoch BLOB NOT NULL,
    lineage BLOB NOT NULL
) STRICT;

CREATE TABLE objects (
    key TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL,
    version TEXT,
    value BLOB -- NULL: deleted
) STRICT;

CREATE TABLE datastores (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    primary_field TEXT NOT NULL,
    epoch BLOB NOT NULL,
    lineage BLOB NOT NULL,
    head INTEGER NOT NULL,
    floor INTEGER NOT NULL,
    expires INTEGER
) STRICT;

CREATE TABLE records (
    datastore INTEGER NOT NULL,
    key TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    version TEXT,
    value BLOB, -- NULL: deleted
    UNIQUE (datastore, key)
) STRICT;
CREATE UNIQUE INDEX records_by_sequence ON records (datastore, sequence);
CREATE INDEX deletions ON records (datastore, sequence) WHERE value IS NULL;

CREATE TABLE replies (
    client TEXT NOT NULL,
    request INTEGER NOT NULL,
    at INTEGER NOT NULL,
    code INTEGER, -- NULL: done
    message TEXT,
    epoch BLOB,
    sequence INTEGER,
    PRIMARY KEY (client, request)
) STRICT, WITHOUT ROWID;
CREATE INDEX replies_by_age ON replies (at);

-- What is left of clients whose replies were forgotten by age.
CREATE TABLE clients (
    id TEXT PRIMARY KEY,
    floor INTEGER NOT NULL,
    seen INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
