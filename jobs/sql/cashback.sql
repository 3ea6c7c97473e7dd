-- What the cashback program reads and writes. The header names the event's type, so that only what can change a
-- cashback crosses from the JVM into Python; the value stays as it is and is decoded there. `decisions` is what comes back.
CREATE TEMPORARY TABLE events (
  `value` STRING,
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
  wallet_id STRING,
  `value` STRING,
  headers MAP<STRING NOT NULL, BYTES NOT NULL> METADATA,
  record_at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp'
) WITH (
  'connector' = 'kafka',
  'topic' = 'cashback',
  'properties.bootstrap.servers' = '${bootstrap}',
  'properties.transaction.timeout.ms' = '${transaction_timeout_ms}',
  'sink.delivery-guarantee' = 'exactly-once',
  'sink.transactional-id-prefix' = '${transactional_id_prefix}',
  'sink.transaction-naming-strategy' = 'POOLING',
  'key.format' = 'raw',
  'key.fields' = 'wallet_id',
  'value.format' = 'raw',
  'value.fields-include' = 'EXCEPT_KEY'
);

INSERT INTO cashback
SELECT
  wallet_id,
  `value`,
  MAP[
    'ce_specversion', ENCODE('1.0', 'UTF-8'),
    'content-type', ENCODE('application/json', 'UTF-8'),
    'ce_source', ENCODE('/koban/cashback', 'UTF-8'),
    'ce_type', ENCODE(CONCAT('koban.', event_type), 'UTF-8'),
    'ce_id', ENCODE(event_id, 'UTF-8'),
    'ce_correlationid', ENCODE(payment_id, 'UTF-8'),
    'ce_causationid', ENCODE(causation_id, 'UTF-8'),
    'koban_at_us', ENCODE(made_at_us, 'UTF-8')
  ],
  record_at
FROM decisions;
