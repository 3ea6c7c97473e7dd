-- Every valid event as a row of Parquet, in the folder of its hour in Japan.
-- A folder gets its _SUCCESS once event time has passed the hour's end; an event that comes later still is added to it.
CREATE TEMPORARY TABLE raw_events (
  `value` STRING,
  kafka_partition INT METADATA FROM 'partition' VIRTUAL,
  kafka_offset BIGINT METADATA FROM 'offset' VIRTUAL,
  record_at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,
  occurred_at_us AS CAST(JSON_VALUE(`value`, '$.occurred_at_us') AS BIGINT),
  occurred_at AS TO_TIMESTAMP_LTZ(CAST(JSON_VALUE(`value`, '$.occurred_at_us') AS BIGINT) / 1000, 3),
  WATERMARK FOR occurred_at AS LEAST(
    TO_TIMESTAMP_LTZ(CAST(JSON_VALUE(`value`, '$.occurred_at_us') AS BIGINT) / 1000, 3), record_at
  ) - INTERVAL '${watermark_delay_s}' SECOND
) WITH (
  'connector' = 'kafka',
  'topic' = 'payments-valid',
  'properties.bootstrap.servers' = '${bootstrap}',
  'properties.group.id' = '${group}',
  'properties.isolation.level' = 'read_committed',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'raw'
);

CREATE TEMPORARY TABLE lake (
  event_id STRING,
  event_type STRING,
  occurred_at_us BIGINT,
  wallet_id STRING,
  merchant_id STRING,
  store_id STRING,
  payment_id STRING,
  amount_minor BIGINT,
  kafka_partition INT,
  kafka_offset BIGINT,
  `value` STRING,
  dt STRING,
  `hour` STRING
) PARTITIONED BY (dt, `hour`) WITH (
  'connector' = 'filesystem',
  'path' = '${lake_path}',
  'format' = 'parquet',
  'parquet.compression' = 'SNAPPY',
  'partition.time-extractor.timestamp-pattern' = '$dt $hour:00:00',
  'sink.partition-commit.trigger' = 'partition-time',
  'sink.partition-commit.delay' = '1 h',
  'sink.partition-commit.watermark-time-zone' = 'Asia/Tokyo',
  'sink.partition-commit.policy.kind' = 'success-file'
);

INSERT INTO lake
SELECT
  JSON_VALUE(`value`, '$.event_id'),
  JSON_VALUE(`value`, '$.event_type'),
  occurred_at_us,
  JSON_VALUE(`value`, '$.body.wallet_id'),
  JSON_VALUE(`value`, '$.body.merchant_id'),
  JSON_VALUE(`value`, '$.body.store_id'),
  JSON_VALUE(`value`, '$.correlation_id'),
  CAST(JSON_VALUE(`value`, '$.body.amount_minor') AS BIGINT),
  kafka_partition,
  kafka_offset,
  `value`,
  DATE_FORMAT(occurred_at, 'yyyy-MM-dd'),
  DATE_FORMAT(occurred_at, 'HH')
FROM raw_events;
