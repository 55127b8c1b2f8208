-- What must be final or settled by now and is not, or is and cannot be. The watermark of a shard is the older of the clocks
-- of both its topics ($1); what settles before it, less the allowed lateness ($2), is final. Of a record that is final the
-- change feed says whether it may be. $3, $4, $5: account and start of records.
with mark as (
  select partition as shard, min(clock_ms) as watermark_ms
  from billing.source_partition where topic = any($1::text[]) group by partition
)
select 'session_record' as table_name, format('%s|%s|%s %s', r.account_id, r.bot_id, r.subject_id, r.session_id) as key,
       'is open and must be final: it has settled' as what
from billing.session_record r join mark using (shard)
where r.status = 'open' and r.settles_at_ms < watermark_ms - $2::bigint
  and ($3::text is null or r.account_id = $3)
  and ($4::timestamptz is null or r.started_at >= $4)
  and ($5::timestamptz is null or r.started_at < $5)
union all
select 'conversation', format('%s|%s|%s', c.account_id, c.bot_id, c.conversation_id),
       case when c.settled then 'is marked as settled, and has not by the clocks in source_partition'
       else 'is not marked as settled, and has by the clocks in source_partition' end
from billing.conversation c join mark using (shard)
where (c.settled and c.settles_at_ms >= watermark_ms or not c.settled and c.settles_at_ms < watermark_ms - $2::bigint)
  and ($3::text is null or c.account_id = $3)
  and ($4::timestamptz is null or c.settles_at_ms >= extract(epoch from $4::timestamptz) * 1000)
