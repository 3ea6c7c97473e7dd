-- What the cashback program reads and writes. The header names the event's type, so that only what can change a
-- cashback crosses from the JVM into Python; the value stays as it is and is decoded there.
CREATE TEMPORARY TABLE events (
  `value` BYTES,
  headers MAP<STRING NOT NULL, BYTES NOT NULL> METADATA VIRTUAL,
  record_at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL
) WITH (
  'connector' = 'kafka',
  'topic' = 'payments-valid',
  'properties.bootstrap.servers' = '${bootstrap}',
  'properties.group.id' = '${group}',
  'properties.isolation.level' = 'read_committed',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'raw'
);

CREATE TEMPORARY TABLE cashback (
  wallet_id BYTES,
  `value` BYTES,
  headers MAP<STRING NOT NULL, BYTES NOT NULL> METADATA,
  record_at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp'
) WITH (
  'connector' = 'kafka',
  'topic' = 'cashback',
  'properties.bootstrap.servers' = '${bootstrap}',
  'properties.transaction.timeout.ms' = '${transaction_timeout_ms}',
  'sink.delivery-guarantee' = 'exactly-once',
  'sink.transactional-id-prefix' = '${transactional_id_prefix}',
  'key.format' = 'raw',
  'key.fields' = 'wallet_id',
  'value.format' = 'raw',
  'value.fields-include' = 'EXCEPT_KEY'
);
