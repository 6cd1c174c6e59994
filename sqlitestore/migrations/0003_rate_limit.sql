-- Attempts per second that each process may begin to a webhook; 0: no limit.
ALTER TABLE {webhooks} ADD COLUMN rate_limit REAL NOT NULL DEFAULT 0;

INSERT INTO {schema_version} (version) VALUES (3);
