-- Conversations that are marked as settled and have not, or have and are not marked. The watermark of a shard is the older
-- of the clocks of both its topics ($1); what settles before it, less the allowed lateness ($2), has settled, and nothing
-- before the watermark itself has passed it. $3: account; $4: from which time on, in ms.
with mark as (
  select partition as shard, min(clock_ms) as watermark_ms
  from billing.source_partition where topic = any($1::text[]) group by partition
)
select 'conversation' as table_name, format('%s|%s|%s', c.account_id, c.bot_id, c.conversation_id) as key,
       case when c.settled then 'is marked as settled, and has not by the clocks in source_partition'
       else 'is not marked as settled, and has by the clocks in source_partition' end as what
from billing.conversation c join mark using (shard)
where (c.settled and c.settles_at_ms >= watermark_ms or not c.settled and c.settles_at_ms < watermark_ms - $2::bigint)
  and ($3::text is null or c.account_id = $3)
  and ($4::bigint is null or c.settles_at_ms >= $4)
