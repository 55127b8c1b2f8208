-- Move a partition past offsets that Kafka no longer holds: those are gaps. The new owner fences whoever reads there.
update billing.source_partition
set next_offset = $3, gap_count = gap_count + $3 - next_offset, owner = $4, saved_at = now()
where topic = $1 and partition = $2
