-- +goose Up

-- Attempts per second that each process may begin to a webhook; 0: no limit.
-- Programs of version 2 that run already go on: they neither read nor write it.
ALTER TABLE {webhooks} ADD COLUMN rate_limit double precision NOT NULL DEFAULT 0;

INSERT INTO {schema_version} (version) VALUES (3);
