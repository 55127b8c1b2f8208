-- The time up to which everything that came in order has been billed or is still open: the oldest clock of all source
-- partitions. Null before the first start. History of topics that are no more (TOPIC@ID) does not count.
create view billing.stream_watermark as
select to_timestamp(min(clock_ms) / 1000.0) as watermark
from billing.source_partition
where topic not like '%@%';

grant select on billing.stream_watermark to quarterhour_reader, quarterhour_aggregator;
