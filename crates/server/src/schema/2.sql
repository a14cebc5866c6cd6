-- What an operation said of its outcome, beside its position.
ALTER TABLE replies ADD COLUMN result BLOB;
