-- Tenants take turns in claims. Each has a number, the key of its first webhook, by
-- which its webhooks with due deliveries are found. Programs of version 6 work with
-- these tables: their claims read more, and the webhooks they create have the number
-- 0 and share the turns of one tenant.
ALTER TABLE {lanes} ADD COLUMN tkey INTEGER NOT NULL DEFAULT 0;

UPDATE {lanes} AS l SET tkey = t.first
FROM {webhooks} w, (SELECT tenant, min(wkey) AS first FROM {webhooks} GROUP BY tenant) t
WHERE w.wkey = l.wkey AND t.tenant = w.tenant;

DROP INDEX {prefix}lanes_ready;
CREATE INDEX {prefix}lanes_ready ON {lanes} (tkey, wkey) WHERE ready = 1;

INSERT INTO {schema_version} (version, works_with) VALUES (7, 6);
