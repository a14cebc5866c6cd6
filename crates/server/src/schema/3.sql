CREATE TABLE notifications (
    number INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order of arrival, never given again
    trace BLOB NOT NULL UNIQUE,
    sender TEXT NOT NULL,
    target TEXT NOT NULL,
    pack BLOB NOT NULL,
    suit INTEGER NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    delivered INTEGER, -- NULL: pending
    replied INTEGER, -- NULL: no reply
    reply BLOB
) STRICT;
CREATE INDEX pending_notifications ON notifications (target, number) WHERE delivered IS NULL;
CREATE INDEX notifications_by_expiry ON notifications (expires);
