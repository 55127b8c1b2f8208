-- The change feed has no gaps, and its counter stands at its end.
with numbered as (
  select position, lag(position, 1, 0::bigint) over (order by position) as before from billing.session_record_change
)
select 'session_record_change' as table_name, format('position %s', before + 1) as key,
       format('%s positions are missing', position - before - 1) as what
from numbered where position <> before + 1
union all
select 'change_counter, session_record_change', 'last_position',
       format('the counter stands at %s and the feed ends at %s', coalesce(k.last_position::text, 'nothing'), f.last)
from (select coalesce(max(position), 0) as last from billing.session_record_change) f
left join billing.change_counter k on true
where k.last_position is distinct from f.last
