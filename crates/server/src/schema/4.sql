CREATE TABLE kv (
    name TEXT NOT NULL, -- of the group
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    expires INTEGER, -- NULL: never
    UNIQUE (name, key)
) STRICT;
-- What has expired is subtracted from counts group by group, and purged over all of them.
CREATE INDEX kv_expiring ON kv (name, expires) WHERE expires IS NOT NULL;
CREATE INDEX kv_by_expiry ON kv (expires) WHERE expires IS NOT NULL;

-- How many entries each group has, so that no count reads them.
CREATE TABLE kv_groups (
    name TEXT PRIMARY KEY,
    entries INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER kv_inserted AFTER INSERT ON kv BEGIN
    INSERT INTO kv_groups (name, entries) VALUES (new.name, 1)
    ON CONFLICT (name) DO UPDATE SET entries = entries + 1;
END;
CREATE TRIGGER kv_deleted AFTER DELETE ON kv BEGIN
    UPDATE kv_groups SET entries = entries - 1 WHERE name = old.name;
    DELETE FROM kv_groups WHERE name = old.name AND entries = 0;
END;
