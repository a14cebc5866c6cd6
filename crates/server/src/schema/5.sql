-- The replies of each commit are one row of a log. Now and then the log is folded into one row per client.
CREATE TABLE requests (
    client TEXT PRIMARY KEY,
    floor INTEGER NOT NULL, -- lower numbers are forgotten
    seen INTEGER NOT NULL, -- when the client last asked
    oldest INTEGER, -- when the oldest reply was given; NULL: there is none
    replies BLOB NOT NULL
) STRICT;
CREATE INDEX requests_by_age ON requests (oldest) WHERE oldest IS NOT NULL;
CREATE INDEX requests_by_silence ON requests (seen);

CREATE TABLE request_log (
    number INTEGER PRIMARY KEY,
    replies BLOB NOT NULL
) STRICT;

-- MessagePack as `sqlite/replies.rs` reads it, all in the forms of full length.
INSERT INTO requests (client, floor, seen, oldest, replies)
SELECT
    client,
    max(
        coalesce((SELECT floor FROM clients WHERE id = client), 0),
        max(request) - 999,
        0
    ),
    max(at),
    min(at),
    unhex(group_concat(
        printf('cf%016xcf%016x', request, at)
            || CASE WHEN code IS NULL THEN 'c0c0'
                ELSE printf('cd%04xdb%08x', code, octet_length(message)) || hex(message) END
            || CASE WHEN epoch IS NULL THEN 'c0' ELSE printf('c410%scf%016x', hex(epoch), sequence) END
            || CASE WHEN result IS NULL THEN 'c0' ELSE printf('c6%08x%s', octet_length(result), hex(result)) END,
        ''
    ))
FROM replies GROUP BY client;

INSERT INTO requests (client, floor, seen, oldest, replies)
SELECT id, floor, seen, NULL, x'' FROM clients WHERE true ON CONFLICT (client) DO NOTHING;

DROP TABLE replies;
DROP TABLE clients;
