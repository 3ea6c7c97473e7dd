-- The valid events as the SQL jobs read them: only the fields some job needs, each event type's own ones null elsewhere.
-- Event time never runs ahead of the record's own time, so one producer with a wrong clock can't make everybody late.
CREATE TEMPORARY TABLE events (
  event_id STRING,
  event_type STRING,
  occurred_at_us BIGINT,
  body ROW<wallet_id STRING, merchant_id STRING, store_id STRING, amount_minor BIGINT, captured_minor BIGINT>,
  record_at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,
  occurred_at AS TO_TIMESTAMP_LTZ(occurred_at_us / 1000, 3),
  WATERMARK FOR occurred_at
    AS LEAST(TO_TIMESTAMP_LTZ(occurred_at_us / 1000, 3), record_at) - INTERVAL '${watermark_delay_s}' SECOND
) WITH (
  'connector' = 'kafka',
  'topic' = 'payments-valid',
  'properties.bootstrap.servers' = '${bootstrap}',
  'properties.group.id' = '${group}',
  'properties.isolation.level' = 'read_committed',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'json'
);
