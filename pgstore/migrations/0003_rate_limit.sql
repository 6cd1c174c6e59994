-- +goose Up

-- Attempts per second that each process may begin to a webhook; 0: no limit.
-- Running programs of version 2 go on: they do not use the column.
ALTER TABLE {webhooks} ADD COLUMN rate_limit double precision NOT NULL DEFAULT 0;

INSERT INTO {schema_version} (version) VALUES (3);
